"""What a model asks for, as it was typed; `feature_extractor.build` makes the extractor of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureRequest:
    """What a model asks for: a registered feature name and settings as typed on the command line (`KEY` -> text)."""

    name: str
    settings: tuple[tuple[str, str], ...] = ()

    def with_settings(self, settings: Mapping[str, str]) -> FeatureRequest:
        """The request with further settings; later ones win."""
        return FeatureRequest(self.name, tuple({**dict(self.settings), **settings}.items()))

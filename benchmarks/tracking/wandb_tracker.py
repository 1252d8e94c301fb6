"""Weights and Biases: its own environment variables say where to (WANDB_MODE=offline keeps files in RESULTS/wandb)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...datasets.core.libraries import library
from .tracker import About

PROJECT = "serbench"


def prepare(results: Path) -> None:
    """Load the library."""
    library("wandb", "--track wandb")


def start(results: Path, about: About) -> Logged:
    """Begin a run of W&B's, in the group of its record."""
    results.mkdir(parents=True, exist_ok=True)
    return Logged(results, about)


class Logged:
    """One run of W&B's."""

    def __init__(self, results: Path, about: About) -> None:
        self.about, self.wandb = about, library("wandb")
        self.run = self.wandb.init(
            project=PROJECT,
            name=about.name,
            group=about.run_id,
            config=dict(about.config),
            dir=str(results),
            reinit="create_new",
        )

    def values(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log them at the epoch; final ones are the run's summary."""
        if step is None:
            self.run.summary.update(dict(values))
        else:
            self.run.log(dict(values), step=step)

    def file(self, path: Path) -> None:
        """Keep it as an artefact named as the record."""
        artefact = self.wandb.Artifact(self.about.run_id, type="record")
        artefact.add_file(str(path))
        self.run.log_artifact(artefact)

    def end(self, *, failed: bool) -> None:
        """Finish it."""
        self.run.finish(exit_code=int(failed))

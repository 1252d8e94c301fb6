"""eGeMAPSv02 functionals: 88 features of an utterance, chosen by experts for voice and affect research.

Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and affective computing", IEEE
Transactions on Affective Computing 7(2), 2016 (doi:10.1109/TAFFC.2015.2457417). The same numbers as
`opensmile:eGeMAPSv02:functionals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..datasets.core.config import option
from . import opensmile as smile

CITES = ("eyben2016gemaps", "eyben2010opensmile")


@dataclass(frozen=True)
class Config:
    """Settings of the functionals."""

    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source="free choice", low=8000)


class Extractor(smile.Extractor):
    """eGeMAPSv02 functionals, (1, 88)."""

    version: ClassVar[int] = 1

    def __init__(self, config: Config) -> None:
        super().__init__(smile.Config("eGeMAPSv02", "functionals", config.sampling_rate))
        self.config, self.name = config, "egemaps"

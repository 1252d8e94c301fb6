"""eGeMAPS v02: 88 functionals, the standard small acoustic parameter set of the field.

F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and affective computing",
IEEE Transactions on Affective Computing 7(2), 2016, doi:10.1109/TAFFC.2015.2457417, computed by openSMILE.
"""

from __future__ import annotations

from . import opensmile

Config = opensmile.Config


class Extractor(opensmile.Extractor):
    """`opensmile` with the set eGeMAPSv02 and the level functionals, under a name of its own; (1, 88)."""

    def __init__(self, config: opensmile.Config) -> None:
        super().__init__(config)
        if (config.feature_set, config.level) == ("eGeMAPSv02", "functionals"):
            self.name = "egemaps"

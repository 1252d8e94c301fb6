"""What a system of a paper claims to be, as data: each statement of the paper, where the code does it, and how true.

A component of a paper has a file `faithfulness.py` beside its `model.py` with `PAPER` (its source) and `STATEMENTS`.
The documentation prints them as a table; tests see to it that every place in the code is there, every switch is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

SAME, DIFFERS, UNKNOWN = "same", "differs", "unknown"
VERDICTS = (SAME, DIFFERS, UNKNOWN)
"""As the paper says in the preset `paper`; otherwise in it too, and why; what the paper does not say."""


@dataclass(frozen=True)
class Statement:
    """One statement of a paper.

    Attributes
    ----------
    place : section, equation or "silent" (the paper has nothing, the code needs something)
    says : the statement, in our words
    code : module and name that does it, `sermodels.chunked.network:Encoder.forward`
    verdict : one of `VERDICTS`
    why : of what differs or is unknown: what is done instead, and why
    switch : the setting that decides, `model.KEY=VALUE` (or `train.`, `feature.`); several with blanks between
    """

    place: str
    says: str
    code: str
    verdict: str
    why: str = ""
    switch: str = ""

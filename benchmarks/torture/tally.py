"""What a kind of torture did and what came of it: rows of the page, and what must not be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """One row: a work or file under one kind of torture.

    Attributes
    ----------
    what : the work, file or input
    how : what was done to it
    times : how often
    outcomes : allowed outcome -> number
    wrong : each thing that must not be, in words; the page counts and shows them
    """

    what: str
    how: str
    times: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, outcome: str, wrong: str = "") -> None:
        """One more time; with `wrong`, the outcome is one that must not be."""
        self.times += 1
        if wrong:
            self.wrong.append(wrong)
        else:
            self.outcomes[outcome] += 1

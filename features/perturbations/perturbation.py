"""One kind of perturbation at one level, as it is typed (white:10) and read, and several of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...datasets.core.errors import SerbenchError, unknown
from .kinds import KINDS, Kind, groups


@dataclass(frozen=True)
class Perturbation:
    """A kind at a level in the kind's unit."""

    kind: str
    level: float

    @property
    def name(self) -> str:
        """As it is typed: white:10."""
        return f"{self.kind}:{self.level:g}"

    @property
    def of(self) -> Kind:
        """What the kind is."""
        return KINDS[self.kind]

    @property
    def changes(self) -> bool:
        """Whether anything is changed: at an endless signal-to-noise ratio, a gain of 0 dB ... nothing is."""
        return self.level != self.of.clean


def kinds_of(names: Iterable[str]) -> list[str]:
    """Kinds by their names or those of groups, each once; none = all.

    Raises
    ------
    SerbenchError
        For a name that is none.
    """
    known = groups() | {name: (name,) for name in KINDS}
    listed = [name.strip() for text in names for name in text.split(",") if name.strip()]
    for name in listed:
        if name not in known:
            raise unknown("perturbation", name, known)
    return list(dict.fromkeys(kind for name in listed or KINDS for kind in known[name]))


def perturbations(names: Sequence[str] = (), levels: Sequence[str] = ()) -> list[Perturbation]:
    """Perturbations of kinds (or groups; none = all), each at its default levels or at those that are given.

    Parameters
    ----------
    levels : texts "KIND=20,10,5"; where a single kind or group is named, "20,10,5" is for that

    Raises
    ------
    SerbenchError
        For an unknown kind, and a level that is no number or out of range.
    """
    kinds = kinds_of(names)
    given = _given(levels, kinds, names)
    return [
        Perturbation(kind, level)
        for kind in kinds
        for level in (given[kind] if kind in given else dict.fromkeys(KINDS[kind].levels))
    ]


def parsed(texts: Iterable[str]) -> list[Perturbation]:
    """Perturbations "white:10", or of a group "noise:10", each once, by commas or one by one.

    Raises
    ------
    SerbenchError
        As `perturbations`, and where a level is lacking.
    """
    found = []
    for text in (part.strip() for whole in texts for part in whole.split(",") if part.strip()):
        name, colon, level = text.partition(":")
        kinds = kinds_of([name])
        if not colon:
            example = f"{name}:{KINDS[kinds[0]].levels[1]:g}"
            raise SerbenchError(f"{text!r} names no level. Expected NAME:LEVEL, such as {example}.")
        found += [Perturbation(kind, _level(kind, level)) for kind in kinds]
    return list(dict.fromkeys(found))


def check(listed: Iterable[Perturbation]) -> None:
    """Raise SerbenchError where this machine lacks a codec or a library that one of them needs."""
    for kind in dict.fromkeys(one.kind for one in listed if one.changes):
        if (asked := KINDS[kind].check) is not None:
            asked()


def _given(levels: Sequence[str], kinds: Sequence[str], names: Sequence[str]) -> Mapping[str, dict[float, None]]:
    """Kind -> levels that are given for it."""
    found: dict[str, dict[float, None]] = {}
    for text in levels:
        name, sign, listed = text.rpartition("=")
        if not sign and len([n for whole in names for n in whole.split(",") if n.strip()]) != 1:
            raise SerbenchError(f"--levels {text!r}: with several perturbations, expected NAME=LEVEL,LEVEL for each.")
        own = kinds_of([name]) if sign else kinds
        for kind in own:
            if kind not in kinds:
                raise SerbenchError(f"--levels {text!r}: {kind} is not among those of --with ({', '.join(kinds)}).")
            found[kind] = dict.fromkeys(_level(kind, one) for one in listed.split(",") if one.strip())
            if not found[kind]:
                raise SerbenchError(f"--levels {text!r} names no level. Expected numbers with commas between.")
    return found


def _level(kind: str, text: str) -> float:
    of = KINDS[kind]
    default = ", ".join(f"{level:g}" for level in of.levels)
    expected = f"Expected {of.unit}, {of.low:g} to {of.high:g}, such as {default}"
    none = "" if of.clean is None else f"; {of.clean:g} changes nothing"
    try:
        level = float(text)
    except ValueError:
        raise SerbenchError(f"{kind}:{text} is no level of {kind}. {expected}{none}.") from None
    if math.isnan(level) or not (of.low <= level <= of.high or level == of.clean):
        raise SerbenchError(f"{kind}:{text} is out of range. {expected}{none}.")
    if of.unit == "times" and kind == "gsm" and level != int(level):
        raise SerbenchError(f"{kind}:{text}: expected a whole number of codings.")
    return level

"""Compact letter display: models that share a letter do not differ significantly.

Piepho (2004, J. Comput. Graph. Stat. 13:456, doi:10.1198/1061860043515), the insert-and-absorb algorithm: start with
one group of all models; every significant pair splits each group that holds both; a group inside another is absorbed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def groups(names: Sequence[str], different: Iterable[tuple[str, str]]) -> list[frozenset[str]]:
    """Largest sets of models of which no pair differs, in the order of their best member.

    Parameters
    ----------
    names : models, the best first
    different : pairs that differ significantly
    """
    sets: list[frozenset[str]] = [frozenset(names)] if names else []
    for a, b in different:
        split = [g - {x} for g in sets if a in g and b in g for x in (a, b)]
        kept = [g for g in sets if not (a in g and b in g)]
        sets = _absorb([*kept, *split])
    place = {name: i for i, name in enumerate(names)}
    return sorted(sets, key=lambda group: sorted(place[name] for name in group))


def letters(names: Sequence[str], different: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The letters of each model, "a" for the group of the best one; after z come aa, ab ... in brackets."""
    joined = groups(names, different)
    return {name: "".join(_letter(i) for i, group in enumerate(joined) if name in group) for name in names}


def _absorb(sets: Collection[frozenset[str]]) -> list[frozenset[str]]:
    unique = list(dict.fromkeys(s for s in sets if s))
    return [s for s in unique if not any(s < other for other in unique)]


def _letter(index: int) -> str:
    if index < len(ALPHABET):
        return ALPHABET[index]
    high, low = divmod(index - len(ALPHABET), len(ALPHABET))
    return f"({ALPHABET[high % len(ALPHABET)]}{ALPHABET[low]})"

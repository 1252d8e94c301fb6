"""Who speaks in MELD, and the split that keeps speakers apart: the six leads and everybody else in turn.

Each of seven groups (a lead, or all others together) is tested once, by all of its turns; development turns are the
next group's, from dialogues without the tested group; training turns are from dialogues in which neither of the two
groups speaks. So no speaker and no dialogue is on two sides. Turns of several people are in no role, and a role that a
lead plays (Ursula, Dr. Drake Remoray) counts as that lead.
"""

from __future__ import annotations

import pandas as pd

from ..schema.corpus import Fold

LEADS = {"Chandler": "male", "Joey": "male", "Monica": "female", "Phoebe": "female", "Rachel": "female", "Ross": "male"}
ROLES = {"Ursula": "Phoebe", "Dr. Drake Remoray": "Joey", "Dr. Stryker Ramoray": "Joey"}
"""Speaker texts that are a role played by a lead."""
CROWDS = ("All", "Both", "The Guys", "Her-Friends")
GROUPS = (*LEADS, "others")


def is_joint(speaker: str) -> bool:
    """Whether a speaker text stands for several people, or for a person and a role at once."""
    return speaker in CROWDS or " and " in speaker or "/" in speaker


def groups_of(speaker: str) -> frozenset[str]:
    """The groups of `GROUPS` that a speaker text names; empty for a crowd, of which nobody knows who is in it."""
    if speaker in CROWDS:
        return frozenset()
    people = speaker.split(" and ") if " and " in speaker else [speaker.split("/")[0]]
    people = [ROLES.get(person.strip(), person.strip()) for person in people]
    return frozenset(person if person in LEADS else "others" for person in people)


def with_roles(table: pd.DataFrame) -> pd.DataFrame:
    """Add `speaker_group`, and per fold of `speaker-disjoint` a column with each turn's role in it."""
    named = table["speaker"].map(groups_of)
    alone = named.map(lambda groups: next(iter(groups)) if len(groups) == 1 else pd.NA).astype("string")
    present: dict[str, set[str]] = {}
    for dialogue, groups in zip(table["dialogue"], named, strict=True):
        present.setdefault(dialogue, set()).update(groups)
    inside = table["dialogue"].map(present)
    table = table.assign(speaker_group=alone)
    for tested, chosen in _pairs():
        clear = inside.map(lambda groups, tested=tested: tested not in groups).astype(bool)
        clearer = clear & inside.map(lambda groups, chosen=chosen: chosen not in groups).astype(bool)
        role = pd.Series(pd.NA, table.index, dtype="string")
        role[clearer & alone.notna()] = "train"
        role[clear & alone.eq(chosen).fillna(False)] = "dev"
        role[alone.eq(tested).fillna(False)] = "test"
        table[f"role_{tested.lower()}"] = role
    return table


def disjoint_folds() -> tuple[Fold, ...]:
    """The seven folds, by the columns of `with_roles`."""
    names = [f"role_{group.lower()}" for group in GROUPS]
    roles = ("test", "dev", "train")
    return tuple(
        Fold(group.lower(), *({name: (role,)} for role in roles)) for group, name in zip(GROUPS, names, strict=True)
    )


def _pairs() -> list[tuple[str, str]]:
    return list(zip(GROUPS, (*GROUPS[1:], GROUPS[0]), strict=True))

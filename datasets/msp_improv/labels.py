"""MSP-IMPROV's label file and names.

`Evaluation.txt` (`Evalution.txt` in some copies) has a block per turn, with a blank line behind it:

    UTD-IMPROV-S01A-F01-S-FM01.avi; N; A:3.000000; V:3.500000; D:3.000000 ; N:4.0;
    worker1; Neutral; Neutral,Calm; A:3.000000; V:4.000000; D:3.000000; N:4.000000;

The head line has the consensus class and the raters' means (A activation, V valence, D dominance, last N naturalness;
any may be NaN); a line per rater has a primary class, further ones, and the rater's own values. A rater may stand twice
with the same answer. Turns are named `UTD-IMPROV-...` here and `MSP-IMPROV-...` in the sound files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import SerbenchError

ATTRIBUTES = {"A": "arousal", "V": "valence", "D": "dominance", "N": "naturalness"}
_HEAD = re.compile(r"(?:UTD|MSP)-IMPROV-([^;.\s]+)(?:\.[A-Za-z0-9]+)?\s*;\s*([^;]*?)\s*;(.*)", re.IGNORECASE)
_RATER = re.compile(r"([^;]+?)\s*;\s*([^;]*?)\s*;(.*?)((?:\s*[AVDN]:[^;]*;)+)\s*$")
_VALUE = re.compile(r"([AVDN])\s*:\s*([^;]*?)\s*(?:;|$)")
_NAME = re.compile(r"S(\d\d)([AHNS])-([FM])(\d\d)-([PRST])-([FM])([FM])(\d{2,3})")


@dataclass(frozen=True)
class TurnName:
    """The parts of a turn's name: `letters` are two of F and M, one for who speaks and one for who listens."""

    sentence: str
    target: str
    actor: str
    session: str
    condition: str
    letters: str
    turn: int


@dataclass
class LabelFile:
    """Head lines by turn id, rater answers, and what could not be used."""

    turns: dict[str, dict[str, object]] = field(default_factory=dict)
    ratings: list[dict[str, object]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    repeated: int = 0


def parse_name(text: str) -> TurnName | None:
    """The parts of a turn's name behind `MSP-IMPROV-`; None for another form."""
    match = _NAME.fullmatch(text.upper())
    if match is None:
        return None
    sentence, target, actor, session, condition, first, second, turn = match.groups()
    return TurnName(sentence, target, actor, session, condition, first + second, int(turn))


def read_label_file(path: Path) -> LabelFile:
    """Read the label file.

    Raises
    ------
    SerbenchError
        On a head line that can't be read, a name of another form, a value that is no number, a turn that stands twice,
        or a rater's line without a turn. A rater's line of another form is counted in `unread`.
    """
    rated = LabelFile()
    current: str | None = None
    answered: set[tuple[str, str]] = set()
    for number, line in _lines(path):
        where = f"line {number} of {str(path)!r}"
        if line.upper().startswith(("UTD-IMPROV", "MSP-IMPROV")):
            current = _add_turn(rated, line, where)
        elif current is None:
            raise SerbenchError(
                f"{where} stands before any turn: {line!r}. Expected a head line, UTD-IMPROV-S01A-F01-S-FM01.avi; ..."
            )
        else:
            _add_rating(rated, current, line, where, answered)
    return rated


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers; cp1252 where the file is not UTF-8."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    return ((i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip())


def _add_turn(rated: LabelFile, line: str, where: str) -> str:
    match = _HEAD.fullmatch(line)
    name = None if match is None else parse_name(match[1])
    if match is None or name is None:
        raise SerbenchError(
            f"{where} can't be read: {line!r}. Expected UTD-IMPROV-S01A-F01-S-FM01.avi; class; A:n; V:n; D:n; N:n;"
        )
    item = f"MSP-IMPROV-{match[1].upper()}"
    if item in rated.turns:
        raise SerbenchError(f"{where} is the second one for {item}. Expected one head line per turn; keep one.")
    values = _values(match[3], where)
    lacking = [a for letter, a in ATTRIBUTES.items() if a not in values and letter != "N"]
    if lacking:
        raise SerbenchError(f"{where} lacks {', '.join(lacking)}: {line!r}. Expected A:n; V:n; D:n; behind the class.")
    rated.turns[item] = {"name": name, "raw_emotion": match[2].upper(), **values}
    return item


def _add_rating(rated: LabelFile, item: str, line: str, where: str, answered: set[tuple[str, str]]) -> None:
    match = _RATER.fullmatch(line)
    if match is None:
        rated.unread.append(f"{where}: {line[:80]}")
        return
    rater, word, further, values = match.groups()
    if (item, rater) in answered:
        rated.repeated += 1
        return
    answered.add((item, rater))
    rated.ratings.append(
        {"id": item, "rater": rater, "label": word, "further": further.strip(" ;"), **_values(values, where)}
    )


def _values(text: str, where: str) -> dict[str, float]:
    values = {}
    for letter, number in _VALUE.findall(text):
        try:
            values[ATTRIBUTES[letter]] = float(number) if number else float("nan")
        except ValueError:
            raise SerbenchError(
                f"{ATTRIBUTES[letter]} in {where} is {number!r}. Expected a number or NaN; correct the file."
            ) from None
    return values

"""IEMOCAP's files: name grammar, EmoEvaluation, transcriptions. Formats as in the release's own README files.

Everything is Latin-1 and read by name, never by character position: in dialogues with a letter behind the number
(`Ses03M_impro05a`) every later position is shifted by one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError
from ..reading.locate import files_in
from ..schema.labels import canonical_words
from ..schema.ratings import make_ratings, shared_votes

TURN = re.compile(r"Ses0([1-5])([FM])_(impro\d\d[ab]?|script\d\d_\d[ab]?)_([FM])(\d{3})")
"""Session, who wears the markers (not who speaks), dialogue, who speaks, that person's turn number."""

_HEAD = re.compile(r"\[\s*(\S+) - (\S+?)\s*\]\s+(\S+)\s+(\S+)\s+\[([^\],]*),([^\],]*),([^\],]*)\]\s*")
_RATER = re.compile(r"([CA])-([A-Z]+\d*):\s*([^(]*?)\s*(?:\((.*?)\)?)?\s*")
_MARK = re.compile(r"(val|act|dom)\s*([^;]*);?")
_SPOKEN = re.compile(r"(Ses\w+) \[[^\]]*\]:?\s?(.*)")
_ATTRIBUTES = {"val": "valence", "act": "arousal", "dom": "dominance"}


@dataclass
class Evaluations:
    """What the EmoEvaluation files of a corpus say, in the order of the files.

    Attributes
    ----------
    turns : dictionaries with id, file, dialogue_start, dialogue_end [s], raw_emotion, valence, arousal, dominance
    ratings : (id, rater, "C" or "A", labels or attributes as written, remark)
    """

    turns: list[dict[str, object]] = field(default_factory=list)
    ratings: list[tuple[str, str, str, str, str]] = field(default_factory=list)


def read_evaluations(folders: Iterable[Path]) -> Evaluations:
    """Read the consensus and the raters' lines of every dialogue file directly in the EmoEvaluation folders.

    Raises
    ------
    SerbenchError
        For a line that can't be read, a turn name outside the grammar, or a turn that two files hold.
    """
    result = Evaluations()
    for folder in folders:
        for path in files_in(folder, ".txt"):
            _read_evaluation(path, result)
    _refuse_two_files(result.turns)
    return result


def _read_evaluation(path: Path, into: Evaluations) -> None:
    turn = ""
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        if line.startswith("["):
            row = _turn(line, path, number)
            into.turns.append(row)
            turn = str(row["id"])
        elif line.startswith(("C-", "A-")):
            match = _RATER.fullmatch(line)
            if match is None or not turn:
                raise _bad(path, number, line, "a rater's line below its turn, such as 'C-E2:<tab>Neutral;<tab>()'")
            kind, rater, said, remark = match.groups()
            into.ratings.append((turn, rater, kind, said, (remark or "").strip()))


def _turn(line: str, path: Path, number: int) -> dict[str, object]:
    match = _HEAD.fullmatch(line)
    if match is None:
        raise _bad(path, number, line, "[start - end], turn name, emotion and [valence, activation, dominance]")
    start, end, name, emotion, valence, arousal, dominance = match.groups()
    if not TURN.fullmatch(name):
        raise _bad(path, number, line, "a turn name such as Ses01F_impro01_F000 or Ses05M_script01_1b_M012")
    values = {
        "dialogue_start": start,
        "dialogue_end": end,
        "valence": valence,
        "arousal": arousal,
        "dominance": dominance,
    }
    row: dict[str, object] = {"id": name, "file": path, "raw_emotion": emotion}
    for column, text in values.items():
        row[column] = _number(text, path, number, line)
    return row


def _number(text: str, path: Path, number: int, line: str) -> float:
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError:
        raise _bad(path, number, line, f"a number instead of {text.strip()!r}") from None


def _bad(path: Path, number: int, line: str, expected: str) -> SerbenchError:
    return SerbenchError(f"line {number} of {str(path)!r} is {line.strip()!r}. Expected {expected}; correct the file.")


def _refuse_two_files(turns: list[dict[str, object]]) -> None:
    first: dict[object, object] = {}
    for row in turns:
        other = first.setdefault(row["id"], row["file"])
        if other is not row["file"]:
            raise SerbenchError(
                f"two files hold the turn {row['id']!r}: {str(other)!r} and {str(row['file'])!r}. "
                "Keep the right one and move the other away."
            )
    doubled = [name for name, n in Counter(str(row["id"]) for row in turns).items() if n > 1]
    if doubled:
        raise SerbenchError(f"{str(first[doubled[0]])!r} holds the turn {doubled[0]!r} twice. Keep one block.")


def ratings_table(ratings: list[tuple[str, str, str, str, str]]) -> pd.DataFrame:
    """One row per turn and rater: id, rater, self_report, labels, remark, arousal, valence, dominance (1 to 5).

    `labels` is the text of the categorical line ("Neutral; Frustration"), missing where the rater gave attributes only.
    """
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for turn, rater, kind, said, remark in ratings:
        row = rows.setdefault((turn, rater), {"id": turn, "rater": rater, "self_report": rater[0] != "E"})
        if kind == "C":
            row["labels"] = "; ".join(split_labels(said))
        else:
            row.update(_marks(said, turn, rater))
        if remark:
            row["remark"] = f"{row['remark']}; {remark}" if "remark" in row else remark
    columns = ["id", "rater", "self_report", "labels", "remark", "arousal", "valence", "dominance"]
    table = pd.DataFrame(list(rows.values()), columns=columns)
    types = {**dict.fromkeys(["id", "rater", "labels", "remark"], "string"), **dict.fromkeys(columns[5:], "float64")}
    return table.astype({**types, "self_report": bool})


def observers(ratings: list[tuple[str, str, str, str, str]]) -> pd.DataFrame:
    """The outside raters' answers as `schema/ratings.py` has them; self-reports are no ratings of what was heard."""
    table = ratings_table(ratings)
    table = table[~table["self_report"]].reset_index(drop=True)
    votes = shared_votes(table, table["labels"].map(lambda said: [] if pd.isna(said) else split_labels(said)))
    columns = ["id", "rater", "emotion", "weight", *_ATTRIBUTES.values()]
    return make_ratings(votes.assign(emotion=canonical_words(votes["word"]))[columns])


def split_labels(said: str) -> list[str]:
    """The labels of one rater: "Neutral; Frustration;" has two."""
    return [part.strip() for part in said.split(";") if part.strip()]


def observer_votes(ratings: list[tuple[str, str, str, str, str]]) -> Iterator[tuple[str, str, float]]:
    """(id, word, weight) of every label of the outside raters; several labels of one rater share his one vote."""
    for turn, rater, kind, said, _ in ratings:
        if kind == "C" and rater[0] == "E":
            labels = split_labels(said)
            yield from ((turn, label, 1.0 / len(labels)) for label in labels)


def _marks(said: str, turn: str, rater: str) -> dict[str, float]:
    """Attributes of a line such as "val 3; act 2; dom  ;" (an empty one is left out)."""
    values = {_ATTRIBUTES[name]: text.strip() for name, text in _MARK.findall(said) if text.strip()}
    try:
        return {name: float(text) for name, text in values.items()}
    except ValueError:
        raise SerbenchError(
            f"the attributes of {turn!r} by {rater} are {said!r}. Expected numbers, such as 'val 3; act 2; dom 2;'."
        ) from None


def read_transcriptions(folders: Iterable[Path]) -> dict[str, str]:
    """Turn name -> text, of every line that names a turn (also those of speech that was never cut into turns).

    Lines without a name ("M: Yeah.") belong to no turn and are passed over.
    """
    texts: dict[str, str] = {}
    for folder in folders:
        for path in files_in(folder, ".txt"):
            for line in path.read_text(encoding="latin-1").splitlines():
                match = _SPOKEN.match(line)
                if match:
                    texts[match.group(1)] = match.group(2).strip()
    return texts

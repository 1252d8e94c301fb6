"""MSP-IMPROV: twelve actors in six dyadic sessions, 8,438 turns around 20 target sentences (Busso et al. 2017).

Busso, Parthasarathy, Burmania, AbdelWahab, Sadoughi, Mower Provost, "MSP-IMPROV: An acted corpus of dyadic interactions
to study emotion perception", IEEE Transactions on Affective Computing 8(1), 2017, doi 10.1109/TAFFC.2016.2515617.
Academic licence of UT Dallas, no redistribution. Counts are those of the paper's tables.

What is read: the label file (`msp_improv/labels.py`), and for paths and texts the sound files `session1/S01A/S/*.wav`
(below `Audio/` or not) and transcripts `All_human_transcriptions/*.txt` (or `Human_transcriptions`, `Text`), where they
exist.

A name, `MSP-IMPROV-S01A-F01-S-FM01`, says: sentence 01 aimed at anger (A, H, N, S), target actor F of session 01,
condition (R target sentence read, T target sentence improvised, S other improvised turns, P natural interaction), two
letters and a turn number. Two things are documented nowhere and are told from the data, each with a note:

- which of the two letters speaks. The target sentences (R and T) are said by the target actor, so the letter that
  equals the target's in all of them is the speaker's. Taking the fourth field for the speaker, as is often done, gives
  the interlocutor's turns (half of S and P) to the wrong voice.
- which end of activation is high. Published loaders disagree, and some turn it around (6 - A). Where the turns of anger
  have a lower mean than those of sadness, 1 is high, and `arousal` is 6 - A; `arousal_in_file` keeps the file's value.

Context: how the two speakers' turns interleave is not given. So `previous` is the speaker's turn with the next lower
number in a dialogue (sentence, target actor and condition S or P), and `interlocutor` is missing. The split
`leave-one-session-out` has six folds, speaker-disjoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..reading.acted import one_release
from ..reading.locate import find, find_root, missing, need_root, relative, visible
from ..schema.corpus import Corpus, make_table, rotation
from ..schema.labels import canonical, canonical_words, emotion_task, soft_labels
from ..schema.ratings import make_ratings
from ..schema.task import attribute_tasks
from .labels import ATTRIBUTES, LabelFile, TurnName, read_label_file

CITATION = (
    "C. Busso, S. Parthasarathy, A. Burmania, M. AbdelWahab, N. Sadoughi and E. Mower Provost, 'MSP-IMPROV: An acted "
    "corpus of dyadic interactions to study emotion perception', IEEE Transactions on Affective Computing 8(1):67-80, "
    "2017, doi 10.1109/TAFFC.2016.2515617"
)
CITES = ("busso2017improv",)
SCALES = dict.fromkeys(("arousal", "valence", "dominance"), (1.0, 5.0))
CONDITIONS = {"R": "target read", "T": "target improvised", "S": "other improvised", "P": "natural interaction"}
GENDERS = {"F": "female", "M": "male"}
EXPECTED = {
    "utterances": 8438,
    "speakers": 12,
    "emotion=anger": 792,
    "emotion=happiness": 2644,
    "emotion=neutral": 3477,
    "emotion=sadness": 885,
    "raw_emotion=O": 85,
    "raw_emotion=X": 555,
    "condition=target read": 620,
    "condition=target improvised": 652,
    "condition=other improvised": 4381,
    "condition=natural interaction": 2785,
}
SOFT = ("anger", "happiness", "neutral", "other", "sadness")
TASKS = (emotion_task("emotion-4", doc="anger, happiness, neutral, sadness"), *attribute_tasks(tuple(SCALES), SCALES))
TASK_NAMES = ("emotion", "attributes", "arousal", "valence", "dominance")
LETTERS = ("auto", "first", "second")
AROUSAL = ("auto", "as-is", "flipped")
_LABELS = ("evaluation.txt", "evalution.txt")
_TEXTS = ("all_human_transcriptions", "human_transcriptions", "transcriptions", "text")
_WHAT = "the folder with Evaluation.txt and session1 to session6 (or Audio) in it"


def load(
    root: Path | None, release: str | None = None, *, speaker_letter: str = "auto", arousal: str = "auto"
) -> Corpus:
    """Load MSP-IMPROV's table; no audio is needed or opened.

    Parameters
    ----------
    speaker_letter : "first" or "second" letter of the last field speaks; "auto" tells it from the target sentences
    arousal : "as-is", "flipped" (6 - A), or "auto": flipped where anger's mean is below sadness's

    Raises
    ------
    SerbenchError
        For a wrong root, a label file that can't be read (naming the line), or an unknown class.
    """
    one_release("msp-improv", release)
    for option, given, known in (("speaker_letter", speaker_letter, LETTERS), ("arousal", arousal, AROUSAL)):
        if given not in known:
            raise unknown(f"value of {option}", given, known)
    base, path = _label_file(root)
    rated = read_label_file(path)
    names = {item: turn["name"] for item, turn in rated.turns.items() if isinstance(turn["name"], TurnName)}
    position, letter_note = _speaking_letter(names, speaker_letter)
    table = pd.DataFrame([_row(item, name, position) for item, name in names.items()]).set_index("id")
    labels = pd.DataFrame.from_dict(rated.turns, orient="index").reindex(table.index)
    table["raw_emotion"] = labels["raw_emotion"]
    table["emotion"] = canonical(table["raw_emotion"], "msp-improv", str(path))
    table, flipped, arousal_note = _with_attributes(table, labels, arousal)
    table = _with_votes(_with_previous(table), rated)
    table, file_notes = _with_files(table, base)
    notes = (letter_note, arousal_note, *file_notes, *_notes(rated))
    return Corpus(
        name="msp-improv",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={
            "leave-one-session-out": rotation("session", sorted(set(table["session"]))),
            "leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"]))),
        },
        scales=SCALES,
        licence="UT Dallas academic licence; no redistribution",
        citation=CITATION,
        homepage="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html",
        shared=("dialogue", "session"),
        expected=EXPECTED,
        notes=notes,
        rater_source=partial(_answers, rated, flipped) if rated.ratings else None,
    )


def ratings(root: Path | None) -> pd.DataFrame:
    """Every rater's answer: id, rater, label, further, arousal (as in the file), valence, dominance, naturalness."""
    _, path = _label_file(root)
    return pd.DataFrame(read_label_file(path).ratings)


def _label_file(root: Path | None) -> tuple[Path, Path]:
    base = find_root(
        need_root(root, "msp-improv", _WHAT),
        lambda folder: find(folder, _LABELS, "file") is not None,
        dataset="msp-improv",
        looked_for="Evaluation.txt (or Evalution.txt)",
        archives=("*improv*", "audio*", "session*"),
    )
    path = find(base, _LABELS, "file")
    if path is None or not path.stat().st_size:
        raise missing("msp-improv", base, "a label file Evaluation.txt that is not empty")
    return base, path


def _speaking_letter(names: dict[str, TurnName], asked: str) -> tuple[int, str]:
    """Position (0 or 1) of the speaker's letter, and a note on how it was found."""
    if asked != "auto":
        return LETTERS.index(asked) - 1, f"speakers are taken from the {asked} letter of the last field, as asked for"
    targets = [name for name in names.values() if name.condition in "RT"]
    fits = [sum(name.letters[i] == name.actor for name in targets) for i in (0, 1)]
    for i in (0, 1):
        if targets and fits[i] == len(targets) > fits[1 - i]:
            return i, (
                f"the {LETTERS[i + 1]} letter of the last field is the speaker's: "
                f"it is the target actor's in all {len(targets)} target sentences"
            )
    return 0, (
        f"which letter of the last field speaks can't be told ({fits[0]} and {fits[1]} of {len(targets)} target "
        "sentences fit); the first one was taken (speaker_letter=second takes the other)"
    )


def _row(item: str, name: TurnName, position: int) -> dict[str, object]:
    letter = name.letters[position]
    scene = f"S{name.sentence}{name.target}-{name.actor}{name.session}-{name.condition}"
    return {
        "id": item,
        "speaker": f"{letter}{name.session}",
        "gender": GENDERS[letter],
        "language": "en",
        "dialogue": scene if name.condition in "SP" else pd.NA,
        "session": f"session{int(name.session)}",
        "condition": CONDITIONS[name.condition],
        "sentence": name.sentence,
        "target_emotion": canonical(pd.Series([name.target]), "msp-improv").iloc[0],
        "target_actor": f"{name.actor}{name.session}",
        "turn_number": name.turn,
    }


def _with_attributes(table: pd.DataFrame, labels: pd.DataFrame, asked: str) -> tuple[pd.DataFrame, bool, str]:
    """Add the raters' means; whether activation was turned around, and a note on that."""
    values = pd.DataFrame({a: labels[a] if a in labels else float("nan") for a in ATTRIBUTES.values()}, dtype="float64")
    anger, sadness = (values["arousal"][table["emotion"].eq(e).fillna(False)].mean() for e in ("anger", "sadness"))
    flipped = asked == "flipped" or (asked == "auto" and bool(anger < sadness))
    told = f"the means in the file are {anger:.2f} for anger and {sadness:.2f} for sadness"
    note = f"arousal is {'6 - A' if flipped else 'A'} of the file ({told}{'; as asked for' if asked != 'auto' else ''})"
    table = table.join(values).assign(arousal_in_file=values["arousal"])
    if flipped:
        table["arousal"] = 6.0 - table["arousal"]
    return table, flipped, note


def _with_previous(table: pd.DataFrame) -> pd.DataFrame:
    """Add the speaker's turn with the next lower number in the dialogue."""
    spoken = table[table["dialogue"].notna()].sort_values(["dialogue", "speaker", "turn_number"])
    ids = pd.Series(spoken.index, spoken.index, dtype="string")
    before = ids.groupby([spoken["dialogue"], spoken["speaker"]]).shift()
    return table.assign(previous=before.reindex(table.index))


def _with_votes(table: pd.DataFrame, rated: LabelFile) -> pd.DataFrame:
    if not rated.ratings:
        return table
    votes = pd.DataFrame(rated.ratings)
    votes["emotion"] = canonical_words(votes["label"])
    raters = votes.groupby("id").size().reindex(table.index).fillna(0).astype(int)
    return table.assign(raters=raters).join(soft_labels(votes, SOFT))


def _answers(rated: LabelFile, flipped: bool) -> pd.DataFrame:
    """Every rater's answer, activation in the direction of the table."""
    table = pd.DataFrame(rated.ratings)
    table = table.assign(emotion=canonical_words(table["label"]))
    if flipped:
        table["arousal"] = 6.0 - table["arousal"]
    return make_ratings(table[["id", "rater", "emotion", *SCALES]])


def _with_files(table: pd.DataFrame, base: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add path and text: of the files that are there, else the published place."""
    audio = find(base, ("audio", "audios")) or base
    sounds = _walk(audio, r"session[ _]?\d+", ".wav")
    texts = _walk(folder, r".*", ".txt") if (folder := find(base, _TEXTS)) else {}
    published = "Audio/" if audio != base else ""
    paths = []
    for item, session in zip(table.index, table["session"], strict=True):
        scene, condition = str(item).split("-")[2], str(item).split("-")[4]
        default = f"{published}{session}/{scene}/{condition}/{item}.wav"
        paths.append(relative(base, sounds[item]) if item in sounds else default)
    notes = []
    absent = sum(item not in sounds for item in table.index)
    if absent and sounds:
        notes.append(f"{absent} turns have no sound file under {audio.name}/")
    said = {item: path.read_text(encoding="utf-8", errors="replace").strip() for item, path in texts.items()}
    text = pd.Series({i: said[i] for i in table.index if i in said}, dtype="string").reindex(table.index)
    if said and text.isna().any():
        notes.append(f"{int(text.isna().sum())} turns have no transcript")
    return table.assign(path=paths, text=text), tuple(notes)


def _walk(folder: Path, first: str, ending: str) -> dict[str, Path]:
    """Turn id -> file, of the files directly inside and in the folders that fit `first` (three levels of them)."""
    files: dict[str, Path] = {}
    places = [(folder, 0)]
    for place, depth in places:
        for entry in visible(place):
            name = entry.name.upper()
            if entry.is_dir() and depth < 3 and (depth or re.fullmatch(first, entry.name, re.IGNORECASE)):
                places.append((Path(entry.path), depth + 1))
            elif entry.is_file() and name.endswith(ending.upper()) and "-IMPROV-" in name:
                item = "MSP" + Path(name).stem[3:]
                if item in files:
                    raise SerbenchError(
                        f"two files for one id, {item}: {str(files[item])!r} and {entry.path!r}. Keep one of them."
                    )
                files[item] = Path(entry.path)
    return files


def _notes(rated: LabelFile) -> Iterator[str]:
    yield "the order of the two speakers' turns is not given: no interlocutor; previous follows the turn numbers"
    if rated.repeated:
        yield f"{rated.repeated} rater lines repeat a rater's answer to the same turn, and were left out"
    if rated.unread:
        yield f"{len(rated.unread)} rater lines have another form and were left out, such as {rated.unread[0]}"
    unrated = set(rated.turns) - {str(rating["id"]) for rating in rated.ratings}
    if unrated and rated.ratings:
        yield f"{len(unrated)} turns have no rater line, such as {min(unrated)}"

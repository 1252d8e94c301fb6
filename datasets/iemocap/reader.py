"""IEMOCAP: ten actors in five dyadic sessions, 10,039 turns, improvised and scripted (Busso et al. 2008).

Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan, "IEMOCAP: Interactive emotional dyadic motion capture
database", Language Resources and Evaluation 42(4), 2008, doi 10.1007/s10579-008-9076-6. Licence: release form of the
USC Signal Analysis and Interpretation Laboratory (academic research, no redistribution).

What is read, in any case of letters, in `root` or one folder below it (`IEMOCAP_full_release`):

- `SessionK/dialog/EmoEvaluation/*.txt`, this level only: times, consensus emotion, mean [valence, activation,
  dominance] in this order, and the raters' lines. The sub-folders repeat the raters and are not read.
- `SessionK/dialog/transcriptions/*.txt`, Latin-1. Lines of speech that was never cut into turns (`..._FXX0`) have
  neither label nor sound and stay out of the table; they are counted in the notes.
- `SessionK/sentences/ForcedAlignment/<dialogue>/<turn>.wdseg`: word times, when asked for. Two turns
  have none: Ses03F_impro07_M030 and Ses03M_impro03_M001.
- Sound is never opened. Its path is the sentence file; with the option `audio="dialogue"` it is the segment of the
  whole dialogue's file (two channels whose order is documented nowhere: the mean of both is the turn).

Decisions that differ between the papers that use the corpus:

- Speaker = session and *last* letter of the turn name; the first one says who wore the markers. Taking the name's
  beginning for the speaker is wrong in half of the turns.
- Context is built from all turns, also those that no task uses, by start time: `context="started"` (default) takes
  turns that started before the current one, `context="ended"` those that also ended before (safe for online use).
- The task `emotion` is the 4-class one of 5,531 turns, happiness and excitement merged. `emotion-6` has 7,380: the
  7,433 of the conversation papers count 648 happy turns, which the consensus labels (595) don't give. Some take
  frustration for neutral, as the first version of MAEC's release does: `emotion-4-frustration-neutral`, 7,380 too.
- Split `leave-one-session-out`: test on session k, select on session k + 1 (cyclic), train on the other three, so
  all three are speaker-disjoint. `leave-one-speaker-out`: test on one actor, select on the session mate, train on the
  other four sessions; the mate speaks in the same dialogues, so `shared` names session and dialogue. Scripted dialogues
  repeat their texts in every session: `shared` names text too, and `emotion-4-improvised` leaves them out.
- Soft labels: share of the outside raters' votes; a rater who gave two labels gives half a vote to each. Actors'
  self-reports are in `ratings` only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from ..core.errors import unknown
from ..reading.acted import one_release
from ..reading.aligned_words import no_words, read_wdseg
from ..reading.locate import find, find_root, missing, need_root, packed_archives, relative, visible
from ..schema.context import add_context
from ..schema.corpus import Corpus, Fold, make_table, rotation
from ..schema.labels import canonical, canonical_words, emotion_task, soft_labels
from ..schema.task import attribute_tasks
from .files import TURN, Evaluations, observer_votes, observers, ratings_table, read_evaluations, read_transcriptions

CITATION = (
    "C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee and S. S. Narayanan, "
    "'IEMOCAP: Interactive emotional dyadic motion capture database', Language Resources and Evaluation 42(4):335-359, "
    "2008, doi 10.1007/s10579-008-9076-6"
)
CITES = ("busso2008iemocap",)
SCALE = (1.0, 5.0)
SCALES = dict.fromkeys(("arousal", "valence", "dominance"), SCALE)
EXPECTED = {
    "utterances": 10039,
    "speakers": 10,
    "dialogues": 151,
    "raw_emotion=ang": 1103,
    "raw_emotion=hap": 595,
    "raw_emotion=exc": 1041,
    "raw_emotion=sad": 1084,
    "raw_emotion=neu": 1708,
    "raw_emotion=fru": 1849,
    "raw_emotion=fea": 40,
    "raw_emotion=sur": 107,
    "raw_emotion=dis": 2,
    "raw_emotion=oth": 3,
    "raw_emotion=xxx": 2507,
    **{
        f"raw_emotion={code},session=Session{k}": n
        for code, counts in {
            "neu": (384, 362, 320, 258, 384),
            "ang": (229, 137, 240, 327, 170),
            "sad": (194, 197, 305, 143, 245),
        }.items()
        for k, n in enumerate(counts, 1)
    },
    **{
        f"raw_emotion={code},scenario=improvised": n
        for code, n in (("neu", 1099), ("exc", 663), ("sad", 608), ("ang", 289), ("hap", 284))
    },
    "task:emotion": 5531,
    "task:emotion-4-unmerged": 4490,
    "task:emotion-4-improvised": 2943,
    "task:emotion-4-unmerged-improvised": 2280,
    "task:emotion-4-frustration-neutral": 7380,
    "task:emotion-6": 7380,
    **{f"task:emotion@session=Session{k}": n for k, n in enumerate((1085, 1023, 1151, 1031, 1241), 1)},
    **{
        f"task:emotion@speaker=Ses0{k}{letter}": n
        for letter, counts in {"F": (528, 481, 522, 528, 590), "M": (557, 542, 629, 503, 651)}.items()
        for k, n in enumerate(counts, 1)
    },
}
SOFT = ("anger", "disgust", "excitement", "fear", "frustration", "happiness", "neutral", "other", "sadness", "surprise")

_IMPROVISED = {"scenario": ("improvised",)}
_FOUR = emotion_task("emotion-4", doc="anger, happiness (with excitement), neutral, sadness: 5,531 turns")
TASKS = (
    _FOUR,
    emotion_task("emotion-4-unmerged", "emotion-4-unmerged", doc="the same without excitement: 4,490 turns"),
    emotion_task(
        "emotion-4", "emotion-4-improvised", where=_IMPROVISED, doc="the four classes, improvised only: 2,943 turns"
    ),
    emotion_task(
        "emotion-4-unmerged",
        "emotion-4-unmerged-improvised",
        where=_IMPROVISED,
        doc="without excitement, improvised only: 2,280 turns",
    ),
    replace(
        _FOUR,
        name="emotion-4-frustration-neutral",
        mapping={**_FOUR.mapping, "frustration": "neutral"},
        doc="the four classes, frustration counted as neutral: 7,380 turns",
    ),
    emotion_task("emotion-6", "emotion-6", doc="excitement and frustration as classes of their own: 7,380 turns"),
    *attribute_tasks(("arousal", "valence", "dominance"), SCALES),
)
TASK_NAMES = (
    "emotion",
    "emotion-4-unmerged",
    "emotion-4-improvised",
    "emotion-4-unmerged-improvised",
    "emotion-4-frustration-neutral",
    "emotion-6",
    "attributes",
    "arousal",
    "valence",
    "dominance",
)
_WHAT = "the folder that holds Session1 to Session5 (IEMOCAP_full_release)"
_AUDIO = {"sentence": "session*/dialog*/wav/*", "dialogue": "session*/sentence*/wav/*"}
"""What a row's sound is -> the other form of the same recordings, which no row names then."""
_CONTEXT = ("started", "ended")


def load(root: Path | None, release: str | None = None, *, context: str = "started", audio: str = "sentence") -> Corpus:
    """Load IEMOCAP's table; no audio is needed or opened.

    Parameters
    ----------
    root : the folder that holds the sessions, or the one above it
    release : IEMOCAP has one release; leave it out
    context : "started": context turns started before the current one; "ended": they also ended before it starts
    audio : "sentence": one file per turn; "dialogue": segments of the dialogues' files

    Raises
    ------
    SerbenchError
        For a wrong root, or a label file that can't be read (naming file, line and what was expected).
    """
    one_release("iemocap", release)
    for option, value, known in (("context", context, _CONTEXT), ("audio", audio, _AUDIO)):
        if value not in known:
            raise unknown(f"value of the option {option}", value, known)
    base, sessions = _sessions(root)
    evaluations = _evaluations(base, sessions)
    texts = read_transcriptions(_each(sessions, ("dialog",), ("transcriptions", "transcription")))
    table = make_table(add_context(_turns(evaluations, texts, sessions, audio), ended_before=context == "ended"))
    return Corpus(
        name="iemocap",
        release="",
        root=base,
        utterances=table,
        tasks=TASKS,
        splits=_splits(table),
        scales=SCALES,
        licence="USC SAIL release form: academic research only, no redistribution",
        citation=CITATION,
        homepage="https://sail.usc.edu/iemocap/",
        subset_group="dialogue",
        shared=("text", "session", "dialogue"),
        expected=EXPECTED,
        notes=tuple(_notes(base, sessions, table, evaluations, texts)),
        further=(_AUDIO[audio],),
        word_source=partial(_words, sessions),
        rater_source=partial(observers, evaluations.ratings),
    )


def ratings(root: Path | None, release: str | None = None) -> pd.DataFrame:
    """Every rater's answer: one row per turn and rater, the columns of `ratings_table`; actors' self-reports marked."""
    del release
    return ratings_table(_evaluations(*_sessions(root)).ratings)


def _sessions(root: Path | None) -> tuple[Path, dict[str, Path]]:
    """The corpus's own folder, and the session folders that are there under the names Session1 to Session5."""
    given = need_root(root, "iemocap", _WHAT)
    base = find_root(
        given,
        lambda folder: bool(_session_folders(folder)),
        dataset="iemocap",
        looked_for="the folders Session1 to Session5 with dialog/EmoEvaluation in them",
        archives=("*iemocap*", "session*"),
    )
    return base, _session_folders(base)


def _session_folders(folder: Path) -> dict[str, Path]:
    folders = {f"Session{k}": find(folder, (f"session{k}", f"session_{k}", f"session {k}")) for k in range(1, 6)}
    return {name: path for name, path in folders.items() if path is not None}


def _each(sessions: dict[str, Path], *steps: tuple[str, ...]) -> list[Path]:
    """The folder that the steps lead to, of each session that has it."""
    return [place for session in sessions.values() if (place := _walk(session, *steps)) is not None]


def _walk(folder: Path, *steps: tuple[str, ...]) -> Path | None:
    place: Path | None = folder
    for names in steps:
        place = None if place is None else find(place, names)
    return place


def _evaluations(base: Path, sessions: dict[str, Path]) -> Evaluations:
    folders = _each(sessions, ("dialog",), ("EmoEvaluation",))
    evaluations = read_evaluations(folders)
    if not evaluations.turns:
        where = folders[0] if folders else next(iter(sessions.values()), base)
        raise missing("iemocap", where, "label files such as dialog/EmoEvaluation/Ses01F_impro01.txt", ("*",))
    return evaluations


def _turns(evaluations: Evaluations, texts: dict[str, str], sessions: dict[str, Path], audio: str) -> pd.DataFrame:
    """One row per turn of the label files."""
    table = pd.DataFrame(evaluations.turns).drop(columns="file").set_index("id")
    parts = table.index.to_series().str.extract(TURN)
    table["speaker"] = "Ses0" + parts[0] + parts[3]
    table["gender"] = parts[3].map({"F": "female", "M": "male"})
    table["language"] = "en"
    table["session"] = "Session" + parts[0]
    table["scenario"] = parts[2].str.startswith("impro").map({True: "improvised", False: "scripted"})
    table["dialogue"] = table.index.str.rsplit("_", n=1).str[0]
    ordered = table.sort_values(["dialogue", "dialogue_start", "dialogue_end"], kind="stable")
    table["turn"] = ordered.groupby("dialogue").cumcount()
    table["text"] = pd.Series(texts, dtype="string").reindex(table.index)
    table["emotion"] = canonical(table["raw_emotion"], "iemocap", "EmoEvaluation")
    return _with_audio(_with_votes(table, evaluations), sessions, audio)


def _with_votes(table: pd.DataFrame, evaluations: Evaluations) -> pd.DataFrame:
    votes = pd.DataFrame(observer_votes(evaluations.ratings), columns=["id", "word", "weight"])
    votes["emotion"] = canonical_words(votes["word"])
    raters = votes.groupby("id")["weight"].sum().round().reindex(table.index).fillna(0).astype(int)
    return table.assign(raters=raters).join(soft_labels(votes, SOFT))


def _with_audio(table: pd.DataFrame, sessions: dict[str, Path], audio: str) -> pd.DataFrame:
    """Paths as the folders are really written on this disk, the release's own names where a folder is not there."""
    kind, default = (("sentences",), "sentences/wav") if audio == "sentence" else (("dialog",), "dialog/wav")
    stems = {}
    for name in table["session"].unique():
        folder = sessions.get(name, Path(name))
        place = _walk(folder, kind, ("wav",))
        stems[name] = f"{folder.name}/{default if place is None else relative(folder, place)}"
    prefix = table["session"].map(stems)
    if audio == "sentence":
        return table.assign(path=prefix + "/" + table["dialogue"] + "/" + table.index + ".wav")
    segment = {"start": table["dialogue_start"], "end": table["dialogue_end"]}
    return table.assign(path=prefix + "/" + table["dialogue"] + ".wav", **segment)


def _splits(table: pd.DataFrame) -> dict[str, tuple[Fold, ...]]:
    speakers = sorted(table["speaker"].unique())
    mate = {s: s[:-1] + {"F": "M", "M": "F"}[s[-1]] for s in speakers}
    return {
        "leave-one-session-out": rotation("session", sorted(table["session"].unique())),
        "leave-one-speaker-out": tuple(
            Fold(f"speaker-{s}", test={"speaker": (s,)}, dev={"speaker": (mate[s],)}) for s in speakers
        ),
    }


def _notes(
    base: Path, sessions: dict[str, Path], table: pd.DataFrame, evaluations: Evaluations, texts: dict[str, str]
) -> list[str]:
    """What is missing or left out, in words."""
    lacking = [f"Session{k}" for k in range(1, 6) if f"Session{k}" not in set(table["session"])]
    packed = packed_archives(base, ("session*",))
    silent, mute = _absent(base, table), int(table["text"].isna().sum())
    uncut = len(texts.keys() - set(table.index))
    partial_marks = int(table[list(SCALES)].isna().any(axis=1).sum())
    words = pd.Series([word for _, word, _ in observer_votes(evaluations.ratings)], dtype="string")
    strange = words[canonical_words(words).isna()]
    notes = (
        (lacking, f"the corpus is not whole: no labels of {', '.join(lacking)}"),
        (packed, f"not unpacked: {', '.join(packed)}"),
        (silent, f"{silent} turns have no sound file under the root"),
        (mute, f"{mute} turns have no transcript"),
        (uncut, f"{uncut} transcribed lines name no labelled turn and are left out"),
        (partial_marks, f"{partial_marks} turns lack an attribute"),
        (len(strange), f"{len(strange)} raters' words count for no emotion: {', '.join(sorted(strange.unique()))}"),
    )
    return [text for condition, text in notes if condition]


def _absent(base: Path, table: pd.DataFrame) -> int:
    """Number of turns whose sound file is not there; folders are listed, no file is opened."""
    wanted = table["path"].drop_duplicates().str.rsplit("/", n=1, expand=True)
    folders = {folder: base / folder for folder in wanted[0].unique()}
    listed = {name: {e.name for e in visible(path)} if path.is_dir() else set() for name, path in folders.items()}
    gone = {f"{folder}/{name}" for folder, name in zip(wanted[0], wanted[1], strict=True) if name not in listed[folder]}
    return int(table["path"].isin(gone).sum())


def _words(sessions: dict[str, Path], item: str) -> pd.DataFrame:
    """Word times of a turn; none where the release, or this copy, has no alignment."""
    match = TURN.fullmatch(item)
    session = sessions.get(f"Session{match.group(1)}") if match else None
    aligned = None if session is None else _walk(session, ("sentences",), ("ForcedAlignment",))
    if aligned is None:
        return no_words()
    path = aligned / item.rsplit("_", 1)[0] / f"{item}.wdseg"
    return read_wdseg(path) if path.is_file() else no_words()

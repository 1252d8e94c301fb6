"""CREMA-D: 91 actors say 12 sentences in six emotions, rated by a crowd, 7,442 recordings.

Cao, Cooper, Keutmann, Gur, Nenkova, Verma, "CREMA-D: Crowd-sourced emotional multimodal actors dataset", IEEE
Transactions on Affective Computing 5(4), 2014, doi 10.1109/TAFFC.2014.2336244; files, columns and sentences as in the
authors' repository https://github.com/CheyneyComputerScience/CREMA-D (Open Database License).

What is read, in the root or one folder below it:

- `SentenceFilenames.csv`, the list of clips: names such as `1001_DFA_ANG_XX` (actor, sentence, emotion, level LO, MD,
  HI or XX). Where it is absent, the names of the files in `AudioWAV/` are the list.
- `VideoDemographics.csv`: the actors' sex and age.
- `processedResults/tabulatedVotes.csv`: the crowd's votes, three rows per clip; those whose number begins with 1 were
  given by hearing alone, and only they are used: `soft_<emotion>` are their shares, `raters` their number, and
  `perceived` the emotion with most votes (missing at a tie).

The default task is the acted emotion; `perceived` is what listeners made of it (by ear alone 40.9 % of the
votes agree with the act, as the paper reports).

A clone without git-lfs, or the repository's zip, holds pointer files in the place of sound. When that is all there is,
loading stops and says so.

There is no official partition. The split `speaker-folds` has five folds by actor, women and men dealt out in the order
of their numbers. Every sentence occurs in every fold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from .core.errors import SerbenchError
from .reading.acted import AUDIO, collect, one_release, speaker_folds
from .reading.label_files import numbers, read_columns, refuse_doubles
from .reading.locate import files_in, find, find_root, need_root, refuse_escapes, relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task, soft_labels
from .schema.ratings import make_ratings
from .schema.task import Task

CITATION = (
    "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma, 'CREMA-D: Crowd-sourced emotional "
    "multimodal actors dataset', IEEE Transactions on Affective Computing 5(4):377-390, 2014, "
    "doi 10.1109/TAFFC.2014.2336244"
)
CITES = ("cao2014crema",)
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
VOTES = {"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness"}
LABELS = tuple(sorted(VOTES.values()))
FOLDS = 5
EXPECTED = {"utterances": 7442, "speakers": 91}
KNOWN_UNUSABLE = frozenset({"1076_MTI_SAD_XX"})
TASKS = (
    Task("emotion", "classification", ("emotion",), LABELS, doc="the six acted emotions"),
    Task("perceived", "classification", ("perceived",), LABELS, "perceived", doc="the listeners' plurality, no ties"),
    emotion_task("emotion-4", "emotion-4", doc="acted anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "perceived", "emotion-4")
POINTER_BYTES = 200
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{2})")
_LIST, _PEOPLE, _VOTES_FILE = ("sentencefilenames.csv",), ("videodemographics.csv",), ("tabulatedvotes.csv",)
_AUDIO_FOLDERS = ("audiowav", "audiowavs", "wav", "audio")
_WHAT = "the CREMA-D repository's folder, with AudioWAV and SentenceFilenames.csv in it"


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load CREMA-D; no audio is needed where the list of clips is there.

    Raises
    ------
    SerbenchError
        For a wrong root, a file that can't be read, two sound files of one clip, or sound files that are all git-lfs
        pointers.
    """
    one_release("crema-d", release)
    base = find_root(
        need_root(root, "crema-d", _WHAT),
        _recognise,
        dataset="crema-d",
        looked_for="SentenceFilenames.csv, or AudioWAV with files such as 1001_DFA_ANG_XX.wav",
        archives=("*crema*", "audiowav*"),
    )
    audio = _audio_folder(base)
    named = collect([(audio, lambda stem: (stem.upper(), None))] if audio else [])
    files = {item: path for item, (path, _) in named.files.items()}
    table, foreign = _clips(base, files)
    table = _with_people(table, base)
    votes = _votes(table, base)
    table = _with_votes(table, votes)
    pointers = _pointers(files, base)
    table["path"] = [
        relative(base, files[item]) if item in files else f"{relative(base, audio) if audio else 'AudioWAV'}/{item}.wav"
        for item in table.index
    ]
    return Corpus(
        name="crema-d",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"speaker-folds": rotation("fold", sorted(set(table["fold"])))},
        licence="Open Database License 1.0",
        citation=CITATION,
        homepage="https://github.com/CheyneyComputerScience/CREMA-D",
        expected=EXPECTED,
        known_unusable=KNOWN_UNUSABLE,
        further=("audiomp3/*",),
        rater_source=None if votes is None else partial(_ratings, votes),
        intended=("emotion",),
        notes=tuple(_notes(table, base, foreign, pointers)),
    )


def _recognise(folder: Path) -> bool:
    return find(folder, _LIST, "file") is not None or _audio_folder(folder) is not None


def _audio_folder(base: Path) -> Path | None:
    for folder in (find(base, _AUDIO_FOLDERS), base):
        if folder and any(_NAME.fullmatch(path.stem.upper()) for path in files_in(folder, *AUDIO)):
            return folder
    return None


def _clips(base: Path, files: dict[str, Path]) -> tuple[pd.DataFrame, list[str]]:
    """One row per clip of the list (or, without one, per sound file), and the names that are no clip's."""
    listed = find(base, _LIST, "file")
    foreign: list[str] = []
    if listed:
        names = read_columns(listed, ("Filename",))["Filename"]
        refuse_escapes(names, str(listed))
        refuse_doubles(names, str(listed))
        items = names.dropna().tolist()
    else:
        items = [name for name in sorted(files) if _NAME.fullmatch(name)]
        foreign = [name for name in sorted(files) if not _NAME.fullmatch(name)]
    rows = [_row(str(item), str(listed or "the file names")) for item in items]
    table = pd.DataFrame(rows).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "crema-d", str(listed or "the file names"))
    return table, foreign


def _row(item: str, source: str) -> dict[str, object]:
    match = _NAME.fullmatch(item)
    if match is None or match[2] not in SENTENCES or match[4] not in LEVELS:
        raise SerbenchError(
            f"the clip {item!r} in {source} is not named like 1001_DFA_ANG_XX. Expected an actor, a sentence "
            f"({', '.join(SENTENCES)}), an emotion and a level ({', '.join(LEVELS)})."
        )
    actor, sentence, emotion, level = match.groups()
    return {
        "id": item,
        "speaker": actor,
        "language": "en",
        "text": SENTENCES[sentence],
        "raw_emotion": emotion,
        "sentence": sentence,
        "level": LEVELS[level],
    }


def _with_people(table: pd.DataFrame, base: Path) -> pd.DataFrame:
    """Add gender and age of the actors, and their fold."""
    path = find(base, _PEOPLE, "file")
    if path:
        people = read_columns(path, ("ActorID", "Age", "Sex"))
        refuse_doubles(people["ActorID"], str(path))
        people = people.set_index("ActorID")
        table["gender"] = table["speaker"].map(people["Sex"].str.lower())
        table["age"] = table["speaker"].map(numbers(people["Age"], str(path)))
    else:
        table["gender"] = pd.NA
    genders = dict(zip(table["speaker"], table["gender"].astype("string").fillna("unknown"), strict=True))
    table["fold"] = table["speaker"].map(speaker_folds(genders, min(FOLDS, max(3, len(genders)))))
    return table


def _votes(table: pd.DataFrame, base: Path) -> pd.DataFrame | None:
    """Votes of the raters who heard a clip alone, (clip, emotion); None without the file."""
    folder = find(base, ("processedresults",))
    path = find(folder, _VOTES_FILE, "file") if folder else find(base, _VOTES_FILE, "file")
    if path is None:
        return None
    votes = read_columns(path, (*VOTES, "fileName"))
    heard = votes[votes[votes.columns[0]].str.fullmatch(r"1\d{5}").fillna(False).to_numpy(dtype=bool)]
    refuse_doubles(heard["fileName"], f"{path} (rows of hearing alone)")
    heard = heard.set_index("fileName").reindex(table.index)
    return pd.DataFrame({emotion: numbers(heard[code], str(path)) for code, emotion in VOTES.items()})


def _with_votes(table: pd.DataFrame, counts: pd.DataFrame | None) -> pd.DataFrame:
    """Add what the votes say: the plurality, the number of raters, soft labels."""
    if counts is None:
        return table.assign(perceived=pd.Series(pd.NA, table.index, dtype="string"))
    long = counts.rename_axis("id").reset_index().melt("id", var_name="emotion", value_name="weight").dropna()
    most = counts.eq(counts.max(axis=1), axis=0) & counts.gt(0)
    clear = most.sum(axis=1).eq(1)
    table["perceived"] = most.idxmax(axis=1).where(clear).astype("string")
    table["raters"] = counts.sum(axis=1).where(counts.notna().any(axis=1))
    return table.join(soft_labels(long, LABELS))


def _ratings(counts: pd.DataFrame) -> pd.DataFrame:
    """A row for each vote; who gave it is not in the table of votes."""
    long = counts.rename_axis("id").reset_index().melt("id", var_name="emotion", value_name="votes")
    return make_ratings(long.loc[long.index.repeat(long["votes"].fillna(0).astype(int)), ["id", "emotion"]])


def _pointers(files: dict[str, Path], base: Path) -> int:
    """Number of sound files that are as short as git-lfs pointers.

    Raises
    ------
    SerbenchError
        If all of them are, and the first one says that it is.
    """
    short = [path for path in files.values() if path.stat().st_size <= POINTER_BYTES]
    if files and len(short) == len(files) and short[0].read_bytes().startswith(b"version https://git-lfs"):
        raise SerbenchError(
            f"crema-d: the {len(files)} sound files of {str(base)!r} are git-lfs pointers, not sound. "
            f"Type: git -C {base} lfs pull --include AudioWAV (the repository's zip never holds sound)."
        )
    return len(short)


def _notes(table: pd.DataFrame, base: Path, foreign: list[str], pointers: int) -> Iterator[str]:
    yield "1076_MTI_SAD_XX holds no sound; 1064_IEO_DIS_MD is reported to be a minute of several takes"
    yield "every actor says the same 12 sentences, so text tells nothing of the emotion"
    if find(base, _LIST, "file") is None:
        yield "SentenceFilenames.csv was not found: the sound files are the list, and one that is gone is not told"
    if table["gender"].isna().any():
        yield f"{int(table['gender'].isna().sum())} clips have no gender (VideoDemographics.csv)"
    if "raters" not in table:
        yield "processedResults/tabulatedVotes.csv was not found: no votes, and the task perceived is empty"
    if pointers:
        yield f"{pointers} sound files are as short as git-lfs pointers: type git lfs pull"
    if foreign:
        yield f"{len(foreign)} sound files are not named like 1001_DFA_ANG_XX and were left out: {foreign[0]} ..."

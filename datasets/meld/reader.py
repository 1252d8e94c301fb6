"""MELD, multi-party dialogues from a television series: 13,708 utterances with seven emotions and three sentiments.

Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea, "MELD: A multimodal multi-party dataset for emotion recognition in
conversations", ACL 2019, pp. 527-536, doi 10.18653/v1/P19-1050; files and counts as in the authors' repository
https://github.com/declare-lab/MELD. The label files are under that repository's GPL-3.0; the clips are television
footage, given out for research.

What is read: `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv`, in the root, in a folder of the split, or
in `data/MELD`. Rows come from these files alone; the folders of clips decide nothing but where a row's audio lies
(`meld/files.py`), and the corpus loads without any clip. Ids are `train/dia0_utt0`: dialogue numbers restart in each
split, so the bare clip name is no key, and `Sr No.` is none either.

Context is grouped by (split, dialogue) and ordered by utterance number, since start times run backwards in places.
"Interlocutor" is the last earlier turn under another speaker text: dialogues have up to nine speakers. Turns of several
people at once ("All", "Ross and Joey") are marked in `joint_speaker`.

Splits: `official` (its speakers occur on both sides), and `speaker-disjoint`, seven folds made here
(`meld/speakers.py`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..reading.acted import one_release
from ..reading.label_files import numbers, read_columns, refuse_doubles
from ..schema.context import add_context
from ..schema.corpus import OFFICIAL, Corpus, make_table
from ..schema.labels import canonical, emotion_task
from ..schema.task import Task
from . import files
from .speakers import LEADS, disjoint_folds, groups_of as groups_of, is_joint, with_roles
from .video import DOWNMIX, ClipAudio

CITATION = (
    "S. Poria, D. Hazarika, N. Majumder, G. Naik, E. Cambria and R. Mihalcea, 'MELD: A multimodal multi-party dataset "
    "for emotion recognition in conversations', ACL 2019, pp. 527-536, doi 10.18653/v1/P19-1050"
)
CITES = ("poria2019meld",)
LICENCE = "GPL-3.0 (label files); the clips are television footage for research use, their licence is not stated"
SPLITS = files.SPLITS
TASK_NAMES = ("emotion", "sentiment", "emotion-4")
COLUMNS = (
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
)
"""Of the label files, beside `Sr No.`."""
SENTIMENTS = ("negative", "neutral", "positive")
KNOWN_UNUSABLE = frozenset({"train/dia125_utt3", "dev/dia110_utt7"})
EXPECTED = {
    "utterances": 13708,
    "partition=train": 9989,
    "partition=dev": 1109,
    "partition=test": 2610,
    "speakers": 304,
    "emotion=neutral": 6436,
    "emotion=happiness": 2308,
    "emotion=surprise": 1636,
    "emotion=anger": 1607,
    "emotion=sadness": 1002,
    "emotion=disgust": 361,
    "emotion=fear": 358,
    "sentiment=neutral": 6436,
    "sentiment=negative": 4184,
    "sentiment=positive": 3088,
    **{
        f"{column}={label},partition={split}": n
        for column, counts in {
            "emotion": {
                "neutral": (4710, 470, 1256),
                "happiness": (1743, 163, 402),
                "surprise": (1205, 150, 281),
                "anger": (1109, 153, 345),
                "sadness": (683, 111, 208),
                "disgust": (271, 22, 68),
                "fear": (268, 40, 50),
            },
            "sentiment": {"neutral": (4710, 470, 1256), "negative": (2945, 406, 833), "positive": (2334, 233, 521)},
        }.items()
        for label, per_split in counts.items()
        for split, n in zip(SPLITS, per_split, strict=True)
    },
    **{f"dialogues@partition={split}": n for split, n in zip(SPLITS, (1038, 114, 280), strict=True)},
    **{f"speakers@partition={split}": n for split, n in zip(SPLITS, (260, 47, 100), strict=True)},
}
NOTES = (
    "two clips can't be used: train/dia125_utt3 is damaged, dev/dia110_utt7 was never published (both neutral)",
    "the official split is not speaker-independent, and 67 episodes occur in all three partitions; three test rows "
    "have the season, episode and times of a training row (test/dia85_utt0, dia85_utt1, dia117_utt8), and 26 test "
    "utterances of four and more words are said in training too",
    "times come from subtitles: test/dia38_utt4, test/dia220_utt0 and others are far too long, some last under 0.1 s; "
    "the column duration_flag marks them by the label files' times",
    "users report a loud disturbance in train/dia793_utt0, dia682_utt1, dia529_utt2, dia1029_utt1, dia1008_utt1, and "
    "sound that does not fit the text in train/dia757_utt7 and dia485_utt0; the first also in dia164_utt5, the second "
    "in dia241, which train and test both have",
    "a laugh track runs under most clips; how six channels become one is the option downmix",
    "gender is filled in for the six leads only; the corpus itself gives none",
)
_CP1252 = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)} | {0xA0: " "}


def load(
    root: Path | None,
    release: str | None = None,
    *,
    test_clips: str = "corrected",
    downmix: str = DOWNMIX[0],
    context: str = "started",
    audio_folder: Path | None = None,
) -> Corpus:
    """Load MELD from the folder that holds its label files and, if they are there, its clips.

    Parameters
    ----------
    root : such as `MELD.Raw`, or a clone of the repository (labels alone)
    test_clips : "corrected" takes the 132 recut test clips (`final_videos_test...`) where they are there, as their
        publishers advise; "plain" takes the first cuts, as most published code does. The column `cut` says which
    downmix : how a clip's channels become one (see `meld/video.py`); the column `downmix` carries it, and the corpus
        digest any rule but the default one: clips and sound files made of them are one corpus
    context : "started": context turns are earlier turns; "ended": earlier turns that also ended, by the label files'
        times, before this one starts
    audio_folder : where decoded audio is kept; None = in serbench's cache

    Raises
    ------
    SerbenchError
        When the root or a label file is missing or can't be read; the message says what was looked for.
    """
    one_release("meld", release)
    _choice("test_clips", test_clips, ("corrected", "plain"))
    _choice("context", context, ("started", "ended"))
    audio = ClipAudio(downmix, None if audio_folder is None else Path(audio_folder))
    base = files.find_base(root)
    rows = pd.concat([read_labels(path, split) for split, path in files.label_files(base).items()])
    located, notes = files.locate(base, rows, corrected=test_clips == "corrected")
    rows = rows.assign(**located, downmix=_applied(located["path"], downmix))
    table = add_context(make_table(rows), ended_before=context == "ended", order=("turn",))
    return Corpus(
        name="meld",
        release="",
        root=base,
        utterances=with_roles(table),
        tasks=_tasks(),
        splits={"official": (OFFICIAL,), "speaker-disjoint": disjoint_folds()},
        licence=LICENCE,
        citation=CITATION,
        homepage="https://affective-meld.github.io",
        subset_group="dialogue",
        shared=("speaker", "text", "audio"),
        expected=EXPECTED,
        known_unusable=KNOWN_UNUSABLE,
        notes=(*NOTES, *notes),
        further=_other_cuts(table, test_clips),
        audio_source=audio,
        incidental=("path", "downmix") if downmix == DOWNMIX[0] else ("path",),
    )


def read_labels(path: Path, split: str) -> pd.DataFrame:
    """One label file as rows of the corpus table, indexed by id, without paths and context.

    Raises
    ------
    SerbenchError
        On a missing column, a number or time that is none, an unknown class, or a doubled (dialogue, utterance).
    """
    table = read_columns(path, COLUMNS)
    for column in ("Utterance", "Speaker"):
        table[column] = clean_text(table[column])
    whole = {c: _whole(table[c], path) for c in ("Dialogue_ID", "Utterance_ID", "Season", "Episode")}
    ids = split + "/dia" + whole["Dialogue_ID"].astype(str) + "_utt" + whole["Utterance_ID"].astype(str)
    refuse_doubles(pd.Index(ids), str(path))
    table.index = pd.Index(ids, name="id")
    for column, values in whole.items():
        table[column] = values.to_numpy()
    start, end = (seconds(table[c], str(path)) for c in ("StartTime", "EndTime"))
    dialogue = split + "/dia" + table["Dialogue_ID"].astype(str)
    return pd.DataFrame(
        {
            "speaker": table["Speaker"],
            "gender": table["Speaker"].map(LEADS),
            "language": "en",
            "dialogue": dialogue,
            "turn": table["Utterance_ID"].groupby(dialogue).rank(method="first") - 1,
            "dialogue_start": start,
            "dialogue_end": end,
            "text": table["Utterance"],
            "partition": split,
            "raw_emotion": table["Emotion"],
            "emotion": canonical(table["Emotion"], "meld", str(path)),
            "sentiment": _sentiment(table["Sentiment"], path),
            "dialogue_number": table["Dialogue_ID"],
            "utterance_number": table["Utterance_ID"],
            "episode": "s" + table["Season"].astype(str).str.zfill(2) + "e" + table["Episode"].astype(str).str.zfill(2),
            "joint_speaker": table["Speaker"].map(is_joint).astype(bool),
            "duration_flag": _duration_flag(end - start),
        }
    )


def seconds(times: pd.Series[str], source: str) -> pd.Series[float]:
    """`h:mm:ss,mmm` (one or two digits of hours) to seconds, to the millisecond."""
    parts = times.astype("string").str.strip().str.extract(r"^(\d+):(\d\d):(\d\d)[,.](\d{1,3})$")
    if parts.isna().any(axis=None):
        bad = times.index[parts.isna().any(axis=1).to_numpy()][0]
        raise SerbenchError(
            f"{times.name} of {bad!r} in {source} is {times[bad]!r}. "
            "Expected a time such as 00:16:16,059; correct the file."
        )
    hours, minutes, whole = (parts[i].astype("int64") for i in range(3))
    milliseconds = parts[3].str.ljust(3, "0").astype("int64")
    return ((hours * 3600 + minutes * 60 + whole) * 1000 + milliseconds) / 1000.0


def clean_text(values: pd.Series[str]) -> pd.Series[str]:
    """Text with the cp1252 code points of older label files as real characters, and without blanks around."""
    return values.map(lambda text: text.translate(_CP1252).strip(), na_action="ignore")


def _tasks() -> tuple[Task, ...]:
    return (
        emotion_task("emotion-7", doc="the seven emotions of MELD"),
        Task("sentiment", "classification", ("sentiment",), SENTIMENTS, "sentiment", doc="the three sentiments"),
        emotion_task("emotion-4", "emotion-4", doc="the four classes that MELD shares with IEMOCAP"),
    )


def _choice(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise unknown(f"value of {name}", given, known)


def _whole(values: pd.Series[str], path: Path) -> pd.Series[int]:
    result = numbers(values, str(path))
    bad = values[result.isna() | (result % 1 != 0)]
    if len(bad):
        raise SerbenchError(
            f"{values.name} of row {bad.index[0]} in {path} is {bad.iloc[0]!r}. "
            "Expected a whole number; correct the file."
        )
    return result.astype("int64")


def _sentiment(values: pd.Series[str], path: Path) -> pd.Series[str]:
    wrong = values[~values.isin(SENTIMENTS)]
    if len(wrong):
        raise SerbenchError(
            f"unknown sentiment {wrong.iloc[0]!r} of {wrong.index[0]!r} in {path}. Expected: {', '.join(SENTIMENTS)}."
        )
    return values


def _other_cuts(table: pd.DataFrame, test_clips: str) -> tuple[str, ...]:
    """The other cut of each test clip that was cut twice."""
    if test_clips == "plain":
        return (f"*{files.RECUT}*",)
    recut = table.loc[table["cut"].eq("corrected"), "path"]
    return tuple(recut.str.replace(files.RECUT, "", case=False, regex=False))


def _duration_flag(duration: pd.Series[float]) -> pd.Series[str]:
    flag = pd.Series(pd.NA, duration.index, dtype="string")
    flag[duration.round(3) <= 0.1] = "very short"
    flag[duration.round(3) <= 0.0] = "zero"
    flag[duration > 20.0] = "very long"
    return flag


def _applied(paths: pd.Series[str], downmix: str) -> pd.Series[str]:
    """The rule where it will be applied: to clips, not to audio that a user made."""
    clips = paths.str.lower().str.endswith(files.CLIP_ENDINGS)
    return pd.Series(downmix, paths.index, dtype="string").where(clips)

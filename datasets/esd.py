"""ESD, the emotional speech database: ten Mandarin and ten English speakers, five emotions, 35,000 recordings.

Zhou, Sisman, Liu and Li, "Emotional voice conversion: Theory, databases and ESD", Speech Communication 137, 2022,
pages 1-18, doi 10.1016/j.specom.2021.11.006; files by https://github.com/HLTSingapore/Emotional-Speech-Data ("only for
research purpose", after sending a signed licence).

What is read: names such as `0012/Angry/0012_000351.wav`, with or without folders `train`, `evaluation` and `test` below
the emotion, in the root or in folders below it: speaker and number; and the transcripts `0012/0012.txt` (number, text
and emotion, with tabs between) where they are there, in whichever of UTF-16, UTF-8 and GB 18030 they are.

The emotion follows from the number: 350 each of neutral (1 to 350), angry, happy, sad and surprise (1401 to 1750).
A file that lies in the folder of another emotion is an error.

Names, numbers and folders are confirmed on the 35,000 files of EmoBox's list; the speakers' gender and language are
those of the ReadMe that comes with the corpus. The three folders divide each emotion's sentences, with all speakers
in each: they are no split for recognition, and are left alone.

The split `speaker-folds` has five folds of two Mandarin and two English speakers, a woman and a man of each language.
`--option language=en` (or zh) keeps ten speakers: two to a fold. The same sentences are said in all emotions.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .core.errors import SerbenchError, unknown
from .reading.acted import folders, gather, one_release
from .reading.locate import files_in, relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task
from .schema.task import Task

CITATION = (
    "K. Zhou, B. Sisman, R. Liu and H. Li, 'Emotional voice conversion: Theory, databases and ESD', Speech "
    "Communication 137:1-18, 2022, doi 10.1016/j.specom.2021.11.006"
)
CITES = ("zhou2022esd",)
ORDER = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
"""Emotions in the order of their numbers, 350 each."""
SPEAKERS = tuple(f"{number:04d}" for number in range(1, 21))
WOMEN = ("0001", "0002", "0003", "0007", "0009", "0015", "0016", "0017", "0018", "0019")
LANGUAGES = {"both": ("zh", "en"), "zh": ("zh",), "en": ("en",)}
LABELS = ("anger", "happiness", "neutral", "sadness", "surprise")
EACH = 350
TASKS = (
    Task("emotion", "classification", ("emotion",), LABELS, doc="the five acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NAME = re.compile(r"(00[01]\d|0020)_(\d{6})")


def load(root: Path | None, release: str | None = None, *, language: str = "both") -> Corpus:
    """Load ESD from its file names, with the transcripts that are there.

    Parameters
    ----------
    language : "both", "zh" (speakers 0001 to 0010) or "en" (0011 to 0020)

    Raises
    ------
    SerbenchError
        For a wrong root, a number or a folder that does not fit, or two files of one name.
    """
    one_release("esd", release)
    if language not in LANGUAGES:
        raise unknown("value of language", language, LANGUAGES)
    base, named = gather(
        root,
        parse_name,
        dataset="esd",
        what="the folder that holds 0001 to 0020 of ESD",
        like="0012/Angry/0012_000351.wav",
        archives=("*emotion*", "*esd*"),
    )
    texts, unread = _texts(base)
    rows = [_row(base, item, path, *name, texts) for item, (path, name) in named.files.items()]
    table = pd.DataFrame(rows).set_index("id")
    table["fold"] = table["speaker"].map({speaker: _fold(speaker) for speaker in SPEAKERS})
    table = table[table["language"].isin(LANGUAGES[language])]
    if table.empty:
        raise SerbenchError(
            f"esd: {str(base)!r} holds no file of language={language}. Expected speakers 0001 to 0010 (zh) or 0011 to "
            "0020 (en)."
        )
    table["emotion"] = canonical(table["raw_emotion"], "esd", "the file names")
    count = len(LANGUAGES[language]) * 10
    return Corpus(
        name="esd",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={
            "speaker-folds": rotation("fold", sorted(set(table["fold"]))),
            "leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"]))),
        },
        licence="free for research, after sending a signed licence",
        citation=CITATION,
        homepage="https://github.com/HLTSingapore/Emotional-Speech-Data",
        expected={
            "utterances": count * 5 * EACH,
            "speakers": count,
            **{f"emotion={label}": count * EACH for label in LABELS},
        },
        further=tuple(f"*{speaker}_*" for speaker in SPEAKERS if _language(speaker) not in LANGUAGES[language]),
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "350 sentences of a language are said by its speakers in every emotion",
            *((f"{unread} lines of the transcripts can't be read",) if unread else ()),
            *named.notes("0012_000351"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, int]] | None:
    """Id, and speaker and number of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem)
    return None if match is None or match[1] == "0000" else (stem, (match[1], int(match[2])))


def _row(base: Path, item: str, path: Path, speaker: str, number: int, texts: dict[str, str]) -> dict[str, object]:
    place = (number - 1) // EACH
    if not 0 <= place < len(ORDER):
        raise SerbenchError(f"{path.name!r} has the number {number}. Expected 1 to {len(ORDER) * EACH}; is it of ESD?")
    emotion = ORDER[place]
    wrong = [part for part in path.relative_to(base).parts[:-1] if part in ORDER and part != emotion]
    if wrong:
        raise SerbenchError(
            f"{str(path)!r} lies in {wrong[0]!r}, but its number says {emotion!r} (350 each of {', '.join(ORDER)}). "
            "Move it back, or unpack the archive again."
        )
    return {
        "id": item,
        "path": relative(base, path),
        "speaker": speaker,
        "gender": "female" if speaker in WOMEN else "male",
        "language": _language(speaker),
        "text": texts.get(item),
        "raw_emotion": emotion,
        "sentence": str((number - 1) % EACH + 1),
    }


def _language(speaker: str) -> str:
    return "zh" if int(speaker) <= 10 else "en"


def _fold(speaker: str) -> str:
    """The place of the speaker among those of the same gender and language."""
    kind = (speaker in WOMEN, _language(speaker))
    return str([s for s in SPEAKERS if (s in WOMEN, _language(s)) == kind].index(speaker) + 1)


def _texts(base: Path) -> tuple[dict[str, str], int]:
    """Id -> transcript, and the number of lines that are none."""
    texts, unread = dict[str, str](), 0
    files = [p for folder in folders(base) for p in files_in(folder, ".txt") if re.fullmatch(r"00\d\d", p.stem)]
    for file in files:
        for line in _decode(file.read_bytes()).splitlines():
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) == 3 and _NAME.fullmatch(cells[0]):
                texts[cells[0]] = cells[1]
            elif line.strip():
                unread += 1
    return texts, unread


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace")

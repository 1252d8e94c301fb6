"""nEMO: nine Polish actors say 90 sentences in six emotions, 4,481 recordings, over three hours.

Christop, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024, pages 12111-12116,
https://aclanthology.org/2024.lrec-main.1059; files at https://github.com/amu-cai/nEMO (CC BY-NC-SA 4.0, as its README
says; the hub has the same corpus as parquet files, which `hf` reads).

What is read, in the root or one folder below it: `data.tsv` with file_id, emotion, raw_text, normalized_text,
speaker_id, gender and age makes the table; sound is `samples/SPEAKER_EMOTION_SENTENCE.wav`. Cells are stripped, since
those of speaker_id begin with blanks. The table needs no sound, and a file that is gone is reported as missing.

Grammar, columns and counts are those of the authors' repository (its README and all 4,481 rows and files).

There is no official partition. The split `leave-one-speaker-out` has nine folds. The same sentences are said in every
emotion and fold, so text alone tells nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .core.errors import SerbenchError
from .reading.acted import AUDIO, one_release
from .reading.label_files import numbers, read_columns, refuse_doubles
from .reading.locate import files_in, find, find_root, need_root, refuse_escapes
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task
from .schema.task import Task

CITATION = (
    "I. Christop, 'nEMO: Dataset of Emotional Speech in Polish', LREC-COLING 2024, pp. 12111-12116, "
    "https://aclanthology.org/2024.lrec-main.1059"
)
CITES = ("christop2024nemo",)
LABELS = ("anger", "fear", "happiness", "neutral", "sadness", "surprise")
EXPECTED = {
    "utterances": 4481,
    "speakers": 9,
    "emotion=anger": 749,
    "emotion=fear": 736,
    "emotion=happiness": 749,
    "emotion=neutral": 809,
    "emotion=sadness": 769,
    "emotion=surprise": 669,
}
TASKS = (
    Task("emotion", "classification", ("emotion",), LABELS, doc="the six acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")
_NAME = re.compile(r"([A-Z]{2}\d)_([a-z]+)_(\d+)\.wav")
_WHAT = "a clone of the nEMO repository, with data.tsv and samples in it"


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load nEMO from its table; no sound is needed.

    Raises
    ------
    SerbenchError
        For a wrong root, or a row of `data.tsv` that can't be used.
    """
    one_release("nemo", release)
    base = find_root(
        need_root(root, "nemo", _WHAT),
        lambda folder: find(folder, ("data.tsv",), "file") is not None and find(folder, ("samples",)) is not None,
        dataset="nemo",
        looked_for="data.tsv and the folder samples",
        archives=("*nemo*", "samples*"),
    )
    samples, source = find(base, ("samples",)), find(base, ("data.tsv",), "file")
    assert samples is not None
    assert source is not None
    table = _table(source, samples.relative_to(base).as_posix())
    known = set(table["path"].map(lambda path: path.rsplit("/", 1)[-1]))
    foreign = [path.name for path in files_in(samples, *AUDIO) if path.name not in known]
    return Corpus(
        name="nemo",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"])))},
        licence="CC BY-NC-SA 4.0",
        citation=CITATION,
        homepage="https://github.com/amu-cai/nEMO",
        expected=EXPECTED,
        notes=(
            "90 sentences are said by everybody in every emotion",
            *((f"{len(foreign)} sound files have no row in data.tsv, such as {foreign[0]}",) if foreign else ()),
        ),
    )


def _table(source: Path, folder: str) -> pd.DataFrame:
    cells = read_columns(source, _COLUMNS, separator="\t", quoting=3).apply(lambda column: column.str.strip())
    refuse_escapes(cells["file_id"], str(source))
    names = cells["file_id"].str.extract(_NAME.pattern + "$")
    wrong = names.isna().any(axis=1) | names[0].ne(cells["speaker_id"]).fillna(
        True
    )  # a row that breaks off lacks cells
    odd = cells.index[wrong.to_numpy(dtype=bool)]
    if len(odd):
        raise SerbenchError(
            f"row {odd[0] + 1} of {str(source)!r} has the file {cells['file_id'][odd[0]]!r} of the speaker "
            f"{cells['speaker_id'][odd[0]]!r}. Expected a name such as WR0_surprised_64.wav that begins with the "
            "speaker; take data.tsv from the repository."
        )
    refuse_doubles(cells["file_id"], str(source))
    table = pd.DataFrame(
        {
            "id": cells["file_id"].str.removesuffix(".wav"),
            "path": f"{folder}/" + cells["file_id"],
            "speaker": cells["speaker_id"],
            "gender": cells["gender"],
            "language": "pl",
            "text": cells["raw_text"],
            "raw_emotion": cells["emotion"],
            "sentence": names[2],
            "age": numbers(cells["age"], str(source)),
        }
    ).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "nemo", str(source))
    return table

"""A data set as the Hugging Face hub keeps it: parquet files with the sound in them, in a folder on this machine.

Nothing is downloaded: `hf download --repo-type dataset NAME --local-dir FOLDER` (or git) does that. Any parquet file
with a column of sound will do; pyarrow reads it, the `datasets` library is not needed.

Columns are mapped by name: `--option label=emotion` says which column is the label, `none` that none is. Where an
option is left out, the first of the usual names that is there is taken:

| option | usual names |
|---|---|
| audio | the column that the metadata calls Audio, else `audio`, else the one that looks like sound |
| label | label, emotion, labels, emotions, emotion_label, class, category |
| speaker | speaker, speaker_id, spk, spk_id, actor, actor_id, speakerid, client_id |
| text | text, transcription, transcript, sentence, raw_text, normalized_text |
| gender, language, dialogue | gender, speaker_gender, sex; language, lang, locale; dialogue, dialogue_id, dialog_id |
| arousal, valence, dominance | arousal, activation; valence; dominance |
| split | split, partition, subset, where its values are usual names of parts |
| id | id, file_id, utterance_id, uttid, where its values are all different |

Class numbers become the names that the metadata gives them. The parts train, dev and test follow from the names of the
files (`train-00000-of-00001.parquet`, `validation/0000.parquet`) unless `split` names a column; files that are called
otherwise make a column `part`. Without an id the name of the sound is the id, else part and place in it. Further
columns are kept as text, those that would mean something here under `given_NAME`. Tasks, scales, splits and what is
said of missing speakers are those of `table`.

The sound is written into the cache once, each file named by its content, and read from there (`hf.sound`); rows without
sound are left out and counted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..core.files import cache_root, digest
from ..schema.corpus import Corpus
from ..table.cells import PARTITION_WORDS
from ..table.file import LINE
from ..table.reader import CELL_COLUMNS, RESERVED, corpus_of
from .files import Shard, cells, flat_columns, holds_bytes, shards, sound_columns
from .sound import ENDINGS, unpack

USUAL: Mapping[str, tuple[str, ...]] = {
    "label": ("label", "emotion", "labels", "emotions", "emotion_label", "class", "category"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "actor", "actor_id", "speakerid", "client_id"),
    "text": ("text", "transcription", "transcript", "sentence", "raw_text", "normalized_text"),
    "gender": ("gender", "speaker_gender", "sex"),
    "language": ("language", "lang", "locale"),
    "dialogue": ("dialogue", "dialogue_id", "dialog_id"),
    "arousal": ("arousal", "activation"),
    "valence": ("valence",),
    "dominance": ("dominance",),
    "partition": ("split", "partition", "subset"),
    "id": ("id", "file_id", "utterance_id", "uttid"),
}
"""Column of the corpus -> usual names of it."""
NOTHING = "none"
"""What an option is set to where no column is meant."""


def load(
    root: Path | None,
    release: str | None = None,
    *,
    audio: str | None = None,
    label: str | None = None,
    speaker: str | None = None,
    text: str | None = None,
    gender: str | None = None,
    language: str | None = None,
    dialogue: str | None = None,
    arousal: str | None = None,
    valence: str | None = None,
    dominance: str | None = None,
    split: str | None = None,
    id: str | None = None,
    files: str | None = None,
) -> Corpus:
    """Load a corpus from parquet files with the sound in them.

    Parameters
    ----------
    root : a parquet file, or a folder with some, such as a clone or a download of a data set's repository
    release : name of this corpus in records; default: the folder's name
    audio, label, speaker, ... id : names of columns; default: the usual names; "none": no column
    files : only parquet files whose name below the root fits, such as "data/cafe-*"; default: all

    Raises
    ------
    SerbenchError
        For files, columns or cells that can't be used; the message says what there is.
    """
    if root is None:
        raise SerbenchError("hf needs the folder of your parquet files. Type --root FOLDER, or --root FILE.parquet.")
    chosen = {
        "label": label,
        "speaker": speaker,
        "text": text,
        "gender": gender,
        "language": language,
        "dialogue": dialogue,
        "arousal": arousal,
        "valence": valence,
        "dominance": dominance,
        "partition": split,
        "id": id,
    }
    files_read = shards(root, files)
    sound = _sound_column(files_read[0], audio)
    folder = cache_root() / "hf" / f"{root.stem}-{digest(os.path.abspath(root), 8)}"
    read = pd.concat([_rows(shard, sound, folder) for shard in files_read], ignore_index=True)
    usable = read[read["path"].notna()].reset_index(drop=True)
    if usable.empty:
        raise SerbenchError(
            f"the column {sound!r} of {root} holds names of files, not sound. Type --dataset table --root LIST.csv "
            "--option audio=FOLDER for a list of files."
        )
    table, notes = _mapped(usable, chosen, root)
    where = root / "*.parquet" if root.is_dir() else root
    others = sorted({str(c) for c in usable if not str(c).startswith("_")} - {"path"})
    remedy = f"Type --option speaker=COLUMN if one of these says who speaks: {', '.join(others)}."
    corpus = corpus_of(table, where, name="hf", release=release or _name(root), audio=folder, remedy=remedy)
    lost = len(read) - len(usable)
    lost_note = (f"{lost} rows have no sound in {sound!r} and were left out",) if lost else ()
    return dataclasses.replace(corpus, further=("*",), notes=(*corpus.notes, *notes, *lost_note))


def _sound_column(shard: Shard, given: str | None) -> str:
    if given is not None and given not in shard.schema.names:
        raise unknown(f"column of {shard.name}", given, shard.schema.names)
    column = given if given is not None else next(sound_columns(shard), None)
    kinds = ", ".join(f"{field.name} ({field.type})" for field in shard.schema)
    if column is None:
        raise SerbenchError(
            f"{shard.path} has no column of sound. Expected a struct with 'bytes' and 'path', or binary; it has: "
            f"{kinds}. For a list of files type --dataset table --root LIST.csv --option audio=FOLDER."
        )
    if not holds_bytes(shard.schema.field(column).type):
        raise SerbenchError(
            f"the column {column!r} of {shard.path} holds no files. Expected a struct with 'bytes' and 'path', or "
            f"binary; it is {shard.schema.field(column).type}. For a list of files type --dataset table --root "
            "LIST.csv --option audio=FOLDER; decoded sound has to be written anew, as files."
        )
    return column


def _rows(shard: Shard, sound: str, folder: Path) -> pd.DataFrame:
    """Cells of a file, with `path`, `_name` (of the sound), `_part`, `_partition` and the row in `LINE`."""
    if sound not in shard.schema.names:
        raise SerbenchError(
            f"{shard.path} has no column {sound!r}, which other files have. Type --option files=PATTERN."
        )
    table = cells(shard, [column for column in flat_columns(shard) if column != sound])
    table = table.rename(columns={"path": "given_path"})
    written = unpack(shard, sound, folder)
    table["path"] = pd.array([name for name, _ in written], dtype="string")
    table["_name"] = pd.array([origin for _, origin in written], dtype="string")
    table["_part"] = shard.part
    table["_partition"] = shard.partition or pd.NA
    table[LINE] = [f"{i + 1} ({shard.name})" for i in range(len(written))]
    return table


def _mapped(rows: pd.DataFrame, chosen: Mapping[str, str | None], root: Path) -> tuple[pd.DataFrame, list[str]]:
    """Cells in the columns of a corpus, and notes on what was taken for what."""
    own = [str(c) for c in rows if c not in ("path", LINE) and not str(c).startswith("_")]
    taken: dict[str, str] = {}
    for target, given in chosen.items():
        column = _column(own, target, given, root)
        if column is not None and (given is not None or _fits(rows[column], target)):
            taken[target] = column
    table = pd.DataFrame({target: rows[column] for target, column in taken.items()})
    table["path"], table[LINE] = rows["path"], rows[LINE]
    if "id" not in table:
        table["id"] = _ids(rows)
    table["id"] = table["id"].map(_bare).astype("string")
    if chosen["partition"] is None and set(rows["_partition"].dropna()) - {"train"}:
        table["partition"] = rows["_partition"].astype("string")
    if rows["_part"].nunique() > 1 and rows["_partition"].isna().all():
        table["part"] = rows["_part"].astype("string")
    for column in (c for c in own if c not in taken.values()):
        meant = column in (*CELL_COLUMNS, *RESERVED, "part")
        table[f"given_{column}" if meant else column] = rows[column]
    said = ", ".join(f"{target} from {column}" for target, column in taken.items())
    return table, [f"columns: {said or 'none was recognised'}"]


def _column(own: Sequence[str], target: str, given: str | None, root: Path) -> str | None:
    """The column that an option names, or the first of the usual names that is there."""
    if given is not None:
        if given.lower() == NOTHING:
            return None
        if given not in own:
            raise unknown(f"column of {root}", given, own)
        return given
    names = {name.lower(): name for name in reversed(own)}
    return next((names[usual] for usual in USUAL[target] if usual in names), None)


def _fits(column: pd.Series[str], target: str) -> bool:
    """Whether a column that was only guessed holds what it is called for."""
    if target == "partition":
        return set(column.dropna().str.lower()) <= set(PARTITION_WORDS)
    if target == "id":
        return bool(column.notna().all() and column.is_unique)
    return bool(column.notna().any())


def _ids(rows: pd.DataFrame) -> pd.Series[str]:
    """The names of the sound where these are all there and all different, else part and place in the part."""
    names = rows["_name"].map(os.path.basename, na_action="ignore").astype("string")
    bare = names.map(_bare, na_action="ignore")
    if names.notna().all() and bare.is_unique:
        return names
    numbers = rows.groupby("_part").cumcount().astype(str)
    return (rows["_part"] + "-" + numbers).astype("string")


def _bare(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in ENDINGS else name


def _name(root: Path) -> str:
    """A name for records: the repository and revision of a folder in the hub's cache, else the folder or file."""
    path = Path(os.path.abspath(root))
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("datasets--"):
        repository = path.parent.parent.name.removeprefix("datasets--").replace("--", "/")
        return f"{repository}@{path.name[:8]}"
    return path.stem if path.is_file() else path.name

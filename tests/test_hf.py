"""Parquet files with the sound in them: recognised, mapped, written once, refused; the same as the plain corpus."""

from __future__ import annotations

import io
import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from serbench.benchmarks.corpora import doctor
from serbench.benchmarks.grid import grid
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.datasets import nemo
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.hf import reader as hf
from serbench.datasets.hf.files import SPLITS, Shard
from serbench.datasets.schema.corpus import Corpus
from serbench.features.core.feature_extractor import build
from serbench.features.extraction.extract import extract

AUDIO = pa.struct({"bytes": pa.binary(), "path": pa.string()})
EMOTIONS = ("anger", "happiness", "neutral", "sadness")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))


def sound(seed: int, seconds: float = 0.3) -> bytes:
    """A wav file of noise."""
    stream = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(int(16000 * seconds))
    soundfile.write(stream, noise.astype(np.float32), 16000, format="WAV")
    return stream.getvalue()


def rows(count: int = 24, first: int = 0) -> dict[str, Sequence[Any]]:
    """Columns of a data set: sound, a label for each, six speakers."""
    numbers = range(first, first + count)
    return {
        "audio": [{"bytes": sound(i), "path": f"clip{i:02d}.wav"} for i in numbers],
        "label": [EMOTIONS[i % 4] for i in numbers],
        "speaker": [f"s{i % 6}" for i in numbers],
    }


def written(
    path: Path, columns: dict[str, Sequence[Any]], features: dict[str, Any] | None = None, audio: Any = AUDIO
) -> Path:
    """Write a parquet file, with the hub's metadata where `features` are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: pa.array(v, audio) if name == "audio" else pa.array(v) for name, v in columns.items()}
    table = pa.table(arrays)
    if features is not None:
        described = {"info": {"features": {**features, "audio": {"sampling_rate": 16000, "_type": "Audio"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    pq.write_table(table, path, row_group_size=5)
    return path


def load(root: Path, **options: Any) -> Corpus:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return hf.load(root, **options)


# ---- the same corpus in two forms -----------------------------------------------------------------------------------


@pytest.fixture
def both(miniature: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A miniature nEMO as its authors keep it, and as the hub does."""
    root = miniature("nemo", utterances=54)
    table = nemo.load(root).utterances
    columns = {
        "file_id": [f"{item}.wav" for item in table.index],
        "audio": [{"bytes": (root / p).read_bytes(), "path": Path(p).name} for p in table["path"]],
        "emotion": table["raw_emotion"].tolist(),
        "raw_text": table["text"].tolist(),
        "normalized_text": table["text"].str.lower().tolist(),
        "speaker_id": table["speaker"].tolist(),
        "gender": table["gender"].tolist(),
        "age": table["age"].astype(int).tolist(),
    }
    features = {name: {"dtype": "string", "_type": "Value"} for name in columns if name != "audio"}
    return root, written(tmp_path / "nEMO/data/train-00000-of-00001.parquet", columns, features).parents[1]


def test_the_hubs_form_is_the_same_corpus(both: tuple[Path, Path]) -> None:
    plain, parquet = nemo.load(both[0]), load(both[1])
    shared = ["speaker", "gender", "raw_emotion", "emotion", "text"]
    assert parquet.utterances[shared].sort_index().equals(plain.utterances[shared].sort_index())
    assert parquet.release == "nEMO"
    assert parquet.task().labels == plain.task().labels
    for item in plain.utterances.index:
        assert parquet.audio_path(item).read_bytes() == plain.audio_path(item).read_bytes()


def test_both_forms_share_their_features(both: tuple[Path, Path], tmp_path: Path) -> None:
    """The cache goes by content: the second form has the arrays of the first, and none is computed."""
    parquet, plain = load(both[1]), nemo.load(both[0])
    rows_of = plain.utterances.index[:6]
    made = extract(parquet.utterances.loc[rows_of], parquet.root, build("mel"))
    packs = sorted((tmp_path / "cache/features").rglob("*.pack"))
    assert packs
    again = extract(plain.utterances.loc[rows_of], plain.root, build("mel"))
    assert sorted((tmp_path / "cache/features").rglob("*.pack")) == packs
    assert not made.failed
    for item in rows_of:
        assert np.array_equal(made[item], again[item])


@pytest.mark.slow
def test_a_run_from_one_end_to_the_other(both: tuple[Path, Path], tmp_path: Path) -> None:
    protocol = Protocol(subsets=2)
    (run,) = grid.run("linear", "hf", root=both[1], results=tmp_path, trials=1, threads=1, protocol=protocol)
    assert {unit["status"] for unit in run.units()} == {"done"}
    assert not any(unit["excluded"] for unit in run.units())
    assert not [label for label in run.spec["labels"] if label.startswith("leak:")]


def test_the_doctor_finds_nothing(both: tuple[Path, Path]) -> None:
    findings = doctor.check(load(both[1]))
    assert findings.empty, findings
    assert findings.attrs["readable"] == 54


# ---- columns --------------------------------------------------------------------------------------------------------


def test_usual_names_are_taken_and_told(tmp_path: Path) -> None:
    corpus = load(written(tmp_path / "mine.parquet", rows()))
    assert (corpus.name, corpus.release) == ("hf", "mine")
    assert corpus.utterances.index[0] == "clip00"
    assert corpus.utterances["speaker"].tolist()[:2] == ["s0", "s1"]
    assert "columns: label from label, speaker from speaker" in corpus.notes
    assert list(corpus.splits) == ["speaker-disjoint"]


def test_columns_of_other_names_are_mapped_by_options(tmp_path: Path) -> None:
    data = rows()
    renamed = {"audio": data["audio"], "gefühl": data["label"], "wer": data["speaker"], "was": ["a b"] * 24}
    corpus = load(written(tmp_path / "mine.parquet", renamed), label="gefühl", speaker="wer", text="was")
    assert corpus.utterances["raw_emotion"].tolist() == data["label"]
    assert corpus.utterances["speaker"].tolist() == data["speaker"]
    assert set(corpus.utterances["text"]) == {"a b"}


def test_an_option_goes_before_the_usual_name(tmp_path: Path) -> None:
    """The usual column is then kept under another name, and `none` leaves one out."""
    data = rows() | {"emotion": ["x", "y"] * 12, "text": ["words"] * 24}
    corpus = load(written(tmp_path / "mine.parquet", data), label="emotion", text="none")
    assert set(corpus.utterances["raw_emotion"]) == {"x", "y"}
    assert corpus.utterances["given_label"].tolist() == data["label"]
    assert corpus.utterances["text"].isna().all()
    assert set(corpus.utterances["given_text"]) == {"words"}


def test_class_numbers_become_their_names(tmp_path: Path) -> None:
    data = rows()
    numbered = data | {"label": [EMOTIONS.index(e) for e in data["label"]]}
    numbered["label"][3] = -1
    features = {"label": {"names": list(EMOTIONS), "_type": "ClassLabel"}}
    corpus = load(written(tmp_path / "mine.parquet", numbered, features))
    assert corpus.utterances["raw_emotion"].tolist()[:3] == list(data["label"][:3])
    assert corpus.utterances["raw_emotion"].isna().tolist() == [i == 3 for i in range(24)]


def test_numbers_without_names_stay_numbers(tmp_path: Path) -> None:
    data = rows() | {"label": [i % 3 for i in range(24)]}
    corpus = load(written(tmp_path / "mine.parquet", data))
    assert corpus.task().labels == ("0", "1", "2")


def test_attributes_are_tasks(tmp_path: Path) -> None:
    data = rows() | {"arousal": [1 + i % 5 for i in range(24)], "valence": [(-1) ** i * 0.5 for i in range(24)]}
    corpus = load(written(tmp_path / "mine.parquet", data))
    assert [task.name for task in corpus.tasks] == ["emotion", "attributes", "arousal", "valence"]
    assert corpus.scales == {"arousal": (1.0, 5.0), "valence": (-1.0, 1.0)}


def test_missing_speakers_are_warned_of_with_the_option(tmp_path: Path) -> None:
    data = rows()
    data["who"] = data.pop("speaker")
    with pytest.warns(UserWarning, match=r"leak risk\)\. Type --option speaker=COLUMN if one of these.*: label, who"):
        corpus = hf.load(written(tmp_path / "mine.parquet", data))
    assert list(corpus.splits) == ["random"]
    assert load(tmp_path / "mine.parquet", speaker="who").utterances["speaker"].nunique() == 6


def test_sound_in_a_column_of_another_name(tmp_path: Path) -> None:
    data = rows()
    clips = pa.array(data.pop("audio"), AUDIO)
    table = pa.table({"speech": clips, **{k: pa.array(v) for k, v in data.items()}, "face": pa.array([b"x"] * 24)})
    pq.write_table(table, tmp_path / "mine.parquet")
    assert load(tmp_path / "mine.parquet").audio_path("clip03").read_bytes() == sound(3)
    with pytest.raises(SerbenchError, match=r"unknown column of mine.parquet 'speach'. Did you mean 'speech'"):
        hf.load(tmp_path / "mine.parquet", audio="speach")


def test_plain_bytes_are_sound_too(tmp_path: Path) -> None:
    data = rows() | {"audio": [sound(i) for i in range(24)]}
    corpus = load(written(tmp_path / "mine.parquet", data, audio=pa.binary()))
    assert corpus.utterances.index[:2].tolist() == ["mine-0", "mine-1"]
    assert corpus.audio_path("mine-5").read_bytes() == sound(5)


def test_sound_without_names_is_numbered_through_the_shards_of_a_part(tmp_path: Path) -> None:
    for shard in range(2):
        data = rows(12, 12 * shard)
        data["audio"] = [{"bytes": clip["bytes"], "path": None} for clip in data["audio"]]
        written(tmp_path / f"set/train-0000{shard}-of-00002.parquet", data)
    corpus = load(tmp_path / "set")
    assert corpus.utterances.index.tolist() == [f"train-{i}" for i in range(24)]
    assert corpus.audio_path("train-15").read_bytes() == sound(15)


def test_ids_are_a_column_of_different_values_else_the_names(tmp_path: Path) -> None:
    named = rows() | {"id": [f"u{i}" for i in range(24)]}
    assert load(written(tmp_path / "a.parquet", named)).utterances.index[3] == "u3"
    repeated = rows() | {"id": ["same"] * 24}
    assert load(written(tmp_path / "b.parquet", repeated)).utterances.index[3] == "clip03"
    with pytest.raises(SerbenchError, match="the id 'same' occurs more than once"):
        hf.load(tmp_path / "b.parquet", id="id")


# ---- parts ----------------------------------------------------------------------------------------------------------


def parted(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        part = rows(12, 12 * number)
        part["speaker"] = [f"s{number}{i % 3}" for i in range(12)]
        written(root / name, part)
    return root


@pytest.mark.parametrize(
    "names",
    [
        tuple(f"data/{part}-00000-of-00001.parquet" for part in ("train", "validation", "test")),
        ("default/train/0000.parquet", "default/validation/0000.parquet", "default/test/0000.parquet"),
        ("train.parquet", "dev.parquet", "my_test.parquet"),
    ],
)
def test_parts_follow_from_the_names_of_files(tmp_path: Path, names: tuple[str, ...]) -> None:
    corpus = load(parted(tmp_path / "set", *names))
    assert corpus.utterances["partition"].value_counts().to_dict() == {"train": 12, "dev": 12, "test": 12}
    assert corpus.utterances.loc["clip12", "partition"] == "dev"
    assert list(corpus.splits) == ["official"]


def test_shards_of_one_part_are_one_part(tmp_path: Path) -> None:
    corpus = load(parted(tmp_path / "set", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"))
    assert len(corpus.utterances) == 24
    assert corpus.utterances["partition"].isna().all()
    assert list(corpus.splits) == ["speaker-disjoint"]


def test_a_column_that_says_the_part(tmp_path: Path) -> None:
    data = rows() | {"split": ["train"] * 12 + ["valid"] * 6 + ["test"] * 6}
    data["speaker"] = [f"s{i // 2}" for i in range(24)]
    corpus = load(written(tmp_path / "train-00000-of-00001.parquet", data))
    assert corpus.utterances["partition"].value_counts().to_dict() == {"train": 12, "dev": 6, "test": 6}
    unusual = rows() | {"split": ["a", "b"] * 12}
    guessed = load(written(tmp_path / "other.parquet", unusual))
    assert guessed.utterances["partition"].isna().all()
    assert set(guessed.utterances["split"]) == {"a", "b"}
    with pytest.raises(SerbenchError, match=r"row 1 \(other.parquet\) .*unknown partition 'a'"):
        hf.load(tmp_path / "other.parquet", split="split")


def test_files_that_are_called_otherwise_and_those_that_are_asked_for(tmp_path: Path) -> None:
    parted(tmp_path / "set", "data/cafe-00000-of-00001.parquet", "data/nemo-00000-of-00001.parquet")
    corpus = load(tmp_path / "set")
    assert corpus.utterances["part"].value_counts().to_dict() == {"cafe": 12, "nemo": 12}
    assert len(load(tmp_path / "set", files="data/cafe-*").utterances) == 12
    with pytest.raises(SerbenchError, match=r"looked for files like 'cafe-\*'.*found data/cafe-00000-of-00001.parquet"):
        hf.load(tmp_path / "set", files="cafe-*")


def test_words_of_the_hub_are_ours() -> None:
    """Those that the `datasets` library looks for in names, and no other."""
    words = {
        "train": {"train", "training"},
        "dev": {"validation", "valid", "dev", "val"},
        "test": {"test", "testing", "eval", "evaluation"},
    }
    assert {part: {word for word, p in SPLITS.items() if p == part} for part in words} == words
    shard = Shard(Path("x"), "data/attest-00000-of-00001.parquet", pa.schema([]))
    assert (shard.part, shard.partition) == ("attest", None)


def test_the_folder_of_the_hubs_cache_is_named_for_the_repository(tmp_path: Path) -> None:
    """There the files are links to blobs."""
    blob = written(tmp_path / "datasets--me--mine/blobs/abc", rows())
    snapshot = tmp_path / "datasets--me--mine/snapshots/0123456789abcdef"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data/train-00000-of-00001.parquet").symlink_to(blob)
    assert load(snapshot).release == "me/mine@01234567"


# ---- sound, once ----------------------------------------------------------------------------------------------------


def test_sound_is_written_once_and_named_by_its_content(tmp_path: Path) -> None:
    root = written(tmp_path / "mine.parquet", rows())
    first = load(root)
    times = {path: path.stat().st_mtime_ns for path in first.root.iterdir()}
    assert sum(path.suffix == ".wav" for path in times) == 24
    again = load(root)
    assert {path: path.stat().st_mtime_ns for path in again.root.iterdir()} == times
    assert again.digest() == first.digest()


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    root = written(tmp_path / "mine.parquet", rows())
    before = load(root).audio_path("clip00").read_bytes()
    changed = rows()
    changed["audio"][0] = {"bytes": sound(99), "path": "clip00.wav"}
    state = root.stat()
    written(root, changed)
    os.utime(root, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert load(root).audio_path("clip00").read_bytes() == sound(99) != before


def test_sound_that_was_deleted_from_the_cache_is_written_again(tmp_path: Path) -> None:
    root = written(tmp_path / "mine.parquet", rows())
    path = load(root).audio_path("clip07")
    path.unlink()
    assert load(root).audio_path("clip07").read_bytes() == sound(7)
    shutil.rmtree(path.parent)
    assert load(root).audio_path("clip07").is_file()


def test_a_damaged_index_in_the_cache_is_made_again(tmp_path: Path) -> None:
    first = load(written(tmp_path / "a.parquet", rows(6)))
    (index,) = first.root.glob("index-*.json")
    whole = index.read_bytes()
    renamed = whole.replace(b"clip03", b"clip13")
    assert renamed != whole
    for damaged in (renamed, whole[:-20], b"", b'[["a.wav", "b.wav"]]'):
        index.write_bytes(damaged)
        assert load(tmp_path / "a.parquet").digest() == first.digest()
        assert index.read_bytes() == whole


def test_the_same_sound_twice_is_one_file_and_two_utterances(tmp_path: Path) -> None:
    data = rows()
    data["audio"][1] = {"bytes": sound(0), "path": "clip01.wav"}
    corpus = load(written(tmp_path / "mine.parquet", data))
    assert corpus.audio_path("clip00") == corpus.audio_path("clip01")
    assert set(doctor.check(corpus)["kind"]) == {"duplicate"}


def test_the_ending_follows_from_the_content(tmp_path: Path) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(4000, np.float32) + 0.01, 16000, format="FLAC")
    data = rows()
    data["audio"][0] = {"bytes": stream.getvalue(), "path": "clip00.wav"}
    data["audio"][1] = {"bytes": sound(1), "path": None}
    corpus = load(written(tmp_path / "mine.parquet", data))
    assert corpus.audio_path("mine-0").suffix == ".flac"
    assert corpus.audio_path("mine-1").suffix == ".wav"


def test_rows_without_sound_are_left_out_and_counted(tmp_path: Path) -> None:
    data = rows()
    data["audio"][2], data["audio"][3] = None, {"bytes": None, "path": "clip03.wav"}
    corpus = load(written(tmp_path / "mine.parquet", data))
    assert len(corpus.utterances) == 22
    assert "2 rows have no sound in 'audio' and were left out" in corpus.notes


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_names_of_files_are_no_sound(tmp_path: Path) -> None:
    data = rows() | {"audio": [{"bytes": None, "path": f"clip{i}.wav"} for i in range(24)]}
    with pytest.raises(SerbenchError, match=r"holds names of files, not sound. Type --dataset table .*audio=FOLDER"):
        hf.load(written(tmp_path / "a.parquet", data))
    texts = rows() | {"audio": [f"clip{i}.wav" for i in range(24)]}
    with pytest.raises(SerbenchError, match=r"the column 'audio' of .* holds no files.*it is string"):
        hf.load(written(tmp_path / "b.parquet", texts, {}, audio=pa.string()))


def test_a_table_without_sound(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": ["a", "b"]}), tmp_path / "mine.parquet")
    with pytest.raises(SerbenchError, match=r"has no column of sound.*it has: label \(string\)"):
        hf.load(tmp_path / "mine.parquet")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"unknown column of .*'emotoin'.*There are: label, speaker"):
        hf.load(written(tmp_path / "mine.parquet", rows()), label="emotoin")


def test_folders_of_several_data_sets(tmp_path: Path) -> None:
    parted(tmp_path / "set", "en/train-00000-of-00001.parquet", "de/train-00000-of-00001.parquet")
    with pytest.raises(SerbenchError, match=r"holds several data sets: de, en.*files='de/\*'"):
        hf.load(tmp_path / "set")
    assert len(load(tmp_path / "set", files="en/*").utterances) == 12


def test_files_that_are_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"found no parquet file"):
        hf.load(tmp_path)
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(SerbenchError, match="It is a git-lfs pointer: type git lfs pull"):
        hf.load(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(SerbenchError, match=r"can't be read as parquet: .* Download it again"):
        hf.load(tmp_path)
    with pytest.raises(SerbenchError, match="Type --root FOLDER"):
        hf.load(None)


def test_a_file_without_the_column_of_the_others(tmp_path: Path) -> None:
    parted(tmp_path / "set", "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"label": ["a"]}), tmp_path / "set/train-00001-of-00002.parquet")
    with pytest.raises(SerbenchError, match=r"train-00001-of-00002.parquet has no column 'audio'"):
        hf.load(tmp_path / "set")


def test_a_cache_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(SerbenchError, match=r"can't be written to .* Set SERBENCH_CACHE"):
        hf.load(written(tmp_path / "mine.parquet", rows()))


@pytest.mark.parametrize("column", ["audio", "label"])
def test_a_page_that_is_damaged_is_refused_in_words(tmp_path: Path, column: str) -> None:
    file = written(tmp_path / "train-00000-of-00001.parquet", rows())
    place = pq.read_metadata(file).row_group(0)
    columns = [place.column(k) for k in range(place.num_columns)]
    start = next(c.dictionary_page_offset or c.data_page_offset for c in columns if c.path_in_schema.startswith(column))
    data = bytearray(file.read_bytes())
    data[start : start + 8] = bytes(8)
    file.write_bytes(data)
    with pytest.raises(SerbenchError, match=r"can't be read as parquet: .*\. Download it again\."):
        load(tmp_path)

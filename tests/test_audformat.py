"""The audformat importer, against databases that the library itself writes and reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.datasets import audformat as importer
from serbench.datasets._errors import SerbenchError
from serbench.datasets._load import load_corpus

library = pytest.importorskip("audformat", reason="the extra serbench[audformat] is not installed")

SPEAKERS = ("anna", "bert", "cleo", "dora", "emil", "finn")
WORDS = ("anger", "happy", "neutral", "sadness")


def _database(files: list[str], emotions: list[str]) -> Any:
    """Emotion and arousal of whole files, speakers with their gender, German transcripts."""
    db = library.Database(
        "tiny", source="https://example.org/tiny", usage=library.define.Usage.RESEARCH, languages=["deu"],
        license="CC-BY-4.0", author="A. Author",
    )  # fmt: skip
    db.schemes["emotion"] = library.Scheme(labels=sorted(set(emotions)))
    genders = {s: {"gender": "female" if i % 2 else "male", "age": 20 + i} for i, s in enumerate(SPEAKERS)}
    db.schemes["speaker"] = library.Scheme(labels=genders)
    db.schemes["transcription"] = library.Scheme("str")
    db.schemes["arousal"] = library.Scheme("float", minimum=1, maximum=7)
    index = library.filewise_index(files)
    db["files"] = library.Table(index)
    db["files"]["speaker"] = library.Column(scheme_id="speaker")
    db["files"]["speaker"].set([SPEAKERS[i % 6] for i in range(len(files))])
    db["files"]["transcription"] = library.Column(scheme_id="transcription")
    db["files"]["transcription"].set([f"Satz {i}" for i in range(len(files))])
    db["emotion"] = library.Table(index)
    db["emotion"]["emotion"] = library.Column(scheme_id="emotion")
    db["emotion"]["emotion"].set(emotions)
    db["emotion"]["arousal"] = library.Column(scheme_id="arousal")
    db["emotion"]["arousal"].set([1.0 + i % 7 for i in range(len(files))])
    return db


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Any, Path]:
    files = [f"audio/{i:03d}.wav" for i in range(24)]
    return _database(files, [WORDS[i // 6] for i in range(24)]), tmp_path / "tiny"


def _saved(db: Any, root: Path) -> Path:
    db.save(str(root), storage_format="csv")
    return root


def test_whole_files_with_everything(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    corpus = load_corpus("audformat", _saved(db, root))
    table = corpus.utterances
    assert (corpus.name, corpus.release, corpus.licence) == ("audformat", "tiny", "CC-BY-4.0")
    assert corpus.homepage == "https://example.org/tiny"
    assert table.index.tolist() == [f"audio/{i:03d}" for i in range(24)]
    again = library.Database.load(str(root)).get("emotion", ["speaker", "gender", "age", "transcription", "arousal"])
    assert table["raw_emotion"].tolist() == again["emotion"].astype(str).tolist()
    assert table["speaker"].tolist() == again["speaker"].astype(str).tolist()
    assert table["gender"].tolist() == again["gender"].astype(str).tolist()
    assert table["age"].tolist() == again["age"].tolist()
    assert table["text"].tolist() == again["transcription"].tolist()
    np.testing.assert_array_equal(table["arousal"], again["arousal"].astype(float))
    assert table["language"].eq("de").all()
    assert table[["start", "end"]].isna().all(axis=None)
    assert corpus.scales == {"arousal": (1.0, 7.0)}
    assert [t.name for t in corpus.tasks] == ["emotion", "attributes", "arousal"]
    assert corpus.task().labels == ("anger", "happiness", "neutral", "sadness")


def test_folds_are_speaker_disjoint_where_speakers_are_known(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    corpus = importer.load(_saved(db, root))
    assert list(corpus.splits) == ["speaker-disjoint"]
    tested = pd.Series(0, corpus.utterances.index)
    for fold in corpus.folds():
        role = fold.assign(corpus.utterances)
        speakers = {r: set(corpus.utterances["speaker"][role.eq(r)]) for r in ("train", "dev", "test")}
        assert all(speakers.values())
        assert not speakers["test"] & (speakers["train"] | speakers["dev"])
        tested += role.eq("test").astype(int)
    assert tested.eq(1).all()


def test_segments(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    index = library.segmented_index(["a.wav", "a.wav", "b.wav"], [0, "1.5s", "2s"], ["1.5s", "3s", pd.NaT])
    db["parts"] = library.Table(index)
    db["parts"]["emotion"] = library.Column(scheme_id="emotion")
    db["parts"]["emotion"].set(["anger", "neutral", "sadness"])
    db["who"] = library.Table(library.filewise_index(["a.wav", "b.wav"]))
    db["who"]["speaker"] = library.Column(scheme_id="speaker")
    db["who"]["speaker"].set(["anna", "bert"])
    table = importer.load(_saved(db, root), tables="parts").utterances
    assert table.index.tolist() == ["a#0.000-1.500", "a#1.500-3.000", "b#2.000-"]
    assert table["start"].tolist() == [0.0, 1.5, 2.0]
    assert table["end"].iloc[:2].tolist() == [1.5, 3.0]
    assert pd.isna(table["end"].iloc[2])
    assert table["path"].tolist() == ["a.wav", "a.wav", "b.wav"]
    assert table["speaker"].tolist() == ["anna", "anna", "bert"]


def _with_splits(db: Any, kinds: dict[str, slice]) -> None:
    files = db["emotion"].files
    emotions = db["emotion"]["emotion"].get()
    db.drop_tables("emotion")
    for kind, part in kinds.items():
        db.splits[kind] = library.Split(kind)
        db[f"emotion.{kind}"] = library.Table(library.filewise_index(files[part]), split_id=kind)
        db[f"emotion.{kind}"]["emotion"] = library.Column(scheme_id="emotion")
        db[f"emotion.{kind}"]["emotion"].set(emotions.iloc[part].tolist())


def test_splits_of_tables_are_the_partitions(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    _with_splits(db, {"train": slice(0, 24, 2), "dev": slice(1, 24, 4), "test": slice(3, 24, 4)})
    corpus = importer.load(_saved(db, root))
    assert list(corpus.splits) == ["official"]
    role = corpus.folds()[0].assign(corpus.utterances)
    assert role.value_counts().to_dict() == {"train": 12, "dev": 6, "test": 6}
    assert role["audio/001"] == "dev"
    assert role["audio/003"] == "test"


def test_missing_dev_part_is_cut_from_train(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    _with_splits(db, {"train": slice(0, 18), "test": slice(18, 24)})
    corpus = importer.load(_saved(db, root))
    role = corpus.folds()[0].assign(corpus.utterances)
    counts = role.value_counts().to_dict()
    assert counts["test"] == 6
    assert counts["dev"] + counts["train"] == 18
    assert 2 <= counts["dev"] <= 6
    assert any("a fifth of train" in note for note in corpus.notes)


def test_file_in_two_splits(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    _with_splits(db, {"train": slice(0, 18), "test": slice(17, 24)})
    with pytest.raises(SerbenchError, match=r"'audio/017\.wav' is in the split 'train'.* and in 'test' by another"):
        importer.load(_saved(db, root))


def test_unknown_words_are_told_and_can_be_mapped(tmp_path: Path) -> None:
    emotions = [("anger", "glee", "neutral", "cross")[i % 4] for i in range(12)]
    root = _saved(_database([f"{i}.wav" for i in range(12)], emotions), tmp_path / "db")
    corpus = importer.load(root)
    assert any("cross (3), glee (3)" in note or "glee (3), cross (3)" in note for note in corpus.notes)
    assert [t.name for t in corpus.tasks][:2] == ["label", "emotion"]
    assert corpus.task().labels == ("anger", "cross", "glee", "neutral")
    mapped = importer.load(root, mapping="glee=happiness, Cross=anger")
    assert mapped.task().name == "emotion"
    assert mapped.utterances["emotion"].value_counts().to_dict() == {"anger": 6, "happiness": 3, "neutral": 3}


def test_other_scheme_names(tmp_path: Path) -> None:
    db = _database([f"{i}.wav" for i in range(8)], ["anger", "neutral"] * 4)
    db.schemes["feeling"] = library.Scheme(labels=["sad", "joy"])
    db["feelings"] = library.Table(db["emotion"].index)
    db["feelings"]["feeling"] = library.Column(scheme_id="feeling")
    db["feelings"]["feeling"].set(["sad", "joy"] * 4)
    root = _saved(db, tmp_path / "db")
    assert importer.load(root, emotion="feeling").task().labels == ("happiness", "sadness")
    with pytest.raises(SerbenchError, match=r"unknown table of the database 'feeling'\. Did you mean 'feelings'"):
        importer.load(root, tables="feeling")


def test_attribute_without_a_scale(tmp_path: Path) -> None:
    db = _database([f"{i}.wav" for i in range(8)], ["anger", "neutral"] * 4)
    db.schemes["valence"] = library.Scheme("float")
    db["emotion"]["valence"] = library.Column(scheme_id="valence")
    db["emotion"]["valence"].set([0.25 * i for i in range(8)])
    root = _saved(db, tmp_path / "db")
    corpus = importer.load(root)
    assert list(corpus.scales) == ["arousal"]
    assert any("valence has no scale" in note for note in corpus.notes)
    assert importer.load(root, scale="0..2").scales == {"arousal": (1.0, 7.0), "valence": (0.0, 2.0)}


def test_loads_without_audio_and_names_stay_apart(tmp_path: Path) -> None:
    files = ["a.wav", "a.flac", "b.wav", "c.wav"]
    corpus = importer.load(_saved(_database(files, ["anger", "neutral"] * 2), tmp_path / "db"))
    assert corpus.utterances.index.tolist() == files
    assert not corpus.source_path("a.wav").exists()


def test_database_one_folder_below(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    _saved(db, root)
    assert importer.load(root.parent).digest() == importer.load(root).digest()


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_missing_library_names_the_extra(tiny: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    db, root = tiny
    _saved(db, root)
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(SerbenchError, match=r"pip install 'serbench\[audformat\]'"):
        importer.load(root)


def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    with pytest.raises(SerbenchError, match=r"looked for db\.yaml.*found wav/"):
        importer.load(tmp_path)
    with pytest.raises(SerbenchError, match="needs --root"):
        importer.load(None)


def test_archive_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "emodb-2.0.zip").write_bytes(b"")
    with pytest.raises(SerbenchError, match=r"Unpack emodb-2\.0\.zip"):
        importer.load(tmp_path)


def test_half_copied_database(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    _saved(db, root)
    (root / "db.emotion.csv").unlink()
    with pytest.raises(SerbenchError, match=r"can't be read as an audformat database.*is the copy complete"):
        importer.load(root)


def test_damaged_header(tmp_path: Path) -> None:
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(SerbenchError, match="can't be read as an audformat database"):
        importer.load(tmp_path)


def test_number_that_is_none(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    path = _saved(db, root) / "db.emotion.csv"
    path.write_text(path.read_text().replace(",1.0\n", ",high\n", 1))
    with pytest.raises(SerbenchError, match="can't be read as an audformat database"):
        importer.load(root)


def test_paths_that_leave_the_root(tmp_path: Path) -> None:
    root = _saved(_database(["../secret.wav", "a.wav"], ["anger", "neutral"]), tmp_path / "db")
    with pytest.raises(SerbenchError, match=r"'\.\./secret\.wav' in the tables of .* leaves the corpus root"):
        importer.load(root)


def test_tables_that_disagree(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    db["second"] = library.Table(library.filewise_index(["audio/000.wav"]))
    db["second"]["emotion"] = library.Column(scheme_id="emotion")
    db["second"]["emotion"].set(["sadness"])
    _saved(db, root)
    with pytest.raises(SerbenchError, match=r"disagree about emotion.*emotion, second with --option tables="):
        importer.load(root)
    assert len(importer.load(root, tables="emotion").utterances) == 24


def test_no_labels_at_all(tiny: tuple[Any, Path]) -> None:
    db, root = tiny
    db.drop_tables("emotion")
    with pytest.raises(SerbenchError, match=r"looked for the scheme emotion.*The database has: .*speaker"):
        importer.load(_saved(db, root))


def test_one_class_is_no_task(tmp_path: Path) -> None:
    db = _database(["a.wav", "b.wav", "c.wav"], ["anger"] * 3)
    db["emotion"].drop_columns("arousal", inplace=True)
    with pytest.raises(SerbenchError, match="no task can be made"):
        importer.load(_saved(db, tmp_path / "db"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mapping": "glee"}, "mapping='glee' can't be used. Expected WORD=EMOTION"),
        ({"mapping": "glee=gladness"}, "Expected WORD=EMOTION"),
        ({"scale": "7..1"}, "Expected LOW..HIGH"),
        ({"scale": "wide"}, "Expected LOW..HIGH"),
    ],
)
def test_bad_options(tiny: tuple[Any, Path], options: dict[str, str], message: str) -> None:
    db, root = tiny
    with pytest.raises(SerbenchError, match=message):
        importer.load(_saved(db, root), **options)

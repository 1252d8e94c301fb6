"""A user's own table: what is read, what tasks, scales and splits are made of it, and what each bad input says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.datasets import registry
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import Corpus
from serbench.datasets.schema.grouping import components, make_groups
from serbench.datasets.table import reader as table

EMOTIONS = ("happy", "Angry", "SAD", "neutral")


def rows(n: int = 24, **columns: object) -> pd.DataFrame:
    """n rows with paths, four labels and six speakers; a column given as None is left out."""
    base = {
        "path": [f"audio/{i:02d}.wav" for i in range(n)],
        "label": [EMOTIONS[i % 4] for i in range(n)],
        "speaker": [f"s{i % 6}" for i in range(n)],
    }
    return pd.DataFrame({k: v for k, v in {**base, **columns}.items() if v is not None})


def load(folder: Path, data: pd.DataFrame | str | bytes, name: str = "mine.csv", *, warned: bool = False) -> Corpus:
    file = folder / name
    if isinstance(data, pd.DataFrame):
        data.to_csv(file, index=False)
    else:
        file.write_bytes(data.encode() if isinstance(data, str) else data)
    if warned:
        with pytest.warns(UserWarning, match="leak risk|both in training and test"):
            return table.load(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return table.load(file)


def roles(corpus: Corpus, split: str | None = None) -> list[dict[str, set[str]]]:
    """Ids by role of every fold."""
    found = []
    for fold in corpus.folds(split):
        role = fold.assign(corpus.utterances)
        found.append({r: set(role.index[role.eq(r).fillna(False)]) for r in ("train", "dev", "test")})
    return found


# --- what is read


def test_path_and_label_are_enough(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(speaker=None), warned=True)
    assert registry.load("table").__name__ == "serbench.datasets.table.reader"
    assert (corpus.name, corpus.release, corpus.root) == ("table", "mine", tmp_path)
    assert corpus.utterances.index[0] == corpus.utterances["path"].iloc[0] == "audio/00.wav"
    task = corpus.task()
    assert (task.name, task.labels) == ("emotion", ("anger", "happiness", "neutral", "sadness"))
    assert corpus.utterances["raw_emotion"].tolist()[:3] == ["happy", "Angry", "SAD"]
    assert task.encode(corpus.items(task)).tolist()[:4] == [1, 0, 3, 2]
    assert any("leak risk" in note for note in corpus.notes)


def test_path_and_attributes_are_enough(tmp_path: Path) -> None:
    data = pd.DataFrame({"path": ["a.wav", "b.wav", "c.wav"], "arousal": [1.5, 4, 5], "valence": ["-0.5", "", "1"]})
    corpus = load(tmp_path, data, warned=True)
    assert [t.name for t in corpus.tasks] == ["attributes", "arousal", "valence"]
    assert corpus.scales == {"arousal": (1.0, 5.0), "valence": (-1.0, 1.0)}
    assert corpus.task("arousal").scales == {"arousal": (1.0, 5.0)}
    assert len(corpus.items(corpus.task("arousal"))) == 3
    assert len(corpus.items(corpus.task("valence"))) == len(corpus.items(corpus.task("attributes"))) == 2
    assert any("arousal: scale 1..5 is the tightest known scale" in note for note in corpus.notes)


def test_one_attribute_makes_one_task(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(label=None, dominance=range(24), valence=3))
    assert [t.name for t in corpus.tasks] == ["dominance"]
    assert "every value of valence is the same, so it has no task" in corpus.notes


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0, 1], (0, 1)),
        ([-0.2, 1], (-1, 1)),
        ([1, 5], (1, 5)),
        ([1, 5.5], (1, 7)),
        ([1, 9], (1, 9)),
        ([0, 5], (0, 10)),
        ([0, 60], (0, 100)),
        ([-3, 4], (-3, 4)),
    ],
)
def test_the_tightest_known_scale_that_holds_all_values(
    tmp_path: Path, values: list[float], scale: tuple[float, float]
) -> None:
    corpus = load(tmp_path, rows(arousal=[*values, *values[:1] * 22]))
    assert corpus.scales["arousal"] == scale


def test_a_stated_scale_wins_even_over_values_outside(tmp_path: Path) -> None:
    data = rows(arousal=np.linspace(1, 8, 24), valence=np.linspace(2, 3, 24), scale="1..7", valence_scale="-5 .. +5.5")
    corpus = load(tmp_path, data)
    assert corpus.scales == {"arousal": (1.0, 7.0), "valence": (-5.0, 5.5)}
    assert not any("scale" in note for note in corpus.notes)
    assert not {"scale", "valence_scale"} & set(corpus.utterances)


def test_other_labels_are_classes_of_their_own(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(label=["yes", "no", "42"] * 8))
    assert [t.name for t in corpus.tasks] == ["label"]
    assert corpus.task().labels == ("42", "no", "yes")
    assert corpus.utterances["emotion"].isna().all()
    assert len(corpus.items(corpus.task())) == 24


def test_mixed_labels_give_both_tasks(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(label=["happy", "joy", "angry", "xxx"] * 6))
    assert [(t.name, t.labels) for t in corpus.tasks] == [
        ("label", ("angry", "happy", "joy", "xxx")),
        ("emotion", ("anger", "happiness")),
    ]
    assert corpus.task("emotion").dropped(corpus.utterances) == {"no label": 6}
    assert "no canonical emotion is known for the label(s) xxx" in corpus.notes
    assert "the labels happy, joy are all taken as happiness" in corpus.notes


def test_raw_and_canonical_columns(tmp_path: Path) -> None:
    data = rows(label=None, raw_emotion=["W", "F"] * 12, emotion=["anger", "Happiness"] * 12)
    corpus = load(tmp_path, data)
    assert corpus.task("emotion").labels == ("anger", "happiness")
    assert set(corpus.utterances["raw_emotion"]) == {"W", "F"}
    with pytest.raises(SerbenchError, match=r"line 3 of .*unknown emotion 'furious'"):
        load(tmp_path, data.assign(emotion=["anger", "furious"] * 12))


def test_all_columns_of_the_corpus_table_are_taken(tmp_path: Path) -> None:
    data = rows(
        8,
        id=[f"u{i}" for i in range(8)],
        Gender=["F", "male"] * 4,
        language="de",
        dialogue=["d1"] * 4 + ["d2"] * 4,
        turn=[0, 1, 2, 3] * 2,
        text="Guten Tag, Frau Müller",
        start=[0, 1, 2, 3] * 2,
        end=[1, 2, 3, 4] * 2,
        speaker=["A", "B", "A", "B", "C", "D", "C", "D"],
        session=["1"] * 4 + ["2"] * 4,
        mood="calm",
    )
    corpus = load(tmp_path, data)
    assert list(corpus.splits) == ["speaker-disjoint"]
    assert corpus.shared == ("dialogue", "session")  # two dialogues are too few for three folds
    got = corpus.utterances
    assert got.index.tolist() == [f"u{i}" for i in range(8)]
    assert got["gender"].tolist()[:2] == ["female", "male"]
    assert got.loc["u1", "text"] == "Guten Tag, Frau Müller"
    assert got.loc["u2", ["start", "end", "turn"]].tolist() == [2.0, 3.0, 2.0]
    assert got["mood"].eq("calm").all()
    assert got["previous"].fillna("-").tolist() == ["-", "-", "u0", "u1", "-", "-", "u4", "u5"]
    assert got["interlocutor"].fillna("-").tolist() == ["-", "u0", "u1", "u2", "-", "u4", "u5", "u6"]


def test_segments_get_ids_of_their_own(tmp_path: Path) -> None:
    data = rows(3, path=["x.wav"] * 3, start=[0, 1.25, 2], end=[1.25, 2, ""], label=["a", "b", "a"])
    corpus = load(tmp_path, data)
    assert corpus.utterances.index.tolist() == ["x.wav#0-1.25", "x.wav#1.25-2", "x.wav#2-"]
    assert corpus.audio_path("x.wav#2-") == tmp_path / "x.wav"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_line_ends_marks_and_blank_lines(tmp_path: Path, separator: str) -> None:
    lines = [["PATH ", "Label", "speaker", "text"]]
    lines += [[f"{i}.wav", EMOTIONS[i % 4], f"s{i}", f'"a{separator} ""b"""'] for i in range(8)]
    text = "\r\n".join(separator.join(cells) for cells in lines) + "\r\n\r\n"
    corpus = load(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert len(corpus.utterances) == 8
    assert corpus.utterances["text"].eq(f'a{separator} "b"').all()


def test_csv_tsv_and_parquet_are_the_same_corpus(tmp_path: Path) -> None:
    data = rows(arousal=np.linspace(1, 5, 24), speaker=[float(i % 6) if i else np.nan for i in range(24)])
    data["label"] = data["label"].astype("category")
    data.to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    data.to_parquet(tmp_path / "c.parquet")
    with pytest.warns(UserWarning, match="1 of 24 utterances have no speaker"):
        written, packed = table.load(tmp_path / "c.tsv"), table.load(tmp_path / "c.parquet")
    assert packed.utterances["speaker"].iloc[1] == "1"
    both = [c.utterances.drop(columns=["speaker", "fold_group"]) for c in (written, packed)]
    pd.testing.assert_frame_equal(*both)
    indexed = data.assign(label=data["label"].astype(str), speaker="x").set_index("path")
    indexed.to_parquet(tmp_path / "c.parquet")
    with pytest.warns(UserWarning, match="too few"):
        assert len(table.load(tmp_path / "c.parquet").utterances) == 24


def test_a_folder_with_one_table(tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "labels.CSV", index=False)
    (tmp_path / "._labels.csv").write_bytes(b"\x00")
    (tmp_path / "notes.txt").write_text("hello")
    assert table.load(tmp_path).root == tmp_path
    assert table.load(tmp_path, "v2").release == "v2"
    rows().to_csv(tmp_path / "more.csv", index=False)
    with pytest.raises(SerbenchError, match=r"expected one table.*found labels\.CSV, more\.csv"):
        table.load(tmp_path)


def test_the_corpus_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    data = rows()
    first = load(tmp_path, data).digest()
    assert load(tmp_path, data.sample(frac=1, random_state=3)).digest() == first
    assert load(tmp_path, data.assign(label=data["label"].iloc[::-1].tolist())).digest() != first


# --- splits


def test_made_folds_are_speaker_disjoint_and_test_every_row_once(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(60, speaker=[f"s{i % 11}" for i in range(60)]))
    assert list(corpus.splits) == ["speaker-disjoint"]
    folds = roles(corpus)
    assert len(folds) == 5
    assert sorted(i for fold in folds for i in fold["test"]) == sorted(corpus.utterances.index)
    for fold in folds:
        who = {role: set(corpus.utterances.loc[sorted(ids), "speaker"]) for role, ids in fold.items()}
        assert all(not who[a] & who[b] for a, b in combinations(who, 2))
        assert all(fold.values())


def test_dialogues_and_files_stay_whole_without_speakers(tmp_path: Path) -> None:
    data = rows(40, speaker=None, path=[f"{i // 4}.wav" for i in range(40)], start=range(40), end=range(1, 41))
    data["dialogue"] = ["d" + str(i // 8) for i in range(40)]
    corpus = load(tmp_path, data, warned=True)
    assert list(corpus.splits) == ["random"]
    assert corpus.utterances.groupby("dialogue")["fold_group"].nunique().eq(1).all()
    assert corpus.shared == ()


def test_few_speakers_give_random_folds_that_say_so(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(speaker=["a", "b"] * 12), warned=True)
    assert list(corpus.splits) == ["random"]
    assert corpus.shared == ("speaker",)


def test_speakers_that_meet_everywhere_are_split_by_speaker_alone(tmp_path: Path) -> None:
    pairs = list(combinations("ABCDE", 2))
    data = rows(20, speaker=[s for p in pairs for s in p], dialogue=[f"d{i // 2}" for i in range(20)], turn=[0, 1] * 10)
    corpus = load(tmp_path, data)
    assert list(corpus.splits) == ["speaker-disjoint"]
    assert corpus.shared == ("dialogue",)
    assert "the folds that were made share values of 'dialogue'" in corpus.notes


def test_official_partitions_in_all_spellings(tmp_path: Path) -> None:
    words = ["Training", "train", "DEVEL", "Validation", "val", "test", "unlabeled", "dev"]
    corpus = load(tmp_path, rows(8, speaker=[f"s{i}" for i in range(8)], partition=words))
    assert corpus.utterances["partition"].tolist() == [
        "train",
        "train",
        "dev",
        "dev",
        "dev",
        "test",
        "unlabelled",
        "dev",
    ]
    ids = corpus.utterances.index
    assert roles(corpus, "official") == [{"train": {*ids[:2]}, "dev": {*ids[2:5], ids[7]}, "test": {ids[5]}}]
    assert len(corpus.unlabelled()) == 1
    assert "fold_group" not in corpus.utterances


def test_dev_is_cut_from_train_by_speakers(tmp_path: Path) -> None:
    data = rows(60, partition=["train"] * 50 + ["test"] * 10, speaker=[f"s{i // 5}" for i in range(60)])
    corpus = load(tmp_path, data)
    (fold,) = roles(corpus)
    assert fold["test"] == set(corpus.utterances.index[50:])
    assert fold["train"] | fold["dev"] == set(corpus.utterances.index[:50])
    assert len(fold["dev"]) == 10
    who = {role: set(corpus.utterances.loc[sorted(ids), "speaker"]) for role, ids in fold.items()}
    assert not who["train"] & who["dev"]
    assert any("dev is cut from partition 'train', by speakers of its own: 10 of 50" in note for note in corpus.notes)


def test_several_test_parts_and_a_missing_one(tmp_path: Path) -> None:
    parts = ["train", "dev", "Test1", "test_2"] * 6
    corpus = load(tmp_path, rows(partition=parts, speaker=[f"{p}{i}" for i, p in enumerate(parts)]))
    assert list(corpus.splits) == ["official", "official-test2"]
    assert roles(corpus, "official-test2")[0]["test"] == set(corpus.utterances.index[3::4])
    parts = ["train", "dev", "train", ""] * 6
    corpus = load(tmp_path, rows(partition=parts, speaker=[f"{p}{i}" for i, p in enumerate(parts)]))
    (fold,) = roles(corpus)
    assert fold["test"] == set(corpus.utterances.index[1::4])
    assert fold["train"] | fold["dev"] == set(corpus.utterances.index[::2])
    assert "there is no test partition: dev is the test set" in corpus.notes
    assert "6 rows have no partition: the official split leaves them out" in corpus.notes


def test_a_fold_column_is_rotated_and_unlabelled_rows_stay_out(tmp_path: Path) -> None:
    data = rows(30, fold=[str(i % 3 * 5) for i in range(30)], speaker=[f"s{i % 3}" for i in range(30)])
    data["partition"] = ["unlabelled" if i >= 24 else "train" for i in range(30)]
    corpus = load(tmp_path, data)
    assert list(corpus.splits) == ["fold"]
    assert [f.name for f in corpus.folds()] == ["fold-0", "fold-5", "fold-10"]
    folds = roles(corpus)
    assert all(not {*corpus.utterances.index[24:]} & fold["train"] for fold in folds)
    assert folds[0]["dev"] & {*corpus.utterances.index[:24]} == folds[1]["test"] & {*corpus.utterances.index[:24]}


def test_two_folds_take_dev_out_of_the_other_fold(tmp_path: Path) -> None:
    corpus = load(tmp_path, rows(40, fold=["a", "b"] * 20, speaker=[f"s{i % 10}" for i in range(40)]))
    for fold in roles(corpus):
        assert fold["test"] | fold["train"] | fold["dev"] == set(corpus.utterances.index)
        assert len(fold["test"]) == 20
        assert len(fold["dev"]) == 4


def test_speakers_in_training_and_test_are_warned_of(tmp_path: Path) -> None:
    parts = ["train", "dev", "test"] * 8
    corpus = load(tmp_path, rows(partition=parts, speaker=["x"] * 24), warned=True)
    assert any("'official' has 1 speaker(s) both in training and test, such as x" in note for note in corpus.notes)
    assert corpus.shared == ()  # so that the protocol refuses the leak instead of only labelling it


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=4, max_size=40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_components_are_those_of_a_graph_library(pairs: list[tuple[int, int]], seed: int) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    data = pd.DataFrame(pairs, columns=["speaker", "dialogue"]).astype("string")
    data.index = [f"u{i:02d}" for i in range(len(data))]
    first, second = data["speaker"].astype(int).to_numpy(), data["dialogue"].astype(int).to_numpy() + 10
    _, of_node = connected_components(coo_array((np.ones(len(data)), (first, second)), shape=(20, 20)), directed=False)
    expected = of_node[first]
    got = components(data, ["speaker", "dialogue"])
    for i, j in combinations(range(len(data)), 2):
        assert (got.iloc[i] == got.iloc[j]) == (expected[i] == expected[j])
    groups = make_groups(data, most=3, least=2, seed=seed)
    assert set(groups.of.index) == set(data.index)
    whole = pd.Series(groups.of.to_numpy()).groupby(expected).nunique().eq(1).all()
    assert whole or len(set(expected)) < 2


# --- bad input: each message names the file and the line or column

BAD = {
    "no path column": ("file,label\na.wav,x\n", "no column 'path'; its header is: file, label"),
    "wrong separator": ("path label\na.wav x\n", "no column 'path'"),
    "empty file": ("  \n", "is empty"),
    "no rows": ("path,label\n", "no rows"),
    "too many cells": ("path,label\na.wav,x\nb.wav,y,z\n", "line 3 .* 3 cells, the header has 2"),
    "too few cells": ("path,label\na.wav\n", "line 2 .* 1 cells"),
    "open quote": ('path,label\n"a.wav,x\n', "Check its quotes"),
    "column twice": ("path,label,LABEL\na,b,c\n", "column 'label' more than once"),
    "column without a name": ("path,,label\na,b,c\n", "column 2 of .* no name"),
    "empty path": ("path,label\n,x\n", "line 2 .*path is empty"),
    "path above": ("path,label\nok.wav,x\n../a.wav,x\n", "line 3 .*leaves the table's folder"),
    "path above inside": ("path,label\nx/../../a.wav,x\n", "leaves the table's folder"),
    "absolute path": ("path,label\n/etc/passwd,x\n", "leaves the table's folder"),
    "drive letter": ("path,label\nC:\\a.wav,x\n", "'C:/a.wav' leaves the table's folder"),
    "id twice": ("id,path,label\n1,a,x\n2,b,y\n1,c,z\n", "line 2, 4 .*the id '1' occurs more than once"),
    "path twice": ("path,label\na,x\na,y\n", "line 2, 3 .*'a' occurs more than once"),
    "segment twice": ("path,start,end,label\na,1,2,x\na,1.0,2.00,y\n", "'a#1-2' occurs more than once"),
    "empty id": ("id,path,label\n1,a,x\n,b,y\n", "line 3 .*id is empty"),
    "text for a number": ("path,arousal\na,3\nb,high\n", "line 3 .*arousal is 'high'. Expected a number or nothing"),
    "decimal comma": ("path;arousal\na;3,5\nb;4\n", "arousal is '3,5'. Expected a number with a decimal point"),
    "infinite": ("path,arousal\na,inf\nb,4\n", "arousal is 'inf'"),
    "segment backwards": ("path,start,end,label\na,2,1,x\n", "line 2 .*start 2 and end 1"),
    "segment before 0": ("path,start,label\na,-1,x\n", "0 <= start < end"),
    "unknown partition": ("path,label,partition\na,x,train\nb,y,tset\n", "line 3 .*'tset'. Did you mean 'test'"),
    "no train": ("path,label,partition\na,x,dev\nb,y,test\n", "has dev, test but no train"),
    "one fold": ("path,label,fold\na,x,1\nb,y,1\n", "1 value. Expected two or more folds"),
    "one class": ("path,label\na,x\nb,x\n", "no task can be made"),
    "nothing to predict": ("path,text\na,x\nb,x\n", "no task can be made .*It has: path, text"),
    "ratings as labels": ("path,label\na,3.25\nb,4\n", "holds numbers such as 3.25.*arousal"),
    "two raw columns": ("path,label,raw_emotion\na,x,y\n", "both 'label' and 'raw_emotion'"),
    "bad scale": ("path,arousal,scale\na,1,big\nb,2,big\n", "'scale' .* holds big. Expected one scale"),
    "two scales": ("path,arousal,scale\na,1,1..5\nb,2,1..7\n", "holds 1..5 and 1..7"),
    "backward scale": ("path,arousal,scale\na,1,5..1\nb,2,5..1\n", "holds 5..1"),
    "unknown context": ("path,label,previous\na,x,\nb,y,c\n", "line 3 .*previous is 'c'"),
    "reserved name": ("path,label,fold_group\na,x,1\n", "'fold_group'"),
    "two rows": ("path,label\na,x\nb,y\n", "2 utterances can't be divided into 3"),
    "many classes": ("path,label\n" + "".join(f"{i},c{i}\n" for i in range(101)), "101 different labels"),
    "other encoding": ("path,label\na,fröhlich\n".encode("latin-1"), "line 2 .*not UTF-8 .*0xf6"),
    "utf-16": ("path,label\na,b\n".encode("utf-16"), "UTF-16"),
    "parquet called csv": (b"PAR1....", "Rename it to end in .parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_say_what_is_wrong_and_where(tmp_path: Path, case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(SerbenchError, match=message) as caught:
        load(tmp_path, data)
    assert "mine.csv" in str(caught.value) or case == "two rows"


def test_bad_roots(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="--root FILE"):
        table.load(None)
    with pytest.raises(SerbenchError, match="does not exist"):
        table.load(tmp_path / "nothing.csv")
    with pytest.raises(SerbenchError, match="found no files"):
        table.load(tmp_path)
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(SerbenchError, match="save a spreadsheet as CSV"):
        table.load(tmp_path / "x.xlsx")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(SerbenchError, match="can't be read as parquet"):
        table.load(tmp_path / "x.parquet")


def test_unknown_genders_and_missing_values_are_counted(tmp_path: Path) -> None:
    data = rows(gender=["f", "M", "divers", ""] * 6, arousal=["1", "NA", "nan", "3"] * 6)
    data.loc[0, "label"] = None
    corpus = load(tmp_path, data)
    assert corpus.utterances["gender"].isna().sum() == 12
    assert corpus.utterances["arousal"].isna().sum() == 12
    assert "gender 'divers' is taken as unknown (6 rows)" in corpus.notes
    assert "1 rows have no label" in corpus.notes


# --- sound in another folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[Path, Path]:
    """A table's folder, and the folder of the sound beside it."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "sound/audio").mkdir(parents=True)
    return tmp_path / "tables", tmp_path / "sound"


def test_paths_relative_to_the_audio_folder(elsewhere: tuple[Path, Path]) -> None:
    tables, sound = elsewhere
    rows().to_csv(tables / "mine.csv", index=False)
    corpus = table.load(tables / "mine.csv", audio=sound)
    assert corpus.root == sound
    assert corpus.source_path("audio/00.wav") == sound / "audio/00.wav"
    assert corpus.digest() == load(sound, rows()).digest()


def test_absolute_paths_inside_the_audio_folder(elsewhere: tuple[Path, Path]) -> None:
    """They make the same corpus as relative ones, so it does not depend on where the sound lies."""
    tables, sound = elsewhere
    relative = rows()
    relative.assign(path=[str(sound / path) for path in relative["path"]]).to_csv(tables / "mine.csv", index=False)
    corpus = table.load(tables / "mine.csv", audio=str(sound))
    assert corpus.utterances["path"].tolist() == relative["path"].tolist()
    assert corpus.digest() == load(sound, relative).digest()


def test_absolute_paths_through_a_link(elsewhere: tuple[Path, Path]) -> None:
    tables, sound = elsewhere
    (tables / "link").symlink_to(sound)
    relative = rows()
    relative.assign(path=[str(sound / path) for path in relative["path"]]).to_csv(tables / "mine.csv", index=False)
    assert table.load(tables / "mine.csv", audio=tables / "link").utterances["path"].iloc[0] == "audio/00.wav"


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.wav", "x/../../a.wav", "C:/a.wav"])
def test_paths_outside_the_audio_folder_are_refused(elsewhere: tuple[Path, Path], path: str) -> None:
    tables, sound = elsewhere
    (tables / "mine.csv").write_text(f"path,label\nok.wav,x\n{path},x\n")
    with pytest.raises(SerbenchError, match=r"line 3 .*leaves the folder of --option audio=FOLDER"):
        table.load(tables / "mine.csv", audio=sound)


def test_an_absolute_path_that_climbs_out_again_is_refused(elsewhere: tuple[Path, Path]) -> None:
    tables, sound = elsewhere
    (tables / "mine.csv").write_text(f"path,label\n{sound}/../secret.wav,x\n")
    with pytest.raises(SerbenchError, match="leaves the folder of --option"):
        table.load(tables / "mine.csv", audio=sound)


def test_the_refusal_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"leaves the table's folder.*type --option audio=FOLDER"):
        load(tmp_path, "path,label\n/data/a.wav,x\n")


def test_an_audio_folder_that_is_not_there(tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(SerbenchError, match=r"audio='/nowhere' is not a folder. Type --option audio=FOLDER"):
        table.load(tmp_path / "mine.csv", audio="/nowhere")


def test_the_command_line_takes_the_audio_folder(toy_corpus: Callable[..., Path], tmp_path: Path) -> None:
    labels = toy_corpus(count=12)
    data = pd.read_csv(labels).assign(path=lambda t: [str(labels.parent / p) for p in t["path"]])
    data.to_csv(tmp_path / "absolute.csv", index=False)
    words = ["check", "table", "--root", str(tmp_path / "absolute.csv")]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, SerbenchError)
    taken = CliRunner().invoke(app, [*words, "--option", f"audio={labels.parent}"])
    assert taken.exit_code == 0, taken.output
    assert "12 of 12 files readable" in taken.output

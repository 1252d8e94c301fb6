"""The free acted corpora alike: miniatures, folds, foreign names, doubles, archives, published counts, releases."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from serbench.benchmarks.corpora import doctor
from serbench.benchmarks.corpora.findings import counts
from serbench.benchmarks.corpora.mock import write_mock
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading import acted
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus

SIZES = {"nemo": 54, "urdu": 72, "emovo": 42, "shemo": 78, "cafe": 84, "jl-corpus": 40, "subesco": 140, "esd": 100}
NAMES = tuple(SIZES)
LISTED = ("nemo",)
"""Those whose rows come from a label file; the labels of the others are in the names of the sound files."""


@pytest.fixture(scope="module")
def roots(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {name: miniature(name, utterances=size) for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {name: miniature(name, utterances=size, traps=True) for name, size in SIZES.items()}


def copied(root: Path, folder: Path) -> Path:
    shutil.copytree(root, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_miniature_is_read_whole(roots: dict[str, Path], name: str) -> None:
    corpus = load_corpus(name, roots[name])
    assert len(corpus.utterances) == SIZES[name]
    assert corpus.name == name
    assert all(corpus.source_path(item).is_file() for item in corpus.utterances.index)
    assert corpus.utterances["gender"].isin(["female", "male"]).all()
    assert corpus.utterances["emotion"].notna().all()
    assert corpus.utterances["language"].notna().all()
    for task in corpus.tasks:
        assert set(task.select(corpus.utterances).index) <= set(corpus.utterances.index)
        assert len(corpus.items(task)) > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_split_is_speaker_disjoint_and_tests_everything_once(roots: dict[str, Path], name: str) -> None:
    corpus = load_corpus(name, roots[name])
    table = corpus.utterances
    for split in corpus.splits:
        tested = pd.Series(0, table.index)
        for fold in corpus.folds(split):
            role = fold.assign(table)
            speakers = [set(table["speaker"][role.eq(r).fillna(False)]) for r in ("train", "dev", "test")]
            assert all(speakers)
            assert len(set.union(*speakers)) == sum(map(len, speakers))
            tested += role.eq("test").fillna(False).astype(int)
        assert (tested == 1).all(), split


@pytest.mark.parametrize("name", NAMES)
def test_the_doctor_finds_nothing_but_the_counts(roots: dict[str, Path], name: str) -> None:
    corpus = load_corpus(name, roots[name])
    found = doctor.check(corpus)
    assert set(found["kind"]) == {"count"}
    assert f"utterances: {SIZES[name]} found, {corpus.expected['utterances']} published" in set(found["detail"])


@pytest.mark.parametrize("name", NAMES)
def test_traps_are_told_and_cost_no_row(roots: dict[str, Path], trapped: dict[str, Path], name: str) -> None:
    plain, odd = load_corpus(name, roots[name]), load_corpus(name, trapped[name])
    assert odd.utterances.index.equals(plain.utterances.index) or sorted(odd.utterances.index) == sorted(
        plain.utterances.index
    )
    assert odd.utterances["emotion"].sort_index().equals(plain.utterances["emotion"].sort_index())
    assert list(trapped[name].rglob("._*"))
    assert not odd.utterances["path"].str.contains("._", regex=False).any()
    foreign = "have no row in data.tsv" if name in LISTED else "are not named like"
    assert any(foreign in note for note in odd.notes)
    assert not any(foreign in note for note in plain.notes)


@pytest.mark.parametrize("name", NAMES)
def test_miniature_is_deterministic(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    write_mock(name, tmp_path / "again", utterances=SIZES[name])
    corpus, again = load_corpus(name, roots[name]), load_corpus(name, tmp_path / "again")
    assert again.digest() == corpus.digest()
    item = corpus.utterances.index[0]
    assert corpus.source_path(item).read_bytes() == again.source_path(item).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_one_folder_above_will_do(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    copied(roots[name], tmp_path / "unpacked")
    assert load_corpus(name, tmp_path).digest() == load_corpus(name, roots[name]).digest()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LISTED])
def test_a_file_that_is_gone_is_told_by_the_counts(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    root = copied(roots[name], tmp_path)
    first = load_corpus(name, root).source_path(load_corpus(name, root).utterances.index[0])
    first.unlink()
    corpus = load_corpus(name, root)
    assert len(corpus.utterances) == SIZES[name] - 1
    details = [finding.detail for finding in counts(corpus)]
    assert f"utterances: {SIZES[name] - 1} found, {corpus.expected['utterances']} published" in details


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LISTED])
def test_two_files_for_one_take(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    root = copied(roots[name], tmp_path)
    item = load_corpus(name, root).utterances.index[0]
    source = load_corpus(name, root).source_path(item)
    (root / "again").mkdir()
    shutil.copy(source, root / "again" / source.name)
    with pytest.raises(SerbenchError, match=f"two files for one id, {item}"):
        load_corpus(name, root)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SerbenchError, match=rf"{name}: looked for .*found photos/.*--root"):
        load_corpus(name, tmp_path)
    with pytest.raises(SerbenchError, match="needs the folder"):
        load_corpus(name)


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("nemo", "nEMO-main.zip"),
        ("urdu", "URDU-Dataset-master.zip"),
        ("emovo", "EMOVO.zip"),
        ("shemo", "female.zip"),
        ("cafe", "CaFE_48k.zip"),
        ("jl-corpus", "jl-corpus.zip"),
        ("subesco", "SUBESCO.zip"),
        ("esd", "Emotional Speech Dataset (ESD).zip"),
    ],
)
def test_archive_not_unpacked(tmp_path: Path, name: str, archive: str) -> None:
    (tmp_path / archive).write_bytes(b"")
    with pytest.raises(SerbenchError) as found:
        load_corpus(name, tmp_path)
    assert f"Unpack {archive}" in str(found.value)


@pytest.mark.parametrize("name", NAMES)
def test_release_is_refused(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(SerbenchError, match="one release"):
        load_corpus(name, roots[name], "2")
    with pytest.raises(SerbenchError, match="one release"):
        write_mock(name, tmp_path / "new", release="2")


def test_folders_are_looked_for_to_a_depth(tmp_path: Path) -> None:
    deep = tmp_path / "a/b/c/d/e"
    deep.mkdir(parents=True)
    (tmp_path / "a/.hidden").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in acted.folders(tmp_path)]
    assert found == [".", "a", "a/b", "a/b/c", "a/b/c/d"]


def test_balanced_folds_are_balanced_by_label() -> None:
    """Of few speakers who have one label each, every fold gets one of each label."""
    speakers = [f"{label}{i}" for label in "xyz" for i in range(3)]
    counts_of = {speaker: 10 + 7 * i for i, speaker in enumerate(speakers)}
    rows = [(speaker, speaker[0]) for speaker in speakers for _ in range(counts_of[speaker])]
    table = pd.DataFrame(rows, columns=["speaker", "label"])
    folds = acted.balanced_folds(table["speaker"], table["label"], 3)
    assert sorted(folds) == sorted(speakers)
    held = {fold: sorted(s[0] for s in speakers if folds[s] == fold) for fold in "123"}
    assert all(labels == ["x", "y", "z"] for labels in held.values())


def test_balanced_folds_do_not_depend_on_the_order_of_the_rows(silent_corpus: Callable[..., Corpus]) -> None:
    table = silent_corpus("any", 200, folds=9).utterances
    shuffled = table.sample(frac=1, random_state=3)
    given = acted.balanced_folds(table["speaker"], table["emotion"], 4)
    assert acted.balanced_folds(shuffled["speaker"], shuffled["emotion"], 4) == given
    assert set(given.values()) == set("1234")

"""Miniature copies of every corpus: written, read, described as declared, and run from one end to the other."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from serbench.benchmarks.conformance import datasets as checks
from serbench.benchmarks.corpora.mock import write_mock
from serbench.benchmarks.grid import grid
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.datasets import miniatures, registry
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus

SIZES = {
    "cafe": None,
    "crema-d": 144,
    "emovo": None,
    "esd": None,
    "iemocap": 100,
    "jl-corpus": None,
    "meld": 80,
    "msp-improv": None,
    "msp-podcast": None,
    "nemo": None,
    "ravdess": 192,
    "savee": 84,
    "sewa": None,
    "shemo": None,
    "subesco": None,
    "tess": None,
    "urdu": None,
}
NO_TASKS = {"table", "audformat", "hf"}
"""Their tasks follow from the user's own columns."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory):
    @cache
    def root(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        write_mock(name, folder, utterances=SIZES[name])
        return folder

    return root


def opened(name: str, roots, request: pytest.FixtureRequest) -> Corpus:
    if name == "demo":
        return load_corpus("demo")
    if name == "emodb":
        return load_corpus("emodb", request.getfixturevalue("test_data") / "emodb")
    return load_corpus(name, roots(name))


def test_every_corpus_that_needs_a_licence_has_a_miniature() -> None:
    assert set(miniatures.names()) == set(SIZES)
    assert set(registry.names()) == set(SIZES) | NO_TASKS | {"demo", "emodb"}


@pytest.mark.parametrize("name", sorted({*SIZES, "demo", "emodb"}))
def test_declared_tasks_are_the_corpus_own(name: str, roots, request: pytest.FixtureRequest) -> None:
    corpus = opened(name, roots, request)
    assert not list(checks.declares_its_tasks(name, corpus))
    assert not list(checks.says_whose_it_is(name, corpus))
    assert name == "demo" or corpus.homepage.startswith("http")


@pytest.mark.parametrize("name", sorted(NO_TASKS))
def test_a_users_own_corpus_declares_no_tasks(name: str) -> None:
    assert registry.declared(name, "TASK_NAMES") == []


@pytest.mark.parametrize("name", sorted(SIZES))
def test_every_miniature_can_be_split_and_guarded(name: str, roots, tmp_path: Path) -> None:
    (run,) = grid.run("chance", name, root=roots(name), results=tmp_path, trials=1, protocol=Protocol(subsets=2))
    assert {unit["status"] for unit in run.units()} == {"done"}
    assert not [label for label in run.spec["labels"] if label.startswith("leak:")]


@pytest.mark.parametrize("name", sorted(SIZES))
def test_every_miniature_has_a_card_for_each_task(name: str, roots) -> None:
    assert not list(checks.the_card_can_be_written(name, load_corpus(name, roots(name))))


@pytest.mark.parametrize("name", sorted(SIZES))
def test_every_miniature_keeps_the_contract_of_datasets(name: str, roots) -> None:
    corpus = load_corpus(name, roots(name))
    assert [problem for check in checks.OF_A_CORPUS for problem in check(name, corpus)] == []
    assert not list(checks.offers_what_a_dataset_needs(name))
    assert not list(checks.refuses_a_folder_that_is_not_its_own(name))


@pytest.mark.parametrize("name", sorted(SIZES))
def test_the_page_of_corpora_names_splits_and_licence(name: str, roots, checkout: Path) -> None:
    corpus = load_corpus(name, roots(name))
    page = (checkout / "docs/corpora.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    assert all(f"`{split}`" in section for split in corpus.splits)
    licence = " ".join(section.partition("**Licence:**")[2].partition("**Cite")[0].split()).lower()
    words = {word for word in re.findall(r"\w[\w.-]*\w", corpus.licence.lower()) if len(word) > 3 or word[0].isdigit()}
    assert len(words & set(re.findall(r"\w[\w.-]*\w", licence))) >= 0.6 * len(words), words


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_miniature_runs_from_one_end_to_the_other(name: str, roots, tmp_path: Path) -> None:
    task = "attributes" if name == "sewa" else None
    cheap = {"model.feature": "mel"}  # what is tried is the corpus; every file is decoded all the same
    (run,) = grid.run(
        "linear",
        name,
        root=roots(name),
        task=task,
        results=tmp_path,
        trials=1,
        threads=1,
        protocol=Protocol(subsets=2),
        settings=cheap,
    )
    assert {unit["status"] for unit in run.units()} == {"done"}
    assert not any(unit["excluded"] for unit in run.units())
    assert run.scores()["value"].notna().any()


def test_an_unknown_miniature_and_a_folder_in_use(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="Did you mean 'iemocap'"):
        write_mock("iemocapp", tmp_path / "new")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SerbenchError, match="not empty"):
        write_mock("iemocap", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_published_size_is_made_of_few_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serbench.datasets.mocks import msp_podcast as mock

    monkeypatch.setattr(mock, "PUBLISHED", {"1.6": {"Train": 120, "Validation": 40, "Test": 80}})
    monkeypatch.setattr(mock, "POOL", 200)
    monkeypatch.setattr(mock, "RECORDINGS", 3)
    monkeypatch.setattr(mock, "LONG", (0.5, 1.5))
    write_mock("msp-podcast", tmp_path / "msp", release="1.6", published=True)
    corpus = load_corpus("msp-podcast", tmp_path / "msp")
    counts = corpus.utterances["partition"].value_counts().to_dict()
    assert counts == {"train": 120, "dev": 40, "test": 80, "unlabelled": 200}
    files = {corpus.audio_path(item): partition for item, partition in corpus.utterances["partition"].items()}
    inodes = {(path.stat().st_ino, partition) for path, partition in files.items()}
    assert len({inode for inode, _ in inodes}) == len(inodes) == 4 * 3  # three of each partition, and no other's
    (run,) = grid.run("chance", "msp-podcast", root=tmp_path / "msp", task="arousal", results=tmp_path / "r", trials=1)
    assert not run.spec["labels"]


def test_a_published_size_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="cafe has no miniature of that size"):
        write_mock("cafe", tmp_path / "cafe", published=True)
    with pytest.raises(SerbenchError, match=r"release 1\.12 of msp-podcast has no published size here. Type --release"):
        write_mock("msp-podcast", tmp_path / "msp", published=True)


def test_the_published_size_is_the_paper_s() -> None:
    from serbench.datasets.mocks.msp_podcast import LONG, PUBLISHED
    from serbench.datasets.msp_podcast.reader import EXPECTED

    names = {"Train": "train", "Validation": "dev", "Test": "test"}
    assert {f"partition={names[k]}": n for k, n in PUBLISHED["1.6"].items()} == {
        key: n for key, n in EXPECTED["1.6"].items() if key.startswith("partition")
    }
    assert sum(LONG) / 2 == pytest.approx((83 * 60 + 29) * 60 / 50_362, abs=0.01)  # 83 h 29 min, section 3

"""The five small corpora alike: miniatures, folds, archives, published counts, releases."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.benchmarks.corpora.mock import write_mock
from serbench.datasets import crema_d, miniatures, ravdess, savee, tess
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.msp_improv import reader as msp_improv
from serbench.datasets.reading import acted

MODULES: dict[str, Any] = {
    "ravdess": ravdess,
    "crema-d": crema_d,
    "tess": tess,
    "savee": savee,
    "msp-improv": msp_improv,
}
SIZES = {"ravdess": 48, "crema-d": 72, "tess": 28, "savee": 28, "msp-improv": 96}
NAMES = tuple(MODULES)


@pytest.fixture(scope="module")
def roots(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {name: miniature(name, utterances=size) for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {name: miniature(name, utterances=size, traps=True) for name, size in SIZES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_miniature_is_read_whole(roots: dict[str, Path], name: str) -> None:
    corpus = MODULES[name].load(roots[name])
    assert len(corpus.utterances) == SIZES[name]
    assert corpus.name == name
    assert all(corpus.source_path(item).is_file() for item in corpus.utterances.index)
    assert corpus.utterances["gender"].isin(["female", "male"]).all()
    assert len(corpus.items(corpus.task())) > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_split_is_speaker_disjoint_and_tests_everything_once(roots: dict[str, Path], name: str) -> None:
    corpus = MODULES[name].load(roots[name])
    table = corpus.utterances
    for split in corpus.splits:
        tested = pd.Series(0, table.index)
        for fold in corpus.folds(split):
            role = fold.assign(table)
            speakers = {r: set(table["speaker"][role.eq(r).fillna(False)]) for r in ("train", "dev", "test")}
            assert all(speakers.values())
            assert not speakers["test"] & (speakers["train"] | speakers["dev"])
            assert name == "tess" or not speakers["dev"] & speakers["train"]
            tested += role.eq("test").fillna(False).astype(int)
        assert (tested == 1).all(), split


@pytest.mark.parametrize("name", NAMES)
def test_miniature_is_deterministic(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    miniatures.load(name).write(tmp_path, utterances=SIZES[name])
    corpus = MODULES[name].load(roots[name])
    assert MODULES[name].load(tmp_path).digest() == corpus.digest()
    item = corpus.utterances.index[0]
    again = (tmp_path / corpus.utterances["path"].iloc[0]).read_bytes()
    assert corpus.source_path(item).read_bytes() == again


@pytest.mark.parametrize("name", NAMES)
def test_one_folder_above_will_do(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(roots[name], tmp_path / "unpacked")
    assert MODULES[name].load(tmp_path).digest() == MODULES[name].load(roots[name]).digest()


@pytest.mark.parametrize("name", NAMES)
def test_appledouble_stubs_are_never_seen(trapped: dict[str, Path], name: str) -> None:
    assert list(trapped[name].rglob("._*"))
    corpus = MODULES[name].load(trapped[name])
    assert not corpus.utterances["path"].str.contains("._", regex=False).any()
    assert not any("._" in note for note in corpus.notes)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SerbenchError, match=rf"{name}: looked for .*found photos/.*--root"):
        MODULES[name].load(tmp_path)
    with pytest.raises(SerbenchError, match="needs --root"):
        MODULES[name].load(None)


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("ravdess", "Audio_Speech_Actors_01-24.zip"),
        ("crema-d", "CREMA-D-master.zip"),
        ("tess", "dataverse_files.zip"),
        ("savee", "AudioData.zip"),
        ("msp-improv", "MSP-IMPROV.tar.gz"),
    ],
)
def test_archive_not_unpacked(tmp_path: Path, name: str, archive: str) -> None:
    (tmp_path / archive).write_bytes(b"")
    with pytest.raises(SerbenchError, match=f"Unpack {archive}"):
        MODULES[name].load(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_half_copied_corpus_is_told_by_the_published_counts(roots: dict[str, Path], name: str) -> None:
    corpus = MODULES[name].load(roots[name])
    published = corpus.expected["utterances"]
    assert f"utterances: {SIZES[name]} found, {published} published" in [found.detail for found in counts(corpus)]


@pytest.mark.parametrize("name", NAMES)
def test_release_is_refused(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(SerbenchError, match="one release"):
        MODULES[name].load(roots[name], "2")
    with pytest.raises(SerbenchError, match="one release"):
        miniatures.load(name).write(tmp_path, release="2")


def test_unknown_miniature_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"Did you mean 'ravdess'"):
        write_mock("ravdes", tmp_path)


def test_speaker_folds_balance_women_and_men() -> None:
    genders = {f"w{i:02d}": "female" for i in range(43)} | {f"m{i:02d}": "male" for i in range(48)}
    folds = pd.Series(acted.speaker_folds(genders, 5))
    sizes = pd.crosstab(folds, pd.Series(genders))
    assert (sizes.max() - sizes.min() <= 1).all()
    assert (folds.value_counts().max() - folds.value_counts().min()) <= 1

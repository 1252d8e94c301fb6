"""CREMA-D: votes by ear, names, git-lfs pointers, missing lists, and bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.corpora.doctor import _orphans
from serbench.datasets import crema_d
from serbench.datasets.core.errors import SerbenchError

VOTES = "processedResults/tabulatedVotes.csv"


@pytest.fixture(scope="module")
def plain(miniature: Callable[..., Path]) -> Path:
    return miniature("crema-d", utterances=72)


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> Path:
    return miniature("crema-d", utterances=72, traps=True)


@pytest.fixture
def crema(plain: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_crema_d_loads_without_audio(crema: Path) -> None:
    before = crema_d.load(crema)
    shutil.rmtree(crema / "AudioWAV")
    after = crema_d.load(crema)
    assert after.utterances.index.equals(before.utterances.index)
    assert after.utterances["path"].equals(before.utterances["path"])


def test_crema_d_name_grammar(crema: Path) -> None:
    row = crema_d.load(crema).row("1002_IEO_SAD_XX")
    assert (row["emotion"], row["speaker"], row["level"]) == ("sadness", "1002", "unspecified")
    assert row["text"] == "It's eleven o'clock."
    assert (row["gender"], row["age"]) == ("female", 21)


def test_crema_d_only_votes_by_ear_count(crema: Path) -> None:
    corpus = crema_d.load(crema)
    votes = pd.read_csv(crema / "processedResults/tabulatedVotes.csv", index_col=0)
    heard = votes[votes.index < 200000].set_index("fileName")
    soft = corpus.utterances[[f"soft_{label}" for label in crema_d.LABELS]]
    counts = heard.loc[soft.index, list("ADFHNS")]
    np.testing.assert_allclose(soft, counts.div(counts.sum(axis=1), axis=0))
    assert corpus.utterances["raters"].eq(counts.sum(axis=1)).all()
    assert corpus.utterances["perceived"].eq(corpus.utterances["emotion"]).all()
    seen = votes[votes.index >= 200000].set_index("fileName")["emoVote"]
    assert seen.str[0].ne(heard["emoVote"].str[0].reindex(seen.index)).any()


def test_crema_d_ties_have_no_perceived_emotion(trapped: Path) -> None:
    corpus = crema_d.load(trapped)
    tied = corpus.utterances[corpus.utterances["perceived"].isna()]
    assert len(tied) == 1
    assert tied[["soft_anger", "soft_disgust"]].iloc[0].tolist() == [0.5, 0.5]
    assert tied.index[0] not in corpus.items(corpus.task("perceived")).index


def test_crema_d_silent_clip_is_known_to_be_unusable(trapped: Path) -> None:
    corpus = crema_d.load(trapped)
    assert corpus.known_unusable == {"1076_MTI_SAD_XX"}
    assert "1076_MTI_SAD_XX" in corpus.utterances.index


def test_crema_d_lfs_pointers_are_told(trapped: Path, crema: Path) -> None:
    notes = crema_d.load(trapped).notes
    assert any(note.startswith("1 sound files are as short as git-lfs") for note in notes)
    for path in (crema / "AudioWAV").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(SerbenchError, match=r"are git-lfs pointers, not sound\. Type: git -C .* lfs pull"):
        crema_d.load(crema)


def test_crema_d_two_files_for_one_id(crema: Path) -> None:
    shutil.copy(crema / "AudioWAV/1001_IEO_ANG_XX.wav", crema / "AudioWAV/1001_ieo_ang_xx.WAV")
    with pytest.raises(SerbenchError, match="two files for one id, 1001_IEO_ANG_XX"):
        crema_d.load(crema)


def test_crema_d_the_mp3_of_every_clip_is_no_orphan(crema: Path) -> None:
    for folder in ("AudioMP3", "mine"):
        (crema / folder).mkdir()
        (crema / folder / "1001_IEO_ANG_XX.mp3").write_bytes(b"")
    corpus = crema_d.load(crema)
    assert _orphans(corpus, set(corpus.utterances["path"])) == ["mine/1001_IEO_ANG_XX.mp3"]


def test_crema_d_without_list_people_and_votes(crema: Path) -> None:
    for name in ("SentenceFilenames.csv", "VideoDemographics.csv"):
        (crema / name).unlink()
    shutil.rmtree(crema / "processedResults")
    (crema / "AudioWAV/readme of mine.wav").write_bytes(b"")
    corpus = crema_d.load(crema)
    assert len(corpus.utterances) == 72
    assert corpus.utterances["gender"].isna().all()
    assert "soft_anger" not in corpus.utterances
    told = " ".join(corpus.notes)
    parts = ("SentenceFilenames.csv", "VideoDemographics.csv", "tabulatedVotes.csv", "README OF MINE")
    assert all(part in told for part in parts)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("SentenceFilenames.csv", "Filename", "Name", r"lacks the column\(s\) Filename"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "1001_IEO_GLE_XX", "unknown class 'GLE' of '1001_IEO_GLE_XX'"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "1001_ZZZ_ANG_XX", "not named like 1001_DFA_ANG_XX"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "../../1001_IEO_ANG_XX", "leaves the corpus root"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "1001_IEO_DIS_XX", "two rows for one id: '1001_IEO_DIS_XX'"),
        ("VideoDemographics.csv", "Sex", "Gender", r"lacks the column\(s\) Sex"),
        ("VideoDemographics.csv", '"1001",20', '"1001","old"', "Age of '1001' in .* is 'old'"),
        ("VideoDemographics.csv", '"1002"', '"1001"', "two rows for one id: '1001'"),
        (VOTES, '"fileName"', '"file"', r"lacks the column\(s\) fileName"),
        (VOTES, '"100001",6', '"100001","six"', "A of '1001_IEO_ANG_XX' in .* is 'six'"),
        (VOTES, '"200001"', '"100001"', "two rows for one id"),
    ],
)
def test_crema_d_bad_files(crema: Path, file: str, old: str, new: str, message: str, edit: Callable[..., None]) -> None:
    edit(crema / file, old, new)
    with pytest.raises(SerbenchError, match=message):
        crema_d.load(crema)

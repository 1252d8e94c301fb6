"""MSP-Podcast: what wrong label files, partitions and archives are told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.mocks import msp_podcast as mock
from serbench.datasets.msp_podcast import reader as msp_podcast


def labels(folder: Path, release: str = "1.12", utterances: int = 80, seed: int = 1) -> Path:
    """Label files of a release alone."""
    mock.write_labels(folder, mock.plan(utterances, release, seed), release)
    return folder


def consensus(root: Path) -> Path:
    return next(root.glob("Labels/labels_con?ensus.csv"))


def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    with pytest.raises(SerbenchError, match=r"looked for Labels/labels_consensus\.csv .* found music/"):
        msp_podcast.load(tmp_path)
    with pytest.raises(SerbenchError, match="needs --root"):
        msp_podcast.load(None)


def test_a_zip_not_unpacked(tmp_path: Path) -> None:
    root = labels(tmp_path)
    for name in ("Transcripts.zip", "ForceAligned.zip"):
        (root / name).write_bytes(b"x")
    assert "not unpacked: ForceAligned.zip, Transcripts.zip" in msp_podcast.load(root).notes
    (root / "ForceAligned").mkdir()
    assert "not unpacked: Transcripts.zip" in msp_podcast.load(root).notes
    shutil.rmtree(root / "Labels")
    (root / "Labels.zip").write_bytes(b"x")
    with pytest.raises(SerbenchError, match=r"Unpack Labels\.zip there first"):
        msp_podcast.load(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EmoVal", "Valence", r"lacks the column\(s\) EmoVal; it has: FileName, EmoClass, EmoAct, Valence"),
        ("SpkrID", "Speaker", r"lacks the column\(s\) SpkrID"),
        (",N,", ",Q,", r"unknown class 'Q' of 'MSP-PODCAST_\d{4}_\d{4}'"),
        (",Train\n", ",Trian\n", r"unknown partition 'Trian' of 'MSP-PODCAST_"),
        ("MSP-PODCAST_0001_0003.wav", "../MSP-PODCAST_0001_0003.wav", "leaves the corpus root"),
        ("MSP-PODCAST_0001_0003.wav", "MSP-PODCAST_0002_0003.wav", "two rows for one id: 'MSP-PODCAST_0002_0003'"),
    ],
)
def test_consensus_file_that_is_wrong(
    tmp_path: Path, old: str, new: str, message: str, edit: Callable[..., None]
) -> None:
    edit(consensus(labels(tmp_path)), old, new)
    with pytest.raises(SerbenchError, match=message):
        msp_podcast.load(tmp_path)


def test_release_1_6_may_lack_speaker_and_gender(tmp_path: Path) -> None:
    path = consensus(labels(tmp_path, "1.6"))
    pd.read_csv(path, dtype=str).drop(columns=["SpkrID", "Gender"]).to_csv(path, index=False)
    table = msp_podcast.load(tmp_path).utterances
    assert table["speaker"].isna().all()
    assert len(table) == 80


def test_a_number_that_is_none(tmp_path: Path, set_cell: Callable[..., None]) -> None:
    path = consensus(labels(tmp_path))
    set_cell(path, 3, "EmoDom", "3,5")
    item = pd.read_csv(path)["FileName"][3].removesuffix(".wav")
    with pytest.raises(SerbenchError, match=rf"EmoDom of '{item}' in .* is '3,5'"):
        msp_podcast.load(tmp_path)


def test_a_number_that_is_none_in_the_detailed_labels(tmp_path: Path, set_cell: Callable[..., None]) -> None:
    path = labels(tmp_path, "2.0") / "Labels/labels_detailed.csv"
    set_cell(path, 7, "EmoAct", "high")
    item = pd.read_csv(path)["FileName"][7].removesuffix(".wav")
    with pytest.raises(SerbenchError, match=rf"arousal of '{item}' in .* is 'high'"):
        msp_podcast.load(tmp_path)


@pytest.mark.parametrize(
    ("release", "old", "new", "message"),
    [
        ("1.9", "; A:", "; Activation:", r"the rating 'WORKER.*can't be read \(1 such rows\)"),
        ("2.0", "EmoClass_Major", "Emotion", r"lacks the column\(s\) EmoClass_Major"),
        ("2.0", "FileName", "File", r"lacks the column\(s\) FileName"),
    ],
)
def test_detailed_file_that_is_wrong(
    tmp_path: Path, release: str, old: str, new: str, message: str, edit: Callable[..., None]
) -> None:
    edit(labels(tmp_path, release) / "Labels/labels_detailed.csv", old, new)
    with pytest.raises(SerbenchError, match=message):
        msp_podcast.load(tmp_path)


def test_detailed_file_larger_than_one_block_of_the_reader(tmp_path: Path) -> None:
    """A few megabytes arrive in several pieces; nothing may hang on their number."""
    path = labels(tmp_path, "1.12") / "Labels/labels_detailed.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(rows * 100)]) + "\n")
    assert path.stat().st_size > 3e6
    assert len(msp_podcast.ratings(tmp_path)) == 100 * len(rows)
    assert msp_podcast.load(tmp_path).utterances["raters"].sum() == 100 * len(rows)


def test_partitions_file_that_is_wrong(tmp_path: Path, edit: Callable[..., None]) -> None:
    path = labels(tmp_path) / "Partitions.txt"
    edit(path, "Train; MSP", "Train MSP")
    with pytest.raises(SerbenchError, match=r"has the line 'Train MSP-PODCAST_.*Expected 'Train; MSP"):
        msp_podcast.load(tmp_path)
    edit(path, "Train MSP", "Train; ../MSP")
    with pytest.raises(SerbenchError, match="leaves the corpus root"):
        msp_podcast.load(tmp_path)


def test_json_that_is_wrong(tmp_path: Path) -> None:
    root = labels(tmp_path)
    consensus(root).unlink()
    path = root / "Labels/labels_consensus.json"
    whole = path.read_text()
    name = next(iter(json.loads(whole)))
    for text, message in (
        (whole[: len(whole) // 2], "can't be read as JSON"),
        ("[]", "holds no segments"),
        (whole.replace('"EmoVal"', '"Val"'), "lacks EmoVal"),
        (f'{{"{name}": {{}}, "{name}": {{}}}}', rf"two rows for one id: '{name}'"),
    ):
        path.write_text(text)
        with pytest.raises(SerbenchError, match=message):
            msp_podcast.load(root)

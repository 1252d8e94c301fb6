"""MELD: every known trap on a miniature copy, folder variants, sound of clips, and bad input."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.corpora.doctor import _orphans
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.meld import reader as meld, video
from serbench.datasets.mocks import meld as mock_meld

UTTERANCES = 40


@pytest.fixture(scope="module")
def plain(miniature: Callable[..., Path]) -> Path:
    return miniature("meld", utterances=UTTERANCES)


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> Path:
    return miniature("meld", utterances=UTTERANCES, traps=True)


@pytest.fixture
def labels(plain: Path, tmp_path: Path) -> Path:
    """A copy of the miniature's label files that a test may spoil."""
    for name in mock_meld.LABELS.values():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(plain / name, tmp_path / name)
    return tmp_path


# ---- the miniature copy and its traps -------------------------------------------------------------------------------


def test_miniature_is_read_whole(plain: Path) -> None:
    corpus = meld.load(plain)
    table = corpus.utterances
    assert len(table) == UTTERANCES
    assert set(table["partition"]) == {"train", "dev", "test"}
    assert corpus.root == plain
    assert all(corpus.source_path(item).is_file() for item in table.index)
    assert corpus.has_dialogues
    assert table["text"].notna().all()


def test_loads_without_clips(labels: Path) -> None:
    corpus = meld.load(labels)
    assert len(corpus.utterances) == UTTERANCES
    assert any("no clip" in note for note in corpus.notes)


def test_damaged_and_absent_clips_are_rows_all_the_same(trapped: Path) -> None:
    pytest.importorskip("av")
    corpus = meld.load(trapped)
    assert {"train/dia0_utt0", "dev/dia0_utt0"} <= set(corpus.utterances.index)
    with pytest.raises(SerbenchError, match=r"dia0_utt0\.mp4' can't be decoded"):
        corpus.audio_path("train/dia0_utt0")
    assert not corpus.audio_path("dev/dia0_utt0").exists()
    assert any(note.startswith("1 of 40 rows have no clip") for note in corpus.notes)


def test_clips_without_rows_are_counted_not_used(trapped: Path) -> None:
    corpus = meld.load(trapped)
    assert not corpus.utterances.index.str.contains("dia900").any()
    assert any(note.startswith("3 clips in the folders have no row") for note in corpus.notes)


def test_corrected_test_clips(trapped: Path) -> None:
    corrected, first = meld.load(trapped), meld.load(trapped, test_clips="plain")
    cut = corrected.utterances["cut"]
    assert cut.value_counts().to_dict() == {"plain": UTTERANCES - 3, "corrected": 3}
    assert set(corrected.utterances.loc[cut == "corrected", "partition"]) == {"test"}
    recut = corrected.utterances[cut == "corrected"]["path"]
    assert all(Path(path).name.startswith("final_videos_testdia") for path in recut)
    assert first.utterances["cut"].eq("plain").all()
    assert not first.utterances["path"].str.contains("final_videos").any()
    assert corrected.digest() != first.digest()


@pytest.mark.parametrize("test_clips", ["corrected", "plain"])
def test_the_other_cut_of_a_test_clip_is_no_orphan(trapped: Path, test_clips: str) -> None:
    corpus = meld.load(trapped, test_clips=test_clips)
    left = _orphans(corpus, set(corpus.utterances["path"]))
    assert sorted(Path(path).stem for path in left) == ["dia900_utt1"] * 3, "the clips without rows alone"


def test_appledouble_stubs_are_never_seen(trapped: Path) -> None:
    assert list(trapped.rglob("._dia*"))
    assert not meld.load(trapped).utterances["path"].str.contains("._dia", regex=False).any()


def test_cp1252_code_points_become_characters(trapped: Path) -> None:
    raw = (trapped / "dev_sent_emo.csv").read_text(encoding="utf-8")
    assert "\x92" in raw
    assert "\xa0" in raw
    texts = set(meld.load(trapped).utterances["text"])
    assert "It’s “fine”… really – isn‘t it?" in texts
    assert not any("\x80" <= character <= "\xa0" for text in texts for character in text)


def test_turns_are_ordered_by_number_even_if_times_and_rows_are_not(trapped: Path) -> None:
    table = meld.load(trapped).utterances
    first = table[table["dialogue"] == "train/dia0"].sort_values("turn")
    assert first["turn"].tolist() == list(range(len(first)))
    assert first["dialogue_start"].iloc[-1] == first["dialogue_start"].iloc[0]
    for item, interlocutor in first["interlocutor"].dropna().items():
        assert table.loc[interlocutor, "turn"] < table.loc[item, "turn"]


def test_gaps_in_the_numbering_are_no_gaps_in_the_turns(trapped: Path) -> None:
    table = meld.load(trapped).utterances
    number, turn = table["utterance_number"], table["turn"]
    assert (number.groupby(table["dialogue"]).max() > turn.groupby(table["dialogue"]).max()).sum() >= 3
    assert (table.groupby("dialogue")["turn"].max() + 1 == table.groupby("dialogue").size()).all()


def test_zero_and_far_too_long_times_are_flagged(trapped: Path) -> None:
    flags = meld.load(trapped).utterances.query("partition == 'test'")["duration_flag"].dropna()
    assert sorted(flags) == ["very long", "zero"]


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "as unpacked": lambda root: None,
    "one folder below": lambda root: _below(root, "MELD.Raw"),
    "train_splits at the root": lambda root: (root / "train/train_splits").rename(root / "train_splits") and None,
    "folders in their splits": lambda root: _into_splits(root),
    "other case": lambda root: (root / "dev_splits_complete").rename(root / "Dev_Splits_Complete") and None,
    "doubled folder": lambda root: _below(root / "dev_splits_complete", "dev_splits_complete"),
    "audio by split": lambda root: _as_audio(root),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_variants(plain: Path, tmp_path: Path, layout: str) -> None:
    root = tmp_path / "MELD"
    shutil.copytree(plain, root)
    LAYOUTS[layout](root)
    corpus = meld.load(root)
    assert all(corpus.source_path(item).is_file() for item in corpus.utterances.index)
    assert corpus.digest() == meld.load(plain).digest()


def _below(root: Path, name: str) -> None:
    entries = list(root.iterdir())
    (root / name).mkdir()
    for entry in entries:
        entry.rename(root / name / entry.name)


def _into_splits(root: Path) -> None:
    for split in ("dev", "test"):
        (root / split).mkdir()
        (root / mock_meld.FOLDERS[split]).rename(root / split / mock_meld.FOLDERS[split])
        (root / mock_meld.LABELS[split]).rename(root / split / mock_meld.LABELS[split])


def _as_audio(root: Path) -> None:
    """The layout of `audio/{train,dev,test}/diaD_uttU.flac`; names alone matter here."""
    for split, folder in mock_meld.FOLDERS.items():
        (root / "audio" / split).mkdir(parents=True)
        for clip in (root / folder).iterdir():
            clip.rename(root / "audio" / split / f"{clip.stem}.flac")


def test_labels_alone_in_a_clone_of_the_repository(labels: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "data/MELD").mkdir(parents=True)
    for name in mock_meld.LABELS.values():
        (labels / name).rename(clone / "data/MELD" / Path(name).name)
    assert len(meld.load(clone).utterances) == UTTERANCES


def test_audio_of_the_same_name_goes_before_the_clip(plain: Path, tmp_path: Path) -> None:
    root = tmp_path / "MELD"
    shutil.copytree(plain, root)
    (root / "dev_splits_complete/dia0_utt0.wav").write_bytes(b"")
    row = meld.load(root).row("dev/dia0_utt0")
    assert row["path"] == "dev_splits_complete/dia0_utt0.wav"
    assert pd.isna(row["downmix"])


def test_miniature_is_deterministic_and_learnable(plain: Path, tmp_path: Path) -> None:
    mock_meld.write(tmp_path, utterances=UTTERANCES)
    assert meld.load(tmp_path).digest() == meld.load(plain).digest()
    pytest.importorskip("av")
    corpus = meld.load(plain)
    loud = {}
    for emotion in ("anger", "sadness"):
        ids = corpus.utterances.index[corpus.utterances["emotion"] == emotion]
        levels = [np.sqrt(np.mean(video.decode(corpus.source_path(i))[0] ** 2)) for i in ids]
        loud[emotion] = np.mean(levels)
    assert loud["anger"] > loud["sadness"]


# ---- the sound of its clips -----------------------------------------------------------------------------------------


def test_extracting_many_reports_bad_clips_and_goes_on(trapped: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    corpus = meld.load(trapped, audio_folder=tmp_path)
    clips = [corpus.source_path(item) for item in corpus.utterances.index]
    failed = video.extract(clips, corpus.audio_source, workers=2)
    assert {clip.name for clip in failed} == {"dia0_utt0.mp4"}
    assert sorted("no such file" in reason for reason in failed.values()) == [False, True]
    assert len(list(tmp_path.rglob("*.flac"))) == UTTERANCES - 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_features_are_made_of_clips_and_a_bad_clip_fails_alone(trapped: Path, tmp_path: Path, jobs: int) -> None:
    pytest.importorskip("av")
    from serbench.features.cache.cache import FeatureCache
    from serbench.features.core.feature_extractor import build
    from serbench.features.extraction.extract import extract

    corpus = meld.load(trapped, audio_folder=tmp_path / "audio")
    rows = corpus.utterances[corpus.utterances["dialogue"].str.endswith("/dia0")]
    made = extract(
        rows,
        corpus.root,
        build("waveform"),
        FeatureCache(tmp_path / "cache" / "features"),
        jobs=jobs,
        source=corpus.audio_source,
    )
    assert set(made.failed) == {"train/dia0_utt0", "dev/dia0_utt0"}
    assert "can't be decoded" in made.failed["train/dia0_utt0"]
    assert len(made) == len(rows) - 2
    item = "test/dia0_utt1"
    signal, rate = video.decode(corpus.source_path(item))
    assert abs(made[item].size / made.sampling_rate - len(signal) / rate) < 1e-3


def test_downmix_is_in_the_corpus_digest(plain: Path) -> None:
    pytest.importorskip("av")
    assert meld.load(plain).digest() != meld.load(plain, downmix="centre").digest()
    assert meld.load(plain, downmix="centre").utterances["downmix"].eq("centre").all()


def test_missing_pyav_names_the_extra(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setitem(sys.modules, "av", None)
    corpus = meld.load(plain, downmix="mean")
    with pytest.raises(SerbenchError, match=r"serbench\[video\]"):
        corpus.audio_path("train/dia0_utt0")


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SerbenchError, match=r"looked for train_sent_emo\.csv.* found photos/") as caught:
        meld.load(tmp_path)
    assert "--root" in str(caught.value)


def test_no_root() -> None:
    with pytest.raises(SerbenchError, match="needs --root"):
        meld.load(None)


def test_half_copied_corpus_names_the_missing_label_file(labels: Path) -> None:
    (labels / "dev_sent_emo.csv").unlink()
    with pytest.raises(SerbenchError, match=r"copied by half.*dev_sent_emo\.csv not"):
        meld.load(labels)


def test_nested_archive_not_unpacked(labels: Path) -> None:
    (labels / "train/train_sent_emo.csv").unlink()
    (labels / "train.tar.gz").write_bytes(b"")
    with pytest.raises(SerbenchError, match=r"Unpack train\.tar\.gz"):
        meld.load(labels)


def test_archive_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "MELD.Raw.tar.gz"
    archive.write_bytes(b"")
    with pytest.raises(SerbenchError, match=r"Unpack MELD\.Raw\.tar\.gz"):
        meld.load(tmp_path)
    with pytest.raises(SerbenchError, match="is an archive"):
        meld.load(archive)


def test_missing_column(labels: Path, edit: Callable[..., None]) -> None:
    edit(labels / "train/train_sent_emo.csv", "Emotion,", "Feeling,")
    with pytest.raises(SerbenchError, match=r"train_sent_emo\.csv' lacks the column\(s\) Emotion; it has: Sr No\."):
        meld.load(labels)


def test_number_that_is_none(labels: Path, set_cell: Callable[..., None]) -> None:
    set_cell(labels / "dev_sent_emo.csv", 2, "Dialogue_ID", "two")
    with pytest.raises(SerbenchError, match=r"Dialogue_ID of 2 in .*dev_sent_emo\.csv is 'two'"):
        meld.load(labels)


def test_number_that_is_not_whole(labels: Path, set_cell: Callable[..., None]) -> None:
    set_cell(labels / "dev_sent_emo.csv", 0, "Utterance_ID", "0.5")
    with pytest.raises(SerbenchError, match="Expected a whole number"):
        meld.load(labels)


def test_time_that_is_none(labels: Path, set_cell: Callable[..., None]) -> None:
    set_cell(labels / "dev_sent_emo.csv", 0, "StartTime", "noon")
    with pytest.raises(SerbenchError, match=r"StartTime of 'dev/dia0_utt0' .*'noon'"):
        meld.load(labels)


def test_unknown_class(labels: Path, edit: Callable[..., None]) -> None:
    edit(labels / "train/train_sent_emo.csv", ",joy,", ",glee,")
    with pytest.raises(SerbenchError, match=r"unknown class 'glee' of 'train/dia\d+_utt\d+'.*joy"):
        meld.load(labels)


def test_unknown_sentiment(labels: Path, edit: Callable[..., None]) -> None:
    edit(labels / "train/train_sent_emo.csv", ",joy,positive", ",joy,sunny")
    with pytest.raises(SerbenchError, match="unknown sentiment 'sunny'"):
        meld.load(labels)


def test_a_path_cannot_come_from_the_label_file(labels: Path, set_cell: Callable[..., None]) -> None:
    set_cell(labels / "dev_sent_emo.csv", 0, "Utterance_ID", "../../../etc/passwd")
    with pytest.raises(SerbenchError, match="Expected a number"):
        meld.load(labels)


def test_two_label_files_for_one_split(labels: Path) -> None:
    (labels / "train_sent_emo.csv").write_bytes((labels / "train/train_sent_emo.csv").read_bytes())
    before = meld.load(labels).digest()
    with (labels / "train_sent_emo.csv").open("ab") as file:
        file.write(b"\r\n")
    with pytest.raises(SerbenchError, match="two files are the labels of train, and they differ"):
        meld.load(labels)
    (labels / "train_sent_emo.csv").unlink()
    assert meld.load(labels).digest() == before


def test_doubled_row(labels: Path) -> None:
    path = labels / "test_sent_emo.csv"
    table = pd.read_csv(path, dtype=str)
    pd.concat([table, table.iloc[:1]]).to_csv(path, index=False)
    with pytest.raises(SerbenchError, match="two rows for one id: 'test/dia0_utt0'"):
        meld.load(labels)


@pytest.mark.parametrize("options", [{"test_clips": "best"}, {"context": "future"}, {"downmix": "left"}])
def test_unknown_option_values_list_what_there_is(plain: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SerbenchError, match="There are"):
        meld.load(plain, **options)


def test_release_is_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="one release"):
        meld.load(plain, "2.0")
    with pytest.raises(SerbenchError, match="one release"):
        mock_meld.write(tmp_path, release="2.0")
    with pytest.raises(SerbenchError, match="Ask for 20"):
        mock_meld.write(tmp_path, utterances=3)

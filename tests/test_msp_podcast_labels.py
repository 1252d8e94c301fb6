"""MSP-Podcast: every shape of its label files from 1.6 to 2.0, partitions, releases, folders and the pool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from serbench.benchmarks.corpora import doctor
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.mocks import msp_podcast as mock
from serbench.datasets.msp_podcast import reader as msp_podcast
from serbench.datasets.msp_podcast.labels import RELEASES, detect_release, read_details, read_partitions


def labels(folder: Path, release: str = "1.12", utterances: int = 80, seed: int = 1) -> Path:
    """Label files of a release alone."""
    mock.write_labels(folder, mock.plan(utterances, release, seed), release)
    return folder


def consensus(root: Path) -> Path:
    return next(root.glob("Labels/labels_con?ensus.csv"))


# what is read


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_gives_back_what_was_written(tmp_path: Path, release: str) -> None:
    segments = mock.plan(80, release, 1)
    corpus = msp_podcast.load(labels(tmp_path, release))
    assert corpus.release == release
    table = corpus.utterances
    assert set(table.index) == {s.name for s in segments}
    dev = {"Development": "dev", "Validation": "dev"}
    for segment in segments:
        row = table.loc[segment.name]
        assert row["partition"] == dev.get(segment.partition, segment.partition.lower())
        if segment.partition == "Test3":
            continue
        assert row["raw_emotion"] == segment.emo_class
        assert (row["speaker"], row["gender"]) == (segment.speaker, segment.gender.lower())
        for column, name in ((3, "arousal"), (4, "valence"), (5, "dominance")):
            assert row[name] == pytest.approx(segment.mean(column), abs=1e-4)


def test_spelling_of_concensus_changes_with_1_10(tmp_path: Path) -> None:
    assert consensus(labels(tmp_path / "a", "1.9")).name == "labels_concensus.csv"
    assert consensus(labels(tmp_path / "b", "1.10")).name == "labels_consensus.csv"
    for folder in ("a", "b"):
        assert len(msp_podcast.load(tmp_path / folder).utterances) == 80


def test_both_spellings_at_once_are_refused(tmp_path: Path) -> None:
    path = consensus(labels(tmp_path, "1.9"))
    shutil.copy(path, path.with_name("labels_consensus.csv"))
    with pytest.raises(SerbenchError, match=r"2 files for one: labels_concensus\.csv, labels_consensus\.csv"):
        msp_podcast.load(tmp_path)


@pytest.mark.parametrize(
    ("release", "header"),
    [
        ("1.6", "FileName,Workers,EmoClass_Major,EmoClass_Second,EmoAct,EmoDom,EmoVal"),
        ("1.8", "FileName,EmoDetail"),
        ("2.0", "FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom"),
    ],
)
def test_three_shapes_of_detailed_labels_say_the_same(tmp_path: Path, release: str, header: str) -> None:
    path = labels(tmp_path, release) / "Labels/labels_detailed.csv"
    assert path.read_text().splitlines()[0] == header
    got = msp_podcast.ratings(tmp_path)
    segments = [s for s in mock.plan(80, release, 1) if s.partition != "Test3"]
    wanted = [(s.name, *rating) for s in segments for rating in s.ratings]
    assert list(got) == ["id", "rater", "labels", "secondary", "arousal", "valence", "dominance"]
    texts = got[["id", "rater", "labels", "secondary"]].astype("string").fillna("")
    found = [
        (*text, *marks)
        for text, marks in zip(
            texts.itertuples(index=False, name=None),
            got[["arousal", "valence", "dominance"]].itertuples(index=False, name=None),
            strict=True,
        )
    ]
    assert found == wanted


@pytest.mark.parametrize("file", ["labels_detailed.json", "labels.txt"])
def test_ratings_from_json_or_text_where_the_csv_is_not_there(tmp_path: Path, file: str) -> None:
    folder = labels(tmp_path, "1.11") / "Labels"
    from_csv = read_details(folder / "labels_detailed.csv")
    other = read_details(folder / file)
    key = ["id", "rater"]
    as_text = dict.fromkeys(("id", "rater", "labels", "secondary"), "string")
    one, another = (table.astype(as_text).sort_values(key, ignore_index=True) for table in (from_csv, other))
    pd.testing.assert_frame_equal(one.fillna({"secondary": "-"}), another.fillna({"secondary": "-"}))
    for name in ("labels_detailed.csv", "labels_detailed.json", "labels.txt"):
        if name != file:
            (folder / name).unlink()
    assert msp_podcast.load(tmp_path).utterances["soft_anger"].notna().sum() == 76


def test_consensus_from_json_where_the_csv_is_not_there(tmp_path: Path) -> None:
    before = msp_podcast.load(labels(tmp_path, "1.11"))
    consensus(tmp_path).unlink()
    after = msp_podcast.load(tmp_path)
    pd.testing.assert_frame_equal(before.utterances.sort_index(), after.utterances.sort_index())


def test_columns_are_read_by_name_whatever_their_order(tmp_path: Path) -> None:
    before = msp_podcast.load(labels(tmp_path)).utterances
    path = consensus(tmp_path)
    table = pd.read_csv(path, dtype=str)
    table[table.columns[::-1]].to_csv(path, index=False)
    pd.testing.assert_frame_equal(before, msp_podcast.load(tmp_path).utterances)


def test_free_text_of_a_rater_may_hold_a_semicolon(tmp_path: Path) -> None:
    mock.write_labels(tmp_path, mock.plan(80, "1.12", 1, traps=True), "1.12", traps=True)
    ratings = msp_podcast.ratings(tmp_path)
    assert (ratings["labels"].astype(str) == "Other-bored; a bit (sleepy)").sum() >= 5
    assert ratings["arousal"].notna().all()


def test_no_detailed_labels_is_a_note(tmp_path: Path) -> None:
    folder = labels(tmp_path) / "Labels"
    for name in ("labels_detailed.csv", "labels_detailed.json", "labels.txt"):
        (folder / name).unlink()
    corpus = msp_podcast.load(tmp_path)
    assert "no detailed labels were found, so soft labels and single ratings are missing" in corpus.notes
    assert corpus.utterances["soft_anger"].isna().all()
    with pytest.raises(SerbenchError, match=r"labels_detailed\.csv, labels_detailed\.json, labels\.txt"):
        msp_podcast.ratings(tmp_path)


# partitions


def test_test_sets_of_each_release(tmp_path: Path) -> None:
    old = msp_podcast.load(labels(tmp_path / "a", "1.6"))
    assert list(old.splits) == ["official"]
    assert set(old.utterances["partition"]) == {"train", "dev", "test"}
    new = msp_podcast.load(labels(tmp_path / "b", "1.11"))
    assert list(new.splits) == ["official", "official-test2"]
    for corpus in (old, new):
        for split in corpus.splits:
            (fold,) = corpus.folds(split)
            role = fold.assign(corpus.utterances)
            speakers = {r: set(corpus.utterances.loc[role.eq(r), "speaker"]) for r in ("train", "dev", "test")}
            assert all(speakers.values())
            assert not speakers["train"] & speakers["test"]
    (second,) = new.folds("official-test2")
    role = second.assign(new.utterances)
    assert set(new.utterances.loc[role.eq("test"), "partition"]) == {"test2"}
    assert role[new.utterances["partition"].eq("test1")].isna().all(), "never train on a test set"


def test_validation_and_development_are_one_partition(tmp_path: Path) -> None:
    for release, word in (("1.9", "Validation"), ("1.10", "Development")):
        root = labels(tmp_path / release, release)
        assert f",{word}\n" in consensus(root).read_text()
        assert msp_podcast.load(root).utterances["partition"].eq("dev").sum() == 12


def test_partitions_file_under_both_names_and_disagreement_with_the_labels(tmp_path: Path) -> None:
    mock.write_labels(tmp_path / "traps", mock.plan(80, "2.0", 4, traps=True), "2.0", traps=True)
    notes = msp_podcast.load(tmp_path / "traps").notes
    assert any("Partitions.txt puts 1 segments into other partitions" in note for note in notes)
    root = labels(tmp_path / "plain")
    before = msp_podcast.load(root)
    (root / "Partitions.txt").rename(root / "Partition.txt")
    pd.testing.assert_frame_equal(before.utterances, msp_podcast.load(root).utterances)
    (root / "Partition.txt").unlink()
    assert msp_podcast.load(root).utterances["partition"].eq("test3").sum() == 0


def test_segments_that_only_partitions_knows_are_counted(tmp_path: Path) -> None:
    root = labels(tmp_path)
    with (root / "Partitions.txt").open("a") as file:
        file.write("\nTrain; MSP-PODCAST_0001_9999.wav\n")
    corpus = msp_podcast.load(root)
    assert "1 segments of Partitions.txt have no labels and are left out" in corpus.notes
    assert "MSP-PODCAST_0001_9999" not in corpus.utterances.index
    assert read_partitions(root / "Partitions.txt")["MSP-PODCAST_0001_9999"] == "train"


# release


def test_release_from_readme_then_folder_then_asked_for(tmp_path: Path) -> None:
    root = labels(tmp_path / "MSP-PODCAST-Publish-1.10", "1.11")
    assert detect_release(root, None) == ("1.11", "")
    (root / "readme.txt").write_text("History: Release 1.9, Release 1.10.\nRelease 1.12 (May)\n")
    assert detect_release(root, None) == ("1.12", ""), "the readme of a release may list the earlier ones"
    (root / "readme.txt").rename(root / "README.TXT")
    assert detect_release(root, None) == ("1.12", "")
    (root / "README.TXT").unlink()
    assert detect_release(root, None) == ("1.10", "")
    for name, release in (("v1.8", "1.8"), ("MSP-Podcast_v2.0_full", "2.0"), ("Release 1.7", "1.7")):
        (tmp_path / name).mkdir()
        assert detect_release(tmp_path / name, None) == (release, "")
    other = tmp_path / "project-2.0/msp"
    other.mkdir(parents=True)
    with pytest.raises(SerbenchError, match=r"Type --release with one of: 1\.6, 1\.7"):
        detect_release(other, None)


def test_release_given(tmp_path: Path) -> None:
    root = labels(tmp_path, "1.11")
    corpus = msp_podcast.load(root, "1.12")
    assert corpus.release == "1.12"
    assert "release 1.12 was asked for, but readme.txt says 1.11" in corpus.notes
    with pytest.raises(SerbenchError, match=r"unknown release of msp-podcast '1\.13'"):
        msp_podcast.load(root, "1.13")
    assert corpus.digest() != msp_podcast.load(root).digest(), "results of two releases must not be mixed"


def test_previous_releases_are_never_read(tmp_path: Path) -> None:
    root = labels(tmp_path, "1.12")
    old = next((root / "Previous_releases_information").rglob("labels_concensus.csv"))
    assert ",N," in old.read_text()
    assert msp_podcast.load(root).utterances["raw_emotion"].nunique() > 5
    shutil.rmtree(root / "Labels")
    (root / "Previous_releases_information/Labels").mkdir()
    shutil.copy(old, root / "Previous_releases_information/Labels")
    with pytest.raises(SerbenchError, match="looked for"):
        msp_podcast.load(root)


def test_published_counts_agree_with_each_other() -> None:
    for release in ("1.6", "1.7", "1.8", "1.10", "1.11", "2.0"):
        expected = msp_podcast.EXPECTED[release]
        parts = [n for key, n in expected.items() if key.startswith("partition=") and "," not in key]
        assert sum(parts) == expected["utterances"]
    eight = msp_podcast.EXPECTED["1.8"]
    assert sum(n for k, n in eight.items() if k.startswith("raw_emotion=") and "," not in k) == eight["utterances"]
    for partition in ("dev", "test1"):
        classes = [n for k, n in eight.items() if k.endswith(f",partition={partition}")]
        assert len(classes) == 10
        assert sum(classes) == eight[f"partition={partition}"]
    assert set(msp_podcast.EXPECTED) == set(RELEASES)


# sound, text, words, pool


def test_loads_without_any_sound_on_disk(tmp_path: Path) -> None:
    corpus = msp_podcast.load(labels(tmp_path))
    assert "no folder Audios: labels can be read, features can't be made" in corpus.notes
    assert corpus.utterances["path"].iloc[0] == f"Audios/{corpus.utterances.index[0]}.wav"


@pytest.mark.parametrize("name", ["Audio", "audios", "AUDIOS/audios"])
def test_variants_of_the_audio_folder(tmp_path: Path, name: str) -> None:
    root = labels(tmp_path)
    (root / name).mkdir(parents=True)
    first = msp_podcast.load(root).utterances.index[0]
    (root / name / f"{first}.wav").write_bytes(b"not opened")
    corpus = msp_podcast.load(root)
    assert corpus.audio_path(first) == root / name / f"{first}.wav"
    assert f"79 segments have no sound file in {name}" in corpus.notes


@pytest.mark.parametrize("name", ["label", "LABELS", "Labels/Labels"])
def test_variants_of_the_label_folder(tmp_path: Path, name: str) -> None:
    root = labels(tmp_path)
    before = msp_podcast.load(root)
    (root / "Labels").rename(root / "moved")
    (root / name).parent.mkdir(exist_ok=True)
    (root / "moved").rename(root / name)
    pd.testing.assert_frame_equal(msp_podcast.load(root).utterances, before.utterances)


def test_withdrawn_sound_of_previous_releases_is_no_orphan(tmp_path: Path) -> None:
    root = labels(tmp_path)
    old = root / "Previous_releases_information/files_removed_from_prev_versions/v1.9_removed_files"
    old.mkdir(parents=True)
    for folder in (old, root / "Audios"):
        folder.mkdir(exist_ok=True)
        (folder / "MSP-PODCAST_0999_0001.wav").write_bytes(b"x")
    corpus = msp_podcast.load(root)
    assert doctor._orphans(corpus, set(corpus.utterances["path"])) == ["Audios/MSP-PODCAST_0999_0001.wav"]


def test_transcripts_in_another_encoding(tmp_path: Path) -> None:
    root = labels(tmp_path)
    first, second = msp_podcast.load(root).utterances.index[:2]
    (root / "Transcripts").mkdir()
    (root / "Transcripts" / f"{first}.txt").write_bytes(" it\x92s fine \n".encode("latin-1"))
    (root / "Transcripts" / f"{second}.TXT").write_bytes("\ufeffcafé".encode())
    table = msp_podcast.load(root).utterances
    assert table.loc[[first, second], "text"].tolist() == ["it’s fine", "café"]


def test_unlabelled_pool_with_folders_below_and_stubs(tmp_path: Path) -> None:
    root = labels(tmp_path)
    assert msp_podcast.load(root).unlabelled().empty
    recording = msp_podcast.load(root).utterances.query("partition == 'test1'")["recording"].iloc[0]
    near = f"b/MSP-PODCAST_{recording}_9999.wav"
    for name in ("a/MSP-PODCAST_0900_0001.wav", near, "b/._x.wav", ".c/y.wav", "n.txt"):
        path = root / "unlabeled_audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened")
    corpus = msp_podcast.load(root)
    pool = corpus.unlabelled()
    assert sorted(pool["path"]) == ["unlabeled_audio/a/MSP-PODCAST_0900_0001.wav", f"unlabeled_audio/{near}"]
    assert pool[["emotion", "arousal", "speaker"]].isna().all(axis=None)
    assert "1 segments of the unlabelled pool are from podcasts that a test set also has" in corpus.notes
    for task in corpus.tasks:
        assert not corpus.items(task).index.isin(pool.index).any()
        assert corpus.folds()[0].assign(corpus.utterances)[pool.index].isna().all()


def test_two_files_for_one_id_in_the_pool(tmp_path: Path) -> None:
    root = labels(tmp_path)
    labelled = msp_podcast.load(root).utterances.index[0]
    (root / "Unlabelled").mkdir()
    (root / "Unlabelled" / f"{labelled}.wav").write_bytes(b"x")
    with pytest.raises(SerbenchError, match=rf"two files for one id: '{labelled}' is in .*Unlabelled and also"):
        msp_podcast.load(root)


# the miniature


def test_miniature_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    a, b = (msp_podcast.load(labels(tmp_path / name, seed=5)).digest() for name in "ab")
    assert a == b
    assert a != msp_podcast.load(labels(tmp_path / "c", seed=6)).digest()
    with pytest.raises(SerbenchError, match="60 or more"):
        mock.write(tmp_path, utterances=10)
    with pytest.raises(SerbenchError, match="unknown release"):
        mock.write(tmp_path, release="3.0")

"""MSP-Podcast 2.0 on a miniature with all traps: labels, hidden tests, sound, words; and the memory of its size."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from serbench.benchmarks.corpora import doctor
from serbench.benchmarks.corpora.findings import count
from serbench.benchmarks.performance.parts import corpora
from serbench.datasets.mocks import msp_podcast as mock
from serbench.datasets.msp_podcast import reader as msp_podcast
from serbench.datasets.msp_podcast.labels import NAME

VOTES = dict(
    zip(
        "ASHUFDCNO",
        ("anger", "sadness", "happiness", "surprise", "fear", "disgust", "contempt", "neutral", "other"),
        strict=True,
    )
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of 2.0 with all traps, sound included, one folder down."""
    root = tmp_path_factory.mktemp("msp")
    mock.write(root / "MSP-PODCAST", release="2.0", utterances=80, traps=True, seed=4)
    return root


@pytest.fixture(scope="module")
def corpus(whole: Path):
    return msp_podcast.load(whole)


# what is read


def test_byte_order_mark(whole: Path, corpus) -> None:
    path = next(whole.rglob("Labels/labels_consensus.csv"))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert len(corpus.utterances) > 80


def test_soft_labels_are_the_shares_of_primary_words(whole: Path, corpus) -> None:
    words = {mock.WORDS[code]: emotion for code, emotion in VOTES.items()} | {"Other-bored; a bit (sleepy)": "other"}
    for segment in mock.plan(80, "2.0", 4, traps=True):
        row = corpus.utterances.loc[segment.name]
        if segment.partition == "Test3":
            assert np.isnan(row["soft_anger"])
            continue
        votes = Counter(words[rating[1]] for rating in segment.ratings)
        assert row["raters"] == 5
        for emotion in VOTES.values():
            assert row[f"soft_{emotion}"] == pytest.approx(votes[emotion] / 5)


def test_ratings_of_2_0_without_a_number_stay_missing(whole: Path) -> None:
    assert "NaN" in next(whole.rglob("labels_detailed.csv")).read_text()
    ratings = msp_podcast.ratings(whole)
    assert ratings["dominance"].isna().any()
    assert ratings[["arousal", "valence"]].notna().all(axis=None)


def test_unknown_speakers_and_genders_are_missing_values(corpus) -> None:
    table = corpus.utterances
    unnamed = table["partition"].eq("train") & table["speaker"].isna()
    assert unnamed.sum() >= 3
    assert table.loc[unnamed, "gender"].isna().all()
    assert f"{unnamed.sum()} training segments have an unknown speaker" in " ".join(corpus.notes)


def test_names_of_three_numbers_and_of_test3(corpus) -> None:
    table = corpus.utterances
    cut_again = table.index.str.fullmatch(r"MSP-PODCAST_\d{4}_\d{4}_\d{4}")
    assert cut_again.any()
    assert (table.loc[cut_again, "recording"] == table.index[cut_again].str[12:16]).all()
    assert set(table.loc[table["partition"].eq("test3"), "recording"]) == {"test3"}
    assert re.fullmatch(NAME, "MSP-PODCAST_0023_0048_0001")
    assert not re.fullmatch(NAME, "MSP-PODCAST_23_0048")


def test_no_agreement_and_other_are_in_no_class_task_but_in_the_attributes(corpus) -> None:
    table = corpus.utterances
    x, o = table["raw_emotion"].eq("X").fillna(False), table["raw_emotion"].eq("O").fillna(False)
    assert x.any()
    assert o.any()
    assert table.loc[x, "emotion"].isna().all()
    classes, marks = corpus.items(corpus.task("emotion")), corpus.items(corpus.task("attributes"))
    assert not classes.index.isin(table.index[x | o]).any()
    assert marks.index.isin(table.index[x | o]).sum() == (x | o).sum()
    assert corpus.task("emotion").dropped(marks) == {"no label": int(x.sum()), "other": int(o.sum())}


def test_tasks_and_their_scales(corpus) -> None:
    names = [task.name for task in corpus.tasks]
    assert names == ["emotion", "emotion-4", "attributes", "arousal", "valence", "dominance"]
    assert len(corpus.task("emotion").labels) == 8
    assert corpus.task("emotion-4").labels == ("anger", "happiness", "neutral", "sadness")
    assert set(corpus.task("attributes").scales.values()) == {(1.0, 7.0)}


# partitions


def test_test3_has_hidden_labels(corpus) -> None:
    table = corpus.utterances
    hidden = table[table["partition"].eq("test3")]
    assert len(hidden) == 4
    for column in ("emotion", "raw_emotion", "arousal", "speaker", "text"):
        assert hidden[column].isna().all()
    assert hidden["path"].str.contains("MSP-PODCAST_test3_").all()
    for fold in (corpus.folds("official")[0], corpus.folds("official-test2")[0]):
        assert fold.assign(table)[hidden.index].isna().all()
    assert any("4 segments of test3 are hidden" in note for note in corpus.notes)


def test_expected_counts_can_be_counted_and_leave_the_pool_out(corpus) -> None:
    for key in corpus.expected:
        count(corpus, key)
    pool = corpus.utterances["partition"].eq("unlabelled").sum()
    assert corpus.expected["utterances"] == 267905 + pool


# sound, text, words, pool


def test_nested_folders_appledouble_stubs_missing_and_orphan_sound(whole: Path, corpus) -> None:
    assert corpus.utterances["path"].iloc[0].startswith("Audios/Audios/")
    assert list(whole.rglob("._*.wav"))
    assert "1 segments have no sound file in Audios/Audios" in corpus.notes
    assert "1 sound files in Audios/Audios are in no label file and are not used" in corpus.notes
    assert "MSP-PODCAST_0999_0001" not in corpus.utterances.index


def test_a_file_at_44_khz_in_stereo_is_found_by_its_header(corpus) -> None:
    import soundfile

    there = [path for path in corpus.utterances["path"] if (corpus.root / path).is_file()]
    heads = {path: soundfile.info(corpus.root / path) for path in there}
    odd = [path for path, head in heads.items() if (head.samplerate, head.channels) != (16000, 1)]
    assert len(odd) == 1
    findings = doctor.check(corpus)
    for kind in ("odd-rate", "stereo"):
        assert findings.loc[findings["kind"] == kind, "path"].tolist() == odd


def test_transcripts_and_one_that_is_missing(corpus) -> None:
    segments = {s.name: s for s in mock.plan(80, "2.0", 4, traps=True)}
    table = corpus.utterances
    rated = table[~table["partition"].isin(["test3", "unlabelled"])]
    assert rated["text"].isna().sum() == 1
    assert "1 segments have no transcript" in corpus.notes
    spoken = rated["text"].dropna()
    assert (spoken == [segments[name].text for name in spoken.index]).all()


def test_word_times(corpus) -> None:
    segment = next(s for s in mock.plan(80, "2.0", 4, traps=True) if s.partition != "Test3")
    words = corpus.words(segment.name)
    assert words["word"].tolist() == [w.strip(".,!?") for w in segment.text.split()]
    assert words["start"].iloc[0] == pytest.approx(0.2)
    assert words["end"].iloc[-1] == pytest.approx(segment.seconds - 0.2)
    assert corpus.words("MSP-PODCAST_test3_0001").empty


def test_there_is_no_dialogue(corpus) -> None:
    assert not corpus.has_dialogues
    assert corpus.utterances[["dialogue", "previous", "interlocutor"]].isna().all(axis=None)
    assert corpus.utterances["recording"].notna().all()


def test_half_copied_corpus_is_a_note_not_an_end(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "part"
    shutil.copytree(whole / "MSP-PODCAST", root)
    waves = sorted((root / "Audios/Audios").glob("MSP*.wav"))
    for path in waves[::2]:
        path.unlink()
    shutil.rmtree(root / "ForceAligned")
    corpus = msp_podcast.load(root)
    gone = sum(not corpus.audio_path(i).is_file() for i in corpus.utterances.query("partition != 'unlabelled'").index)
    assert f"{gone} segments have no sound file in Audios/Audios" in corpus.notes
    assert corpus.words(corpus.utterances.index[0]).empty


# size

MEASURE = """
import re, sys
from pathlib import Path
from serbench.datasets.msp_podcast.reader import load
corpus = load(Path(sys.argv[1]))
rows, ratings = len(corpus.utterances), int(corpus.utterances["raters"].sum())
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # ru_maxrss would count the parent's peak
print(rows, ratings, int(peak[1]) * 1024 / 1e9)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_label_files_of_2_0_are_read_whole_within_1_5_gigabytes(tmp_path: Path) -> None:
    corpora.write_msp_podcast(tmp_path, ratings=1_446_224)
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, ratings, gigabytes = map(float, done.stdout.split())
    assert (rows, ratings) == (267905, 1_446_224)
    assert gigabytes < 1.5

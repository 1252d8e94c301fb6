"""The embedded demo corpus: counts, disjoint speakers, word times, traces, determinism, and what can be learnt from it.

Learnability is measured with tools that know nothing of the synthesiser: openSMILE, scipy and scikit-learn.
"""

from __future__ import annotations

import filecmp
import json
import os
import pickle
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.signal
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import recall_score

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.demo import reader as demo, writing
from serbench.datasets.demo.dialogues import dialogues
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import OFFICIAL, Corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return demo.load()


@pytest.fixture(scope="module")
def sounds(corpus: Corpus) -> dict[str, np.ndarray]:
    return {str(item): read(corpus, str(item)) for item in corpus.utterances.index}


def read(corpus: Corpus, item: str) -> np.ndarray:
    with wave.open(str(corpus.audio_path(item)), "rb") as stream:
        assert (stream.getnchannels(), stream.getsampwidth(), stream.getframerate()) == (1, 2, 16000)
        return np.frombuffer(stream.readframes(stream.getnframes()), "<i2") / 32768.0


def decibel(x: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(np.square(x)) + 1e-12))


# ---- the table


def test_counts_are_the_documented_ones(corpus: Corpus) -> None:
    table = corpus.utterances
    labelled = table[table["partition"] != "unlabelled"]
    assert len(labelled) == 600
    assert dict(table["partition"].value_counts()) == {"train": 288, "test": 192, "unlabelled": 144, "dev": 120}
    assert table["speaker"].nunique() == 26
    assert table.groupby("gender")["speaker"].nunique().to_dict() == {"female": 13, "male": 13}
    speakers = table.groupby("partition")["speaker"].nunique().to_dict()
    assert speakers == {"train": 8, "dev": 4, "test": 8, "unlabelled": 6}
    assert corpus.expected["utterances"] == len(table) == 744
    assert corpus.expected["recordings"] == len(corpus.recordings) == 100
    assert corpus.expected["dialogues"] == table["dialogue"].nunique() == 62


def test_no_speaker_or_dialogue_crosses_partitions(corpus: Corpus) -> None:
    both = pd.concat([corpus.utterances, corpus.recordings])
    assert both.groupby("speaker")["partition"].nunique().max() == 1
    assert both.groupby("dialogue")["partition"].nunique().max() == 1
    assert both.groupby("dialogue")["speaker"].nunique().eq(2).all()


def test_labels_are_on_their_scales_and_absent_from_the_pool(corpus: Corpus) -> None:
    labels = corpus.utterances[["emotion", "raw_emotion", "arousal", "valence", "dominance"]]
    pool = corpus.utterances["partition"].eq("unlabelled").to_numpy(dtype=bool)
    assert labels[pool].isna().all(axis=None)
    assert labels[~pool].notna().all(axis=None)
    assert labels.loc[~pool, ["arousal", "valence", "dominance"]].stack().between(1, 7).all()
    shares = labels.loc[~pool, "emotion"].value_counts(normalize=True)
    assert set(shares.index) == {"anger", "happiness", "neutral", "sadness"}
    assert shares.between(0.15, 0.35).all()


def test_tasks_come_in_the_stated_order(corpus: Corpus) -> None:
    assert [t.name for t in corpus.tasks] == ["emotion", "attributes", "arousal", "valence", "dominance", "traces"]
    assert corpus.splits == {"official": (OFFICIAL,)}
    roles = OFFICIAL.assign(corpus.items(corpus.task()))
    assert roles.value_counts().to_dict() == {"train": 288, "test": 192, "dev": 120}
    assert len(corpus.items(corpus.task("traces"))) == 100
    assert corpus.task("traces").frame_seconds == 0.1


def test_context_is_the_last_turn_of_either_side(corpus: Corpus) -> None:
    for _, dialogue in corpus.utterances.groupby("dialogue"):
        last: dict[str, str] = {}
        for item, row in dialogue.sort_values("turn").iterrows():
            other = [i for who, i in last.items() if who != row["speaker"]]
            assert (None if pd.isna(row["previous"]) else row["previous"]) == last.get(row["speaker"])
            assert (None if pd.isna(row["interlocutor"]) else row["interlocutor"]) == (other[0] if other else None)
            last[row["speaker"]] = str(item)
    assert corpus.has_dialogues


def test_some_turns_follow_a_turn_of_the_same_speaker(corpus: Corpus) -> None:
    table = corpus.utterances.sort_values(["dialogue", "turn"])
    same = table["speaker"].eq(table.groupby("dialogue")["speaker"].shift())
    assert 0.05 < same.mean() < 0.3


# ---- the audio


def test_utterances_last_one_to_four_seconds_and_as_long_as_the_table_says(corpus: Corpus, sounds) -> None:
    for item, row in corpus.utterances.iterrows():
        seconds = len(sounds[str(item)]) / 16000
        assert 1.0 <= seconds <= 4.0
        assert row["dialogue_end"] - row["dialogue_start"] == pytest.approx(seconds, abs=1e-6)


def test_levels_are_sane_and_nothing_clips(sounds) -> None:
    levels = [decibel(x) for x in sounds.values()]
    assert -30.0 < min(levels) < max(levels) < -15.0
    assert max(np.abs(x).max() for x in sounds.values()) < 0.99
    assert all(abs(x.mean()) < 0.01 for x in sounds.values())


def test_sound_is_where_the_words_are(corpus: Corpus, sounds) -> None:
    for item, x in sounds.items():
        words = corpus.words(item)
        assert (words["start"] < words["end"]).all()
        assert words["start"].iloc[0] >= 0.0
        assert words["end"].iloc[-1] <= len(x) / 16000
        assert (words["start"].to_numpy()[1:] >= words["end"].to_numpy()[:-1] - 1e-9).all()
        assert " ".join(words["word"]) == corpus.utterances.loc[item, "text"]
        spans = [slice(round(s * 16000), round(e * 16000)) for s, e in zip(words["start"], words["end"], strict=True)]
        outside = np.ones(len(x), bool)
        for span in spans:
            assert decibel(x[span]) > -48.0
            outside[span.start : span.stop + 320] = False  # 20 ms in which the tract still rings
        assert decibel(x[outside]) < decibel(x[~outside]) - 20.0


def test_recordings_hold_both_voices_with_the_partner_softer(corpus: Corpus, sounds) -> None:
    differences = []
    for item, row in list(corpus.recordings.iterrows())[::7]:
        mixed = read(corpus, str(item))
        assert len(mixed) == round(row["dialogue_end"] * 16000)
        for turn, said in corpus.utterances[corpus.utterances["dialogue"] == row["dialogue"]].iterrows():
            first = round(said["dialogue_start"] * 16000)
            part, alone = mixed[first : first + len(sounds[str(turn)])], sounds[str(turn)]
            gain = part @ alone / (alone @ alone)
            differences.append((said["speaker"] == row["speaker"], 20.0 * np.log10(gain)))
    own = [g for mine, g in differences if mine]
    other = [g for mine, g in differences if not mine]
    np.testing.assert_allclose(own, 0.0, atol=0.5)
    np.testing.assert_allclose(other, -9.0, atol=1.5)  # overlapping turns shift it a little


def test_words_of_recordings_are_the_words_of_its_turns(corpus: Corpus) -> None:
    for item, row in list(corpus.recordings.iterrows())[::9]:
        own = corpus.utterances["dialogue"].eq(row["dialogue"]) & corpus.utterances["speaker"].eq(row["speaker"])
        moved = []
        for turn, said in corpus.utterances[own].sort_values("turn").iterrows():
            words, offset = corpus.words(str(turn)), said["dialogue_start"]
            moved.append(words.assign(start=words["start"] + offset, end=words["end"] + offset))
        expected = pd.concat(moved, ignore_index=True)
        pd.testing.assert_frame_equal(corpus.words(str(item)), expected, atol=1e-9)


# ---- the traces


def test_traces_have_ten_frames_a_second_for_the_whole_recording(corpus: Corpus) -> None:
    for item in corpus.recordings.index:
        trace = corpus.trace(str(item))
        assert list(trace.columns) == ["time", "arousal", "valence", "liking"]
        assert len(trace) == round(len(read(corpus, str(item))) / 1600)
        np.testing.assert_allclose(trace["time"], np.arange(len(trace)) / 10.0, atol=1e-9)
        assert trace[["arousal", "valence", "liking"]].abs().le(1.0).all(axis=None)


def test_traces_follow_the_labels_of_the_turns_late_and_imperfectly(corpus: Corpus) -> None:
    lagged: dict[float, list[list[float]]] = {lag: [] for lag in (-2.0, 1.2)}
    labels = []
    for item, row in corpus.recordings.iterrows():
        trace = corpus.trace(str(item))
        own = corpus.utterances["dialogue"].eq(row["dialogue"]) & corpus.utterances["speaker"].eq(row["speaker"])
        for _, turn in corpus.utterances[own].iterrows():
            labels.append([turn["arousal"], turn["valence"]])
            for lag, means in lagged.items():
                inside = trace["time"].between(turn["dialogue_start"] + lag, turn["dialogue_end"] + lag)
                means.append(trace.loc[inside, ["arousal", "valence"]].mean().fillna(0.0).tolist())
    for k in range(2):
        early, late = (np.corrcoef(np.array(labels)[:, k], np.array(lagged[lag])[:, k])[0, 1] for lag in (-2.0, 1.2))
        assert 0.7 < late < 0.97
        assert early < late - 0.3


# ---- generation


def test_a_dialogue_is_the_same_bytes_every_time(corpus: Corpus, tmp_path: Path) -> None:
    for name in ("utterances", "dialogues"):
        (tmp_path / name).mkdir()
    writing._write_audio(tmp_path, next(iter(dialogues())))
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.wav"))
    assert len(made) == 14
    assert all(filecmp.cmp(tmp_path / p, corpus.root / p, shallow=False) for p in made)


@pytest.mark.slow
def test_two_generations_are_byte_identical(corpus: Corpus, tmp_path: Path) -> None:
    second = demo.load(tmp_path / "again")
    names = sorted(p.relative_to(corpus.root) for p in corpus.root.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(second.root) for p in second.root.rglob("*") if p.is_file())
    assert len(names) == 744 + 100 + 6
    assert [n for n in names if not filecmp.cmp(corpus.root / n, second.root / n, shallow=False)] == []
    assert second.digest() == corpus.digest()


def test_labels_are_what_the_simulated_raters_said(corpus: Corpus) -> None:
    ratings, table = corpus.ratings(), corpus.utterances.dropna(subset=["arousal"])
    assert ratings.groupby("id").size().eq(5).all()
    assert ratings["rater"].nunique() == 12
    means = ratings.groupby("id")[["arousal", "valence", "dominance"]].mean().loc[table.index]
    assert np.allclose(means, table[["arousal", "valence", "dominance"]], atol=6e-4)
    votes = ratings.groupby("id")["emotion"].agg(lambda said: said.value_counts().max() if said.mode().size == 1 else 0)
    clear = votes.index[votes > 0]
    most = ratings[ratings["id"].isin(clear)].groupby("id")["emotion"].agg(lambda said: said.mode().iloc[0])
    assert list(most.loc[clear]) == list(table["emotion"].loc[clear])


def test_two_at_once_leave_one_whole_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)

    def slowly(folder: Path, groups: int) -> None:
        together.wait(10)
        (folder / "made").write_text("whole")

    monkeypatch.setattr(writing, "write_corpus", slowly)
    failures: list[BaseException] = []

    def start() -> None:
        try:
            demo.generate(tmp_path / "demo")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo"]
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["corpus.json", "made"]


def test_a_failed_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, groups: int) -> None:
        (folder / "half").write_text("")
        raise OSError("the disk is full")

    monkeypatch.setattr(writing, "write_corpus", fail)
    with pytest.raises(OSError, match="disk is full"):
        demo.generate(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, fresh = tmp_path / ".demo.aaaa.part", tmp_path / ".demo.bbbb.part"
    for part in (old, fresh):
        part.mkdir()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    monkeypatch.setattr(writing, "write_corpus", lambda folder, groups: None)
    demo.generate(tmp_path / "demo")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".demo.bbbb.part", "demo"]


def test_a_larger_pool_changes_nothing_else(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other speakers in whole groups, after the utterances of the plain corpus, which stay as they are."""
    monkeypatch.setattr(writing, "_write_audio", lambda folder, dialogue: None)
    larger = load_corpus("demo", tmp_path / "larger", options={"pool": "200"})
    assert len(larger.unlabelled()) == larger.expected["unlabelled"] == 288
    assert larger.utterances["speaker"].nunique() == larger.expected["speakers"] == 32
    assert larger.utterances["dialogue"].nunique() == larger.expected["dialogues"] == 74
    pd.testing.assert_frame_equal(larger.utterances.loc[corpus.utterances.index], corpus.utterances)
    pd.testing.assert_frame_equal(larger.recordings, corpus.recordings)
    assert larger.digest() != corpus.digest()
    with pytest.raises(SerbenchError, match=r"Expected \{'name': 'demo', 'version': 1\}"):
        load_corpus("demo", tmp_path / "larger")
    for wrong in ("many", "0", "-3"):
        with pytest.raises(SerbenchError, match=f"--option pool={wrong}: expected a number of unlabelled sentences"):
            load_corpus("demo", tmp_path / "none", options={"pool": wrong})


def test_other_folders_and_releases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SerbenchError, match="not the demo corpus"):
        demo.load(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(SerbenchError, match="unknown release of demo '9'"):
        demo.load(None, "9")
    (tmp_path / "corpus.json").write_text(json.dumps({"name": "demo", "version": 0}))
    with pytest.raises(SerbenchError, match="Delete the folder"):
        demo.load(tmp_path)


def test_it_loads_without_audio_and_can_be_sent_to_other_processes(corpus: Corpus, tmp_path: Path) -> None:
    for name in ("corpus.json", "utterances.csv", "recordings.csv", "words.csv", "traces.csv"):
        (tmp_path / name).write_bytes((corpus.root / name).read_bytes())
    copy = pickle.loads(pickle.dumps(demo.load(tmp_path, "1")))
    assert copy.digest() == corpus.digest()
    pd.testing.assert_frame_equal(copy.words("d001_t00_F01"), corpus.words("d001_t00_F01"))
    with pytest.raises(SerbenchError, match="unknown item"):
        copy.trace("d001_t00_F01")


# ---- what can be learnt


def ccc(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Lin (1989), population moments."""
    covariance = np.mean((gold - gold.mean()) * (predicted - predicted.mean()))
    return float(2.0 * covariance / (gold.var() + predicted.var() + (gold.mean() - predicted.mean()) ** 2))


class Bench:
    """Standardised features (clipped at 3 deviations), ridge or logistic, strength chosen on dev, scored on test."""

    def __init__(self, corpus: Corpus) -> None:
        self.table = corpus.items(corpus.task("emotion"))
        self.role = {p: self.table["partition"].eq(p).to_numpy(dtype=bool) for p in ("train", "dev", "test")}

    def ready(self, features: np.ndarray) -> np.ndarray:
        train = features[self.role["train"]]
        return np.clip((features - train.mean(axis=0)) / (train.std(axis=0) + 1e-9), -3.0, 3.0)

    def ccc(self, features: np.ndarray, attribute: str) -> float:
        x, y = self.ready(features), self.table[attribute].to_numpy()
        train, dev, test = (self.role[p] for p in ("train", "dev", "test"))
        models = [Ridge(alpha).fit(x[train], y[train]) for alpha in np.logspace(-1, 4, 11)]
        best = max(models, key=lambda m: ccc(y[dev], m.predict(x[dev])))
        return ccc(y[test], best.predict(x[test]))

    def uar(self, features: np.ndarray) -> float:
        x, y = self.ready(features), self.table["emotion"].to_numpy(dtype=str)
        train, dev, test = (self.role[p] for p in ("train", "dev", "test"))
        models = [LogisticRegression(C=c, max_iter=2000).fit(x[train], y[train]) for c in np.logspace(-3, 1, 5)]
        best = max(models, key=lambda m: recall_score(y[dev], m.predict(x[dev]), average="macro"))
        return float(recall_score(y[test], best.predict(x[test]), average="macro"))


def bag_of_words(bench: Bench) -> np.ndarray:
    vectoriser = CountVectorizer(token_pattern=r"\S+").fit(bench.table["text"][bench.role["train"]])
    return vectoriser.transform(bench.table["text"]).toarray().astype(float)


def test_words_tell_valence_and_little_else(corpus: Corpus) -> None:
    bench = Bench(corpus)
    words = bag_of_words(bench)
    assert 0.4 < bench.ccc(words, "valence") < 0.75
    assert bench.ccc(words, "arousal") < 0.25
    assert bench.ccc(words, "dominance") < 0.25
    assert bench.uar(words) < 0.5


def test_plain_band_levels_tell_some_arousal_and_dominance(corpus: Corpus, sounds) -> None:
    """Level and long-term spectrum (Welch) alone, speaker-disjoint: above chance, well below perfect."""
    bench = Bench(corpus)
    levels = []
    for item in bench.table.index:
        _, power = scipy.signal.welch(sounds[str(item)], 16000, nperseg=512)
        levels.append([10.0 * np.log10(band.mean()) for band in np.array_split(power[2:], 16)])
    assert 0.3 < bench.ccc(np.array(levels), "arousal") < 0.8
    assert 0.2 < bench.ccc(np.array(levels), "dominance") < 0.8


@pytest.mark.slow
def test_egemaps_scores_are_clearly_above_chance_and_clearly_below_perfect(corpus: Corpus) -> None:
    """The functionals are openSMILE's own (`test_opensmile`), from the cache that other tests share."""
    from serbench.features.core.feature_extractor import build
    from serbench.features.extraction.extract import extract

    bench = Bench(corpus)
    made = extract(bench.table, corpus.root, build("egemaps"))
    features = np.concatenate([made[str(i)] for i in bench.table.index])
    scores = {a: bench.ccc(features, a) for a in ("arousal", "valence", "dominance")}
    assert 0.5 < scores["arousal"] < 0.8
    assert 0.1 < scores["valence"] < 0.5
    assert 0.4 < scores["dominance"] < 0.78
    assert 0.45 < bench.uar(features) < 0.75
    both = np.hstack([features, bag_of_words(bench)])
    assert bench.ccc(both, "valence") > scores["valence"] + 0.05
    alone = [bench.ccc(features[:, [k]], "arousal") for k in range(features.shape[1])]
    assert max(alone) < scores["arousal"] - 0.1

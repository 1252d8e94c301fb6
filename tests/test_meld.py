"""MELD: the real label files against published counts, every known trap on a miniature copy, down-mixing, bad input."""

from __future__ import annotations

import builtins
import csv
import datetime
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.doctor import _orphans
from serbench.datasets import _meld_video as video
from serbench.datasets import _mock_meld, meld
from serbench.datasets._corpus import Corpus
from serbench.datasets._errors import SerbenchError

UTTERANCES = 40


@pytest.fixture(scope="module")
def real(test_data: Path) -> Corpus:
    return meld.load(test_data / "meld_csv")


@pytest.fixture(scope="module")
def rows(test_data: Path) -> pd.DataFrame:
    """The label files read without serbench."""
    parts = []
    for split in ("train", "dev", "test"):
        with (test_data / "meld_csv" / f"{split}_sent_emo.csv").open(encoding="utf-8", newline="") as stream:
            parts += [{**row, "split": split} for row in csv.DictReader(stream)]
    return pd.DataFrame(parts)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("meld")
    _mock_meld.write(root, utterances=UTTERANCES)
    return root


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("meld_traps")
    _mock_meld.write(root, utterances=UTTERANCES, traps=True)
    return root


@pytest.fixture
def labels(plain: Path, tmp_path: Path) -> Path:
    """A copy of the miniature's label files that a test may spoil."""
    for name in _mock_meld.LABELS.values():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(plain / name, tmp_path / name)
    return tmp_path


# ---- the real label files -------------------------------------------------------------------------------------------


def test_rows_and_classes_are_the_published_ones(real: Corpus) -> None:
    table = real.utterances
    assert table["partition"].value_counts().to_dict() == {"train": 9989, "dev": 1109, "test": 2610}
    order = ["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]
    published = {
        "train": [4710, 1743, 1205, 1109, 683, 271, 268],
        "dev": [470, 163, 150, 153, 111, 22, 40],
        "test": [1256, 402, 281, 345, 208, 68, 50],
    }
    sentiments = {"train": [4710, 2945, 2334], "dev": [470, 406, 233], "test": [1256, 833, 521]}
    for split, part in table.groupby("partition"):
        assert part["raw_emotion"].value_counts()[order].tolist() == published[str(split)]
        found = part["sentiment"].value_counts()[["neutral", "negative", "positive"]].tolist()
        assert found == sentiments[str(split)]
    assert table["emotion"].eq("happiness").sum() == 1743 + 163 + 402


def test_expected_counts_hold_on_the_real_files(real: Corpus) -> None:
    table = real.utterances
    for key, count in real.expected.items():
        chosen = table
        kind, _, within = key.rpartition("@") if "@" in key else ("", "", key)
        for condition in (c for c in within.split(",") if "=" in c):
            column, _, value = condition.partition("=")
            chosen = chosen[chosen[column] == value]
        if kind:
            assert chosen[kind.removesuffix("s")].nunique() == count, key
        elif "=" in key:
            assert len(chosen) == count, key
    assert len(table) == real.expected["utterances"]
    assert table["speaker"].nunique() == real.expected["speakers"]


def test_context_counts_are_the_published_ones(real: Corpus, rows: pd.DataFrame) -> None:
    table = real.utterances
    split = table["partition"]
    own = table["previous"].notna().groupby(split).sum()
    other = table["interlocutor"].notna().groupby(split).sum()
    either = (table["previous"].notna() | table["interlocutor"].notna()).groupby(split).sum()
    assert own.to_dict() == {"train": 7174, "dev": 766, "test": 1864}
    assert other.to_dict() == {"train": 8499, "dev": 974, "test": 2197}
    assert either.to_dict() == {"train": 8951, "dev": 995, "test": 2330}
    ordered = table.sort_values(["dialogue", "turn"])
    goes_on = ordered["speaker"].eq(ordered.groupby("dialogue")["speaker"].shift())
    assert goes_on.groupby(ordered["partition"]).sum().to_dict() == {"train": 2009, "dev": 212, "test": 565}
    people = table.groupby(["partition", "dialogue"])["speaker"].nunique()
    assert people.max() == 9
    assert people.eq(2).groupby("partition").sum().to_dict() == {"train": 463, "dev": 52, "test": 128}
    assert people.eq(1).groupby("partition").sum().to_dict() == {"train": 96, "dev": 6, "test": 21}
    for name, dialogue in list(rows.groupby(["split", "Dialogue_ID"]))[::37]:
        last: dict[str, str] = {}
        for row in sorted(dialogue.to_dict("records"), key=lambda r: int(r["Utterance_ID"])):
            item = f"{name[0]}/dia{name[1]}_utt{row['Utterance_ID']}"
            others = [i for who, i in last.items() if who != row["Speaker"]]
            found = real.row(item)
            assert (found["previous"] if pd.notna(found["previous"]) else None) == last.get(row["Speaker"])
            expected = max(others, key=list(last.values()).index, default=None)
            assert (found["interlocutor"] if pd.notna(found["interlocutor"]) else None) == expected
            last.pop(row["Speaker"], None)
            last[row["Speaker"]] = item


def test_usable_clips_are_13706(real: Corpus) -> None:
    assert real.known_unusable <= set(real.utterances.index)
    usable = real.utterances.drop(index=list(real.known_unusable))
    assert usable["partition"].value_counts().to_dict() == {"train": 9988, "dev": 1108, "test": 2610}
    assert real.utterances.loc[list(real.known_unusable), "emotion"].eq("neutral").all()


def test_dialogue_numbers_restart_in_each_split_so_ids_carry_the_split(real: Corpus) -> None:
    ids = real.utterances.index
    bare = ids.str.split("/").str[1]
    assert ids.is_unique
    assert bare.duplicated().sum() > 2000
    assert {"train/dia0_utt0", "dev/dia0_utt0", "test/dia0_utt0"} <= set(ids)
    train = real.utterances.loc[real.utterances["partition"] == "train", "dialogue_number"]
    assert sorted(set(range(1039)) - set(train)) == [60]
    dialogues = real.utterances.groupby("partition")["dialogue"].nunique()
    assert dialogues.to_dict() == {"train": 1038, "dev": 114, "test": 280}


def test_sr_no_is_no_key(rows: pd.DataFrame, real: Corpus) -> None:
    assert rows.loc[rows["split"] == "train", "Sr No."].duplicated().sum() == 57
    assert real.utterances.index.is_unique


def test_one_digit_hours_are_read(rows: pd.DataFrame, real: Corpus) -> None:
    one_digit = rows["StartTime"].str.match(r"^\d:")
    assert one_digit.groupby(rows["split"]).sum().to_dict() == {"train": 2412, "dev": 270, "test": 685}
    ids = rows["split"] + "/dia" + rows["Dialogue_ID"] + "_utt" + rows["Utterance_ID"]
    sample = pd.Series(rows["EndTime"].to_numpy(), ids)[::97]
    for item, text in sample.items():
        clock = datetime.datetime.strptime(text, "%H:%M:%S,%f") - datetime.datetime(1900, 1, 1)
        assert real.row(str(item))["dialogue_end"] == pytest.approx(clock.total_seconds(), abs=1e-9)


def test_times_are_unreliable_so_the_utterance_number_orders_turns(real: Corpus) -> None:
    table = real.utterances.sort_values(["dialogue", "turn"])
    backwards = table.groupby("dialogue")["dialogue_start"].diff() < 0
    assert backwards.groupby(table["partition"]).sum().to_dict() == {"train": 23, "dev": 4, "test": 4}
    flags = table["duration_flag"]
    assert flags["test/dia155_utt3"] == "zero"
    assert {flags["test/dia38_utt4"], flags["test/dia220_utt0"], flags["train/dia309_utt0"]} == {"very long"}
    assert flags[flags == "very long"].groupby(table["partition"]).size().to_dict() == {"train": 7, "dev": 2, "test": 2}
    assert flags["train/dia71_utt0"] == "very short"


def test_turns_that_ended_before_are_the_online_context(test_data: Path, real: Corpus) -> None:
    online = meld.load(test_data / "meld_csv", context="ended").utterances
    table = real.utterances
    for column in ("previous", "interlocutor"):
        known = online[column].dropna()
        ends = table.loc[known.to_numpy(dtype=object), "dialogue_end"].to_numpy()
        assert (ends <= table.loc[known.index, "dialogue_start"].to_numpy()).all()
        assert table[column].notna().sum() > len(known) > 0.95 * table[column].notna().sum()


def test_episodes_and_rows_that_cross_the_official_split_are_told(real: Corpus) -> None:
    table = real.utterances.reset_index()
    assert (table.groupby("episode")["partition"].nunique() == 3).sum() == 67
    place = ["episode", "dialogue_start", "dialogue_end"]
    train = table["partition"].eq("train")
    assert table[train].duplicated(place).sum() == 20
    crossing = table.groupby(place)["partition"].nunique() > 1
    assert crossing.sum() == 5
    met = table[~train & table.set_index(place).index.isin(table[train].set_index(place).index)]
    tested = set(met.loc[met["partition"] == "test", "id"])
    assert tested == {"test/dia85_utt0", "test/dia85_utt1", "test/dia117_utt8"}
    told = next(note for note in real.notes if "not speaker-independent" in note)
    assert all(item.removeprefix("test/") in told for item in tested)
    assert "67 episodes" in told


def test_several_people_at_once_are_marked(real: Corpus) -> None:
    table = real.utterances
    forms = set(table.loc[table["joint_speaker"], "speaker"])
    assert {"All", "Both", "Ross and Joey", "Joey/Drake", "Phoebe/Waitress"} <= forms
    assert len(forms - {"Her-Friends"}) == 18
    assert not forms & set(meld.LEADS)
    assert table["speaker"].nunique() == 304


def test_official_split_shares_speakers_and_says_so(real: Corpus) -> None:
    (fold,) = real.folds("official")
    role = fold.assign(real.utterances)
    speakers = {r: set(real.utterances.loc[(role == r).to_numpy(dtype=bool), "speaker"]) for r in ("train", "test")}
    assert len(speakers["test"] - speakers["train"]) == 31
    assert speakers["test"] & speakers["train"]
    assert "speaker" in real.shared


@pytest.mark.parametrize("fold", range(7))
def test_speaker_disjoint_folds_share_neither_speakers_nor_dialogues(real: Corpus, fold: int) -> None:
    table = real.utterances
    role = real.folds("speaker-disjoint")[fold].assign(table)
    parts = [table[role.eq(r).fillna(False).to_numpy(dtype=bool)] for r in ("train", "dev", "test")]
    assert all(len(part) > 900 for part in parts)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not set(parts[i]["speaker"]) & set(parts[j]["speaker"])
        assert not set(parts[i]["dialogue"]) & set(parts[j]["dialogue"])
    if fold < 6:
        lead = list(meld.LEADS)[fold]
        assert table["speaker"].eq(lead).sum() == parts[2]["speaker"].eq(lead).sum()


def test_roles_of_a_lead_count_as_the_lead() -> None:
    assert meld.groups_of("Ursula") == {"Phoebe"}
    assert meld.groups_of("Joey/Drake") == {"Joey"}
    assert meld.groups_of("Phoebe and Leslie") == {"Phoebe", "others"}
    assert meld.groups_of("All") == frozenset()
    assert meld.groups_of("Gunther") == {"others"}


def test_speaker_disjoint_pools_every_turn_of_the_groups_once(real: Corpus) -> None:
    roles = [fold.assign(real.utterances) for fold in real.folds("speaker-disjoint")]
    tested = sum(role.eq("test").fillna(False).astype(int) for role in roles)
    assert set(tested) == {0, 1}
    assert tested.sum() == real.utterances["speaker_group"].notna().sum()


def test_tasks_are_the_corpus_own_and_the_mapping_to_iemocap(real: Corpus) -> None:
    assert [t.name for t in real.tasks] == ["emotion", "sentiment", "emotion-4"]
    assert len(real.task().labels) == 7
    four = real.task("emotion-4")
    assert four.labels == ("anger", "happiness", "neutral", "sadness")
    assert four.dropped(real.utterances) == {"disgust": 361, "fear": 358, "surprise": 1636}


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
        (root / _mock_meld.FOLDERS[split]).rename(root / split / _mock_meld.FOLDERS[split])
        (root / _mock_meld.LABELS[split]).rename(root / split / _mock_meld.LABELS[split])


def _as_audio(root: Path) -> None:
    """The layout of `audio/{train,dev,test}/diaD_uttU.flac`; names alone matter here."""
    for split, folder in _mock_meld.FOLDERS.items():
        (root / "audio" / split).mkdir(parents=True)
        for clip in (root / folder).iterdir():
            clip.rename(root / "audio" / split / f"{clip.stem}.flac")


def test_labels_alone_in_a_clone_of_the_repository(labels: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "data/MELD").mkdir(parents=True)
    for name in _mock_meld.LABELS.values():
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
    _mock_meld.write(tmp_path, utterances=UTTERANCES)
    assert meld.load(tmp_path).digest() == meld.load(plain).digest()
    pytest.importorskip("av")
    corpus = meld.load(plain)
    loud = {}
    for emotion in ("anger", "sadness"):
        ids = corpus.utterances.index[corpus.utterances["emotion"] == emotion]
        levels = [np.sqrt(np.mean(video.decode(corpus.source_path(i))[0] ** 2)) for i in ids]
        loud[emotion] = np.mean(levels)
    assert loud["anger"] > loud["sadness"]


# ---- down-mixing ----------------------------------------------------------------------------------------------------


def _tones(count: int, samples: int = 4800) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One sine per channel, all at different frequencies, so that weights can be read off a spectrum."""
    time = np.arange(samples) / 48000
    return np.stack([0.2 * np.sin(2 * np.pi * 500 * (i + 1) * time) for i in range(count)]).astype(np.float32)


def _weights(signal: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Amplitude of each channel's tone relative to what was written: 4800 samples hold whole periods of 500 Hz."""
    spectrum = np.abs(np.fft.rfft(signal[:4800])) / 2400 / 0.2
    return spectrum[[50 * (i + 1) for i in range(count)]]


@pytest.mark.parametrize(
    ("layout", "downmix", "expected"),
    [
        # libswresample to mono: centre 1, front 3 dB lower, back another 3 dB, all over the sum of the weights
        ("5.1", "ffmpeg", np.array([2**-0.5, 2**-0.5, 1, 0, 0.5, 0.5]) / (2 + 2**0.5)),
        ("stereo", "ffmpeg", np.array([0.5, 0.5])),
        ("5.1", "mean", np.full(6, 1 / 6)),
        ("stereo", "mean", np.full(2, 1 / 2)),
        ("5.1", "centre", np.array([0, 0, 1, 0, 0, 0])),
        ("stereo", "centre", np.array([1, 0])),
    ],
)
def test_downmix_rules_weigh_channels_as_stated(tmp_path: Path, layout: str, downmix: str, expected: Any) -> None:
    pytest.importorskip("av")
    clip = tmp_path / "clip.mov"
    _lossless(clip, _tones(len(expected)), layout)
    signal, rate = video.decode(clip, downmix)
    assert rate == 48000
    assert signal.shape == (4800,)
    np.testing.assert_allclose(_weights(signal, len(expected)), expected, atol=2e-4)  # 16-bit steps


def _lossless(path: Path, channels: np.ndarray[Any, np.dtype[np.float32]], layout: str) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout=layout)
        packed = np.ascontiguousarray(np.rint(channels * 32767).astype(np.int16).T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_aac_clip_in_six_channels_keeps_the_centre(tmp_path: Path) -> None:
    pytest.importorskip("av")
    tones = _tones(6, 24000)
    _mock_meld.write_mp4(tmp_path / "clip.mp4", tones, 48000, "5.1")
    signal, rate = video.decode(tmp_path / "clip.mp4", "centre")
    assert rate == 48000
    assert abs(len(signal) - 24000) <= 2048  # AAC frames
    assert _weights(signal[9600:], 6)[2] == pytest.approx(1.0, abs=0.05)  # lossy coding
    assert _weights(signal[9600:], 6)[[0, 1, 4, 5]].max() < 0.02


def test_clips_are_extracted_once_and_anew_when_they_change(tmp_path: Path) -> None:
    pytest.importorskip("av")
    import soundfile

    clip = tmp_path / "clips/dia0_utt0.mp4"
    _mock_meld.write_mp4(clip, _tones(2), 48000, "stereo")
    audio = video.ClipAudio("mean", tmp_path / "audio")
    first = audio(clip)
    assert first.parent == tmp_path / "audio/mean/clips"
    stamp = first.stat().st_mtime_ns
    assert audio(clip) == first
    assert first.stat().st_mtime_ns == stamp
    stored, rate = soundfile.read(first, dtype="float32")
    expected, _ = video.decode(clip, "mean")
    assert rate == 48000
    np.testing.assert_allclose(stored, expected, atol=1.01 / 65536)
    _mock_meld.write_mp4(clip, _tones(2, 9600), 48000, "stereo")
    assert audio(clip) != first
    assert video.ClipAudio("centre", tmp_path / "audio")(clip).parent.parent.name == "centre"


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
    from serbench.features._cache import FeatureCache
    from serbench.features._extract import extract
    from serbench.features._extractor import build

    corpus = meld.load(trapped, audio_folder=tmp_path / "audio")
    rows = corpus.utterances[corpus.utterances["dialogue"].str.endswith("/dia0")]
    made = extract(rows, corpus.root, build("waveform"), FeatureCache(tmp_path / "cache" / "features"),
                   jobs=jobs, source=corpus.audio_source)  # fmt: skip
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
    whole = builtins.__import__

    def without_av(name: str, *args: Any, **more: Any) -> Any:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'")
        return whole(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_av)
    corpus = meld.load(plain, downmix="mean")
    with pytest.raises(SerbenchError, match=r"serbench\[video\]"):
        corpus.audio_path("train/dia0_utt0")


def test_clip_without_sound(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SerbenchError, match="no sound track"):
        video.decode(tmp_path / "mute.mp4")


# ---- bad input ------------------------------------------------------------------------------------------------------


def _spoil(root: Path, old: str, new: str, split: str = "train") -> None:
    path = root / _mock_meld.LABELS[split]
    text = path.read_bytes().decode("utf-8")
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("utf-8"))


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


def test_missing_column(labels: Path) -> None:
    _spoil(labels, "Emotion,", "Feeling,")
    with pytest.raises(SerbenchError, match=r"train_sent_emo\.csv' lacks the column\(s\) Emotion; it has: Sr No\."):
        meld.load(labels)


def test_number_that_is_none(labels: Path) -> None:
    path = labels / "dev_sent_emo.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[2, "Dialogue_ID"] = "two"
    table.to_csv(path, index=False)
    with pytest.raises(SerbenchError, match=r"Dialogue_ID of 2 in .*dev_sent_emo\.csv is 'two'"):
        meld.load(labels)


def test_number_that_is_not_whole(labels: Path) -> None:
    path = labels / "dev_sent_emo.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[0, "Utterance_ID"] = "0.5"
    table.to_csv(path, index=False)
    with pytest.raises(SerbenchError, match="Expected a whole number"):
        meld.load(labels)


def test_time_that_is_none(labels: Path) -> None:
    path = labels / "dev_sent_emo.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[0, "StartTime"] = "noon"
    table.to_csv(path, index=False)
    with pytest.raises(SerbenchError, match=r"StartTime of 'dev/dia0_utt0' .*'noon'"):
        meld.load(labels)


def test_unknown_class(labels: Path) -> None:
    _spoil(labels, ",joy,", ",glee,")
    with pytest.raises(SerbenchError, match=r"unknown class 'glee' of 'train/dia\d+_utt\d+'.*joy"):
        meld.load(labels)


def test_unknown_sentiment(labels: Path) -> None:
    _spoil(labels, ",joy,positive", ",joy,sunny")
    with pytest.raises(SerbenchError, match="unknown sentiment 'sunny'"):
        meld.load(labels)


def test_a_path_cannot_come_from_the_label_file(labels: Path) -> None:
    path = labels / "dev_sent_emo.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[0, "Utterance_ID"] = "../../../etc/passwd"
    table.to_csv(path, index=False)
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
        _mock_meld.write(tmp_path, release="2.0")
    with pytest.raises(SerbenchError, match="Ask for 20"):
        _mock_meld.write(tmp_path, utterances=3)

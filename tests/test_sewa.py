"""SEWA in its three packages: traces, turns, words, the split around hidden labels, known traps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.corpora.findings import count
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.mocks import sewa as mock_sewa
from serbench.datasets.schema.corpus import Corpus
from serbench.datasets.sewa import files, reader as sewa

RELEASES = ("2017", "2018", "2019")


@pytest.fixture(scope="module")
def roots(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {release: miniature("sewa", release=release, utterances=48) for release in RELEASES}


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> Path:
    return miniature("sewa", release="2017", utterances=48, traps=True)


@pytest.fixture
def package(roots: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the package of 2017, without sound, that a test may spoil."""
    for folder in ("labels", "turns", "transcriptions"):
        shutil.copytree(roots["2017"] / folder, tmp_path / folder)
    return tmp_path


@pytest.fixture(params=RELEASES)
def corpus(roots: dict[str, Path], request: pytest.FixtureRequest) -> Corpus:
    return sewa.load(roots[request.param], request.param)


def _roles(corpus: Corpus, table: pd.DataFrame, split: str = "official") -> dict[str, set[str]]:
    (fold,) = corpus.folds(split)
    role = fold.assign(table)
    return {r: set(table.index[role.eq(r).fillna(False)]) for r in ("train", "dev", "test")}


# ---- names and releases ---------------------------------------------------------------------------------------------


def test_names_follow_the_grammar_of_the_packages() -> None:
    assert files.parse_name("Train_07") == files.Recording("train", "DE", 7, "Train_07")
    assert files.parse_name("devel_hu_14") == files.Recording("dev", "HU", 14, "Devel_HU_14")
    assert files.parse_name("Test_CN_70") == files.Recording("test", "CN", 70, "Test_CN_70")
    assert all(files.parse_name(n) is None for n in ("Train_7", "Train_FR_01", "Train_01_x", "readme"))


@pytest.mark.parametrize("release", RELEASES)
def test_release_is_told_from_the_label_files(roots: dict[str, Path], release: str) -> None:
    assert sewa.load(roots[release]).release == release


def test_published_numbers_of_recordings() -> None:
    assert {release: sewa._expected(release)["recordings"] for release in RELEASES} == {
        "2017": 64,
        "2018": 130,
        "2019": 200,
    }
    assert sewa._expected("2019")["recordings@partition=test,culture=CN"] == 70
    for release in RELEASES:
        (whole, *parts) = sewa._expected(release).values()
        assert sum(parts) == whole


def test_recordings_are_counted_by_partition_and_culture(corpus: Corpus) -> None:
    planned = mock_sewa.COUNTS[corpus.release]
    found = {key: count(corpus, key) for key in corpus.expected}
    assert found["recordings"] == sum(planned.values())
    parts = {"Train": "train", "Devel": "dev", "Test": "test"}
    for name, number in planned.items():
        part, _, culture = name.partition("_")
        assert found[f"recordings@partition={parts[part]},culture={culture or 'DE'}"] == number


def test_culture_gives_the_language_and_none_in_the_name_is_german(roots: dict[str, Path]) -> None:
    first = sewa.load(roots["2017"]).recordings
    last = sewa.load(roots["2019"]).recordings
    assert first is not None
    assert last is not None
    assert set(first["culture"]) == {"DE"}
    pairs = set(zip(last["culture"], last["language"], strict=True))
    assert pairs == {("CN", "zh"), ("DE", "de"), ("HU", "hu")}
    assert last["gender"].isna().all()


def test_package_of_2019_in_two_folders(roots: dict[str, Path]) -> None:
    whole = sewa.load(roots["2019"])
    assert whole.root == roots["2019"]
    assert whole.recordings is not None
    assert set(whole.recordings["partition"]) == {"train", "dev", "test"}
    assert all(whole.source_path(item).is_file() for item in whole.recordings.index)
    alone = sewa.load(roots["2019"] / "AVEC2019_CES_traindevel")
    assert alone.recordings is not None
    assert set(alone.recordings["partition"]) == {"train", "dev"}


# ---- traces ---------------------------------------------------------------------------------------------------------


def test_traces_hold_what_the_files_hold(corpus: Corpus, roots: dict[str, Path]) -> None:
    assert corpus.recordings is not None
    (path, *_) = sorted(roots[corpus.release].rglob("labels/Devel*.csv"))
    header = 0 if corpus.release == "2019" else None
    raw = pd.read_csv(path, sep=";", quotechar="'", header=header)
    trace = corpus.trace(path.stem)
    assert list(trace.columns) == ["time", "arousal", "valence", "liking"]
    np.testing.assert_array_equal(trace.to_numpy(), raw.iloc[:, 1:].to_numpy(dtype=float))
    assert len(trace) == corpus.recordings.loc[path.stem, "frames"]
    task = corpus.task()
    assert (task.name, task.kind, task.frame_seconds) == ("traces", "continuous", 0.1)
    np.testing.assert_allclose(np.diff(trace["time"]), 0.1, atol=1e-9)


def test_first_timestamp_is_zero_or_a_frame(roots: dict[str, Path]) -> None:
    """2017 stamps a frame's beginning, 2019 its end: the same frames belong to the same second."""
    for release, first in (("2017", 0.0), ("2019", 0.1)):
        corpus = sewa.load(roots[release], units="segments", segment_seconds=1.0)
        name = corpus.utterances["recording"].iloc[0]
        trace = corpus.trace(name)
        assert trace["time"].iloc[0] == pytest.approx(first)
        assert len(corpus.trace(f"{name}_s000")) == 10
        parts = [corpus.trace(i) for i in corpus.utterances.index[corpus.utterances["recording"] == name]]
        assert sum(map(len, parts)) == len(trace)


def test_first_frames_are_exact_zeros(corpus: Corpus) -> None:
    assert corpus.recordings is not None
    trace = corpus.trace(corpus.recordings.index[corpus.recordings["labels"] == "given"][0])
    assert (trace.iloc[: mock_sewa.ZEROS, 1:] == 0).all(axis=None)
    assert (trace.iloc[mock_sewa.ZEROS :, 1:] != 0).any(axis=None)


def test_changed_labels_change_the_digest(package: Path) -> None:
    before = sewa.load(package).digest()
    path = package / "labels/Train_01.csv"
    lines = path.read_text().splitlines()
    lines[-1] = lines[-1].rsplit(";", 1)[0] + ";0.123456"
    path.write_text("\n".join(lines))
    assert sewa.load(package).digest() != before


# ---- the split ------------------------------------------------------------------------------------------------------


def test_hidden_test_labels_are_listed_and_in_no_fold(corpus: Corpus) -> None:
    assert corpus.recordings is not None
    hidden = corpus.recordings[corpus.recordings["partition"] == "test"]
    assert len(hidden) >= 2
    assert hidden["labels"].eq("hidden").all()
    assert not set(hidden.index) & set(corpus.items(corpus.task("traces")).index)
    for table in (corpus.recordings, corpus.utterances):
        assert not any("Test" in item for ids in _roles(corpus, table).values() for item in ids)
    with pytest.raises(SerbenchError, match="never given out"):
        corpus.trace(hidden.index[0])


def test_devel_is_the_test_set_and_every_fifth_training_recording_selects(corpus: Corpus) -> None:
    assert corpus.recordings is not None
    roles = _roles(corpus, corpus.recordings)
    names = set(corpus.recordings.index)
    assert roles["test"] == {n for n in names if n.startswith("Devel")}
    assert roles["dev"] == {n for n in names if n.startswith("Train") and n.endswith("_05")}
    assert roles["train"] == {n for n in names if n.startswith("Train")} - roles["dev"]


def test_selection_rule_on_34_recordings() -> None:
    recordings = tuple(files.Recording("train", "HU", i, f"Train_HU_{i:02d}") for i in range(1, 35))
    assert sewa._selected(recordings) == {f"Train_HU_{i:02d}" for i in (5, 10, 15, 20, 25, 30)}
    assert sewa._selected(recordings[:3]) == {"Train_HU_03"}


def test_utterances_follow_their_recordings_through_the_split(corpus: Corpus) -> None:
    assert corpus.recordings is not None
    owners = _roles(corpus, corpus.recordings)
    for role, ids in _roles(corpus, corpus.utterances).items():
        assert set(corpus.utterances.loc[sorted(ids), "recording"]) == owners[role]
    assert corpus.subset_group == "recording"


def test_cultures_within_and_across(roots: dict[str, Path]) -> None:
    corpus = sewa.load(roots["2019"])
    assert corpus.recordings is not None
    assert list(corpus.splits) == ["official", "within-de", "within-hu", "de-to-hu", "hu-to-de"]
    roles = _roles(corpus, corpus.recordings, "de-to-hu")
    assert all("_DE_" in n for n in roles["train"] | roles["dev"])
    assert all("_HU_" in n for n in roles["test"])
    assert list(sewa.load(roots["2017"]).splits) == ["official"]


# ---- utterances -----------------------------------------------------------------------------------------------------


def test_turns_are_the_utterances_with_mean_labels(roots: dict[str, Path]) -> None:
    corpus = sewa.load(roots["2017"])
    path = roots["2017"] / "turns/Devel_02.csv"
    spans = np.loadtxt(path, delimiter=";")
    raw = pd.read_csv(roots["2017"] / "labels/Devel_02.csv", sep=";", header=None)
    rows = corpus.utterances[corpus.utterances["recording"] == "Devel_02"]
    np.testing.assert_allclose(rows[["start", "end"]], spans)
    for (start, end), (_, row) in zip(spans, rows.iterrows(), strict=True):
        frames = range(round(start * 10), round(end * 10))
        expected = [np.mean([raw[k][i] for i in frames]) for k in (2, 3, 4)]
        np.testing.assert_allclose(row[["arousal", "valence", "liking"]].astype(float), expected, atol=1e-12)


def test_turns_of_test_recordings_have_no_labels(roots: dict[str, Path]) -> None:
    table = sewa.load(roots["2017"]).utterances
    assert table.loc[table["partition"] == "test", ["arousal", "valence", "liking"]].isna().all(axis=None)
    assert (table["partition"] == "test").sum() == 8


def test_context_is_the_previous_turn_of_the_same_person(roots: dict[str, Path]) -> None:
    table = sewa.load(roots["2017"]).utterances
    assert table["previous"]["Train_01_t001"] == "Train_01_t000"
    assert table["previous"].isna().sum() == table["recording"].nunique()
    assert table["interlocutor"].isna().all()
    known = table["previous"].dropna()
    ends = table.loc[known.to_numpy(dtype=object), "end"].to_numpy()
    assert (ends <= table.loc[known.index, "start"].to_numpy()).all()


@pytest.mark.parametrize("release", ["2018", "2019"])
def test_without_turns_segments_are_the_utterances_and_there_is_no_context(
    roots: dict[str, Path], release: str
) -> None:
    corpus = sewa.load(roots[release])
    assert not corpus.has_dialogues
    assert any("segments of 4 s" in note for note in corpus.notes)
    for name, rows in corpus.utterances.groupby("recording"):
        total = len(corpus.trace(str(name))) * 0.1
        assert rows["start"].tolist() == [4.0 * i for i in range(len(rows))]
        assert rows["end"].iloc[-1] == pytest.approx(total)
        assert (rows["end"] - rows["start"]).between(2.0, 6.0).all()
    with pytest.raises(SerbenchError, match="units=segments"):
        sewa.load(roots[release], units="turns")


def test_segments_share_out_all_frames(roots: dict[str, Path]) -> None:
    corpus = sewa.load(roots["2018"], segment_seconds=3.0)
    for name, rows in corpus.utterances.groupby("recording"):
        trace = corpus.trace(str(name))
        parts = pd.concat([corpus.trace(item) for item in rows.index])
        np.testing.assert_array_equal(parts["arousal"].to_numpy(), trace["arousal"].to_numpy())


def test_options_may_be_text(roots: dict[str, Path]) -> None:
    typed = sewa.load(roots["2018"], segment_seconds="3")  # type: ignore[arg-type]
    assert typed.digest() == sewa.load(roots["2018"], segment_seconds=3.0).digest()


# ---- words ----------------------------------------------------------------------------------------------------------


def test_words_are_spread_evenly_over_a_segment() -> None:
    words = files.spread_words([(1.0, 3.0, "eins zwei <laughter> drei vier"), (4.0, 5.0, "<noise>")])
    assert words["word"].tolist() == ["eins", "zwei", "drei", "vier"]
    np.testing.assert_allclose(words["start"], [1.0, 1.5, 2.0, 2.5])
    np.testing.assert_allclose(words["end"], [1.5, 2.0, 2.5, 3.0])


def test_text_and_words_of_a_turn(roots: dict[str, Path]) -> None:
    corpus = sewa.load(roots["2017"])
    line = (roots["2017"] / "transcriptions/Train_02.csv").read_text().splitlines()[1]
    row = corpus.row("Train_02_t001")
    assert f"'{row['text']}'" == line.split(";", 2)[2]
    words = corpus.words("Train_02_t001")
    assert " ".join(words["word"]) == row["text"]
    assert words["start"].iloc[0] == pytest.approx(0.0, abs=1e-9)
    assert words["end"].iloc[-1] == pytest.approx(row["end"] - row["start"])
    whole = corpus.words("Train_02")
    assert set(words["word"]) <= set(whole["word"])
    assert whole["start"].is_monotonic_increasing


def test_packages_without_transcriptions_have_no_words(roots: dict[str, Path]) -> None:
    corpus = sewa.load(roots["2018"])
    assert corpus.words(corpus.utterances.index[0]).empty
    assert corpus.utterances["text"].isna().all()


def test_alignment_files_replace_the_spreading(package: Path) -> None:
    folder = package / "aligned"
    folder.mkdir()
    start = float((package / "turns/Train_01.csv").read_text().split(";")[0])
    (folder / "Train_01.csv").write_text(f"word,start,end\nhallo,{start + 0.1},{start + 0.3}\n")
    corpus = sewa.load(package, alignment=folder)
    words = corpus.words("Train_01_t000")
    assert words["word"].tolist() == ["hallo"]
    assert words["start"].iloc[0] == pytest.approx(0.1)
    assert corpus.row("Train_01_t000")["text"] == "hallo"
    assert len(corpus.words("Train_02")) == len(sewa.load(package).words("Train_02"))
    (folder / "Train_01.csv").write_text(f"word,start,end\nhallo,{start + 0.1},{start + 0.4}\n")
    later = sewa.load(package, alignment=folder)
    assert len({sewa.load(package).digest(), corpus.digest(), later.digest()}) == 3  # times of words decide numbers
    assert sewa.load(package, alignment=folder).digest() == later.digest()


def test_alignment_as_textgrid(package: Path) -> None:
    folder = package / "aligned"
    folder.mkdir()
    tier = ['"ooTextFile"', '"TextGrid"', "0", "9", "<exists>", "1", '"IntervalTier"', '"words"', "0", "9", "1"]
    (folder / "Train_01.TextGrid").write_text("\n".join([*tier, "0.5", "0.9", '"ja"']))
    assert sewa.load(package, alignment=folder).words("Train_01")["word"].tolist() == ["ja"]


# ---- traps ----------------------------------------------------------------------------------------------------------


def test_semicolons_quotes_and_tags_inside_a_transcription(trapped: Path) -> None:
    corpus = sewa.load(trapped)
    assert corpus.row("Train_01_t000")["text"] == "ja; 'genau' das stimmt"
    assert corpus.row("Train_01_t001")["text"] == ""
    assert corpus.words("Train_01_t001").empty


def test_comma_separated_label_file(trapped: Path, roots: dict[str, Path]) -> None:
    assert ";" not in (trapped / "labels/Train_01.csv").read_text()
    same = sewa.load(roots["2017"]).trace("Train_01")
    pd.testing.assert_frame_equal(sewa.load(trapped).trace("Train_01"), same)


def test_further_columns_of_a_turns_file_are_not_read(trapped: Path) -> None:
    assert (trapped / "turns/Train_01.csv").read_text().splitlines()[0].count(";") == 2
    assert sewa.load(trapped).utterances.loc["Train_01_t000", "end"] > 0


def test_turn_behind_the_labels_is_kept_without_them(trapped: Path) -> None:
    corpus = sewa.load(trapped)
    assert pd.isna(corpus.utterances.loc["Train_01_t004", "arousal"])
    assert "Train_01_t004" not in corpus.items(corpus.task("attributes")).index
    assert any("hold no label frame, such as Train_01_t004" in note for note in corpus.notes)


def test_appledouble_stubs_and_other_case_of_folders(trapped: Path) -> None:
    assert (trapped / "Audio").is_dir()
    assert list((trapped / "labels").glob("._*"))
    corpus = sewa.load(trapped)
    assert corpus.recordings is not None
    assert len(corpus.recordings) == 12
    assert all(corpus.source_path(item).is_file() for item in corpus.recordings.index)


def test_loads_without_audio(package: Path) -> None:
    corpus = sewa.load(package)
    assert corpus.recordings is not None
    assert corpus.recordings.loc["Train_01", "path"] == "audio/Train_01.wav"
    assert len(corpus.recordings) == 12


def test_half_copied_corpus_is_told(package: Path) -> None:
    (package / "labels/Train_02.csv").unlink()
    corpus = sewa.load(package)
    assert any("no label file, such as Train_02" in note for note in corpus.notes)
    assert corpus.recordings is not None
    assert "Train_02" not in _roles(corpus, corpus.recordings)["train"]


def test_miniature_is_deterministic_and_its_traces_can_be_heard(roots: dict[str, Path], tmp_path: Path) -> None:
    import soundfile

    mock_sewa.write(tmp_path, release="2017", utterances=48)
    corpus = sewa.load(roots["2017"])
    assert sewa.load(tmp_path).digest() == corpus.digest()
    rows = corpus.utterances.dropna(subset=["arousal"])
    level = []
    for path, start, end in zip(rows["path"], rows["start"], rows["end"], strict=True):
        part, _ = soundfile.read(corpus.root / path, start=round(start * 16000), stop=round(end * 16000))
        level.append(np.log(np.sqrt(np.mean(part**2))))
    assert np.corrcoef(level, rows["arousal"])[0, 1] > 0.3

"""MSP-IMPROV: speakers, ratings, both spellings of its files, context, and bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.msp_improv import labels, reader as msp_improv


@pytest.fixture(scope="module")
def plain(miniature: Callable[..., Path]) -> Path:
    return miniature("msp-improv", utterances=96)


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> Path:
    return miniature("msp-improv", utterances=96, traps=True)


@pytest.fixture
def improv(plain: Path, tmp_path: Path) -> Path:
    """A copy of the label file alone, that a test may spoil."""
    shutil.copy(plain / "Evaluation.txt", tmp_path)
    return tmp_path


def test_msp_improv_loads_from_the_label_file_alone(improv: Path, plain: Path) -> None:
    alone, whole = msp_improv.load(improv), msp_improv.load(plain)
    assert alone.utterances.index.equals(whole.utterances.index)
    assert alone.utterances["path"].equals(whole.utterances["path"])
    assert alone.utterances["text"].isna().all()
    assert whole.utterances["text"].notna().all()


def test_msp_improv_published_counts_add_up() -> None:
    counts = msp_improv.EXPECTED
    classes = [v for k, v in counts.items() if k.startswith("emotion=")]
    assert sum(classes) == 7798
    assert sum(classes) + counts["raw_emotion=O"] + counts["raw_emotion=X"] == counts["utterances"] == 8438
    assert sum(v for k, v in counts.items() if k.startswith("condition=")) == 8438


def test_msp_improv_name_grammar() -> None:
    name = labels.parse_name("S07H-M03-T-MF12")
    assert name == labels.TurnName("07", "H", "M", "03", "T", "MF", 12)
    assert labels.parse_name("S07H-M03-Q-MF12") is None


@pytest.mark.parametrize("which", ["plain", "traps"])
def test_msp_improv_speaker_is_the_letter_that_says_the_target_sentences(
    plain: Path, trapped: Path, which: str
) -> None:
    corpus = msp_improv.load(plain if which == "plain" else trapped)
    table = corpus.utterances
    position = 0 if which == "plain" else 1
    letters = table.index.str.split("-").str[-1].str[position]
    assert (table["speaker"].str[0] == letters).all()
    assert (table["gender"] == letters.map({"F": "female", "M": "male"})).all()
    targets = table["condition"].isin(["target read", "target improvised"])
    assert (table["speaker"] == table["target_actor"])[targets].all()
    assert (table["speaker"] != table["target_actor"])[~targets].any()
    assert any(f"the {'first' if which == 'plain' else 'second'} letter" in note for note in corpus.notes)
    assert table["speaker"].nunique() == 12


def test_msp_improv_speaker_letter_that_cannot_be_told(improv: Path) -> None:
    blocks = (improv / "Evaluation.txt").read_text().split("\n\n")
    kept = [b for b in blocks if b and b.split("-")[4] in "SP"]
    (improv / "Evaluation.txt").write_text("\n\n".join(kept))
    first, second = msp_improv.load(improv), msp_improv.load(improv, speaker_letter="second")
    assert any("can't be told" in note for note in first.notes)
    assert (first.utterances["speaker"] != second.utterances["speaker"]).all()


def test_msp_improv_activation_may_be_stored_upside_down(plain: Path, trapped: Path) -> None:
    even, turned = msp_improv.load(plain), msp_improv.load(trapped)
    for corpus in (even, turned):
        means = corpus.utterances.groupby("emotion")["arousal"].mean()
        assert means["anger"] > means["sadness"]
    assert (even.utterances["arousal"] == even.utterances["arousal_in_file"]).all()
    np.testing.assert_allclose(turned.utterances["arousal"], 6.0 - turned.utterances["arousal_in_file"])
    as_is = msp_improv.load(trapped, arousal="as-is").utterances
    assert (as_is["arousal"] == as_is["arousal_in_file"]).all()
    assert any("6 - A" in note for note in turned.notes)


def test_msp_improv_values_may_be_nan(trapped: Path) -> None:
    corpus = msp_improv.load(trapped)
    assert corpus.utterances["dominance"].isna().sum() == 1
    assert len(corpus.items(corpus.task("arousal"))) == len(corpus.utterances)
    assert len(corpus.items(corpus.task("dominance"))) == len(corpus.utterances) - 1


def test_msp_improv_prefix_of_labels_and_sounds_differ(plain: Path) -> None:
    corpus = msp_improv.load(plain)
    assert "UTD-IMPROV-S01A-F01-R-FM01.avi" in (plain / "Evaluation.txt").read_text()
    assert corpus.row("MSP-IMPROV-S01A-F01-R-FM01")["path"] == "session1/S01A/R/MSP-IMPROV-S01A-F01-R-FM01.wav"


def test_msp_improv_other_spelling_and_audio_folder(trapped: Path) -> None:
    root = trapped
    assert (root / "Evalution.txt").is_file()
    assert msp_improv.load(root).utterances["path"].str.startswith("Audio/session").all()


def test_msp_improv_soft_labels_are_shares_of_the_raters(plain: Path) -> None:
    corpus = msp_improv.load(plain)
    votes = msp_improv.ratings(plain)
    item = corpus.utterances.index[corpus.utterances["raw_emotion"] == "X"][0]
    shares = votes[votes["id"] == item]["label"].value_counts(normalize=True)
    row = corpus.row(item)
    for column, word in (("soft_neutral", "Neutral"), ("soft_sadness", "Sad"), ("soft_other", "Other")):
        assert row[column] == shares[word]
    assert pd.isna(row["emotion"])
    assert row["raters"] == 5


def test_msp_improv_repeated_and_odd_rater_lines_are_told(trapped: Path) -> None:
    corpus = msp_improv.load(trapped)
    told = " ".join(corpus.notes)
    assert "1 rater lines repeat" in told
    assert "no answer given" in told
    assert corpus.utterances["raters"].max() == 6


def test_msp_improv_context_is_what_the_numbers_give(plain: Path) -> None:
    table = msp_improv.load(plain).utterances
    assert table["interlocutor"].isna().all()
    known = table["previous"].dropna()
    assert len(known) > 0
    for item, previous in known.items():
        before, after = table.loc[previous], table.loc[item]
        assert (before["speaker"], before["dialogue"]) == (after["speaker"], after["dialogue"])
        assert before["turn_number"] < after["turn_number"]
    assert table.loc[table["condition"] == "target read", "previous"].isna().all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("; V:", "; W:", "lacks valence"),
        ("A:", "A:high ", r"arousal in line 1 of .* is 'high"),
        ("-R-FM01.avi", "-Q-FM01.avi", "line 1 of .* can't be read"),
        ("UTD-IMPROV-S01A-F01-R-FM01.avi; ", "UTD-IMPROV-S01A-F01-R-FM01.avi; J", "unknown class"),
        ("UTD-IMPROV-S01A-F01-R-FM01.avi", "../../UTD-IMPROV-S01A-F01-R-FM01.avi", "stands before any turn"),
        ("UTD-IMPROV-S01A-F01-R-FM01.avi", "UTD-IMPROV-../../S01A-F01-R-FM01.avi", "can't be read"),
    ],
)
def test_msp_improv_bad_label_lines(improv: Path, old: str, new: str, message: str, edit: Callable[..., None]) -> None:
    edit(improv / "Evaluation.txt", old, new)
    with pytest.raises(SerbenchError, match=message):
        msp_improv.load(improv)


def test_msp_improv_doubled_turn(improv: Path) -> None:
    path = improv / "Evaluation.txt"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(SerbenchError, match="is the second one for MSP-IMPROV-S01A-F01-R-FM01"):
        msp_improv.load(improv)


def test_msp_improv_two_sound_files_for_one_turn(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    name = "MSP-IMPROV-S01A-F01-R-FM01.wav"
    shutil.copy(tmp_path / "session1/S01A/R" / name, tmp_path / "session1" / name)
    with pytest.raises(SerbenchError, match="two files for one id, MSP-IMPROV-S01A-F01-R-FM01"):
        msp_improv.load(tmp_path)


def test_msp_improv_empty_label_file(tmp_path: Path) -> None:
    (tmp_path / "Evaluation.txt").write_bytes(b"")
    with pytest.raises(SerbenchError, match="not empty"):
        msp_improv.load(tmp_path)


def test_msp_improv_unknown_options(plain: Path) -> None:
    with pytest.raises(SerbenchError, match="unknown value of speaker_letter"):
        msp_improv.load(plain, speaker_letter="third")
    with pytest.raises(SerbenchError, match="unknown value of arousal"):
        msp_improv.load(plain, arousal="up")

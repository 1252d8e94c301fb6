"""EMO-DB: the file-name grammar, the rating and syllable files, the folds; on made-up trees and on the real corpus."""

from __future__ import annotations

import re
import shutil
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.datasets import emodb, registry
from serbench.datasets.core.errors import SerbenchError

NAMES = ("03a01Fa", "08a05Wb", "16b10Tc")
HEADER = "Nr.\tSatz\terkannt\tnatuerlich\n"


def write_wav(path: Path, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(np.zeros(int(16000 * seconds), dtype="<i2").tobytes())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "emo"
    for name in NAMES:
        write_wav(root / "wav" / f"{name}.wav")
    (root / "silb").mkdir()
    (root / "silb" / "03a01Fa.silb").write_bytes("0.08\tder\n0.25\tschr\xe4nk \n0.40\t.\n".encode("latin-1"))
    (root / "silb" / "16b10Tc.silb").write_bytes(b"")
    pad = "\xa0\xa0"
    lines = f"1{pad}\t03a01Fa.wav\t90,00{pad}\t75,50\xa0\n"
    lines += "2\t03a01Ab.wav\t65,00\t35,00\n3\t08a05Wb.wav\t95,24\t100,00\n\n"
    (root / "erkennung.txt").write_bytes((HEADER + lines).encode("latin-1"))
    return root


def test_it_is_registered() -> None:
    assert "emodb" in registry.names()
    assert "EMO-DB" in registry.summary("emodb")


def test_names_carry_the_labels(tree: Path) -> None:
    table = emodb.load(tree).utterances
    assert list(table.index) == sorted(NAMES)
    row = table.loc["08a05Wb"]
    assert (row["speaker"], row["gender"], row["age"], row["language"]) == ("08", "female", 34, "de")
    assert (row["raw_emotion"], row["emotion"], row["text_code"], row["version"]) == ("W", "anger", "a05", "b")
    assert (row["speaker_pair"], row["path"]) == ("03+08", "wav/08a05Wb.wav")
    assert table.loc["16b10Tc", "text"] == "Die wird auf dem Platz sein, wo wir sie immer hinlegen."


def test_ratings_with_decimal_commas_and_padding(tree: Path) -> None:
    corpus = emodb.load(tree)
    assert corpus.utterances["recognised"].tolist()[:2] == [90.0, 95.24]
    assert corpus.utterances["natural"].tolist()[:2] == [75.5, 100.0]
    assert np.isnan(corpus.utterances.loc["16b10Tc", "recognised"])
    assert any(note.startswith("1 takes of erkennung.txt") for note in corpus.notes)
    assert any("1 utterances are not in erkennung.txt, such as 16b10Tc" in note for note in corpus.notes)


def test_syllables_end_at_the_next_mark(tree: Path) -> None:
    words = emodb.load(tree).words("03a01Fa")
    expected = pd.DataFrame({"word": ["der", "schränk"], "start": [0.08, 0.25], "end": [0.25, 0.40]})
    pd.testing.assert_frame_equal(words, expected, check_dtype=False)


def test_pauses_doubled_marks_and_a_missing_end(tmp_path: Path) -> None:
    path = tmp_path / "x.silb"
    path.write_text("0.1 eins\n0.3 (\n0.5 zwei\n0.5 zwo\n0.9 drei\n")
    words = emodb.read_syllables(path, duration=1.2)
    assert words["word"].tolist() == ["eins", "zwei", "drei"]
    assert words["start"].tolist() == [0.1, 0.5, 0.9]
    assert words["end"].tolist() == [0.3, 0.9, 1.2]
    assert np.isnan(emodb.read_syllables(path)["end"].iloc[-1])


def test_the_last_end_comes_from_the_sound_file(tree: Path) -> None:
    (tree / "silb" / "08a05Wb.silb").write_text("0.1\tdas\n0.2\tschwar\n")
    assert emodb.load(tree).words("08a05Wb")["end"].tolist() == [0.2, 0.5]
    (tree / "wav" / "08a05Wb.wav").unlink()
    assert np.isnan(emodb.load(tree).words("08a05Wb")["end"].iloc[-1])


def test_empty_or_absent_syllable_files_give_no_words(tree: Path) -> None:
    corpus = emodb.load(tree)
    for item in ("16b10Tc", "08a05Wb"):
        assert corpus.words(item).empty
        assert list(corpus.words(item)) == ["word", "start", "end"]
    assert any("1 utterances have no syllable file, such as 08a05Wb" in note for note in corpus.notes)
    with pytest.raises(SerbenchError, match="not an EMO-DB name"):
        corpus.words("nothing")


def test_it_loads_without_audio_and_names_what_is_gone(tree: Path) -> None:
    before = emodb.load(tree)
    (tree / "silb" / "08a05Wb.silb").write_text("0.1\tdas\n0.2\t.\n")
    shutil.rmtree(tree / "wav")
    after = emodb.load(tree)
    assert list(after.utterances.index) == list(before.utterances.index)
    assert after.digest() == before.digest()
    assert not after.audio_path("03a01Fa").exists()


@pytest.mark.parametrize("form", ["nested", "upper", "wav itself"])
def test_folders_are_found_one_level_down_and_in_any_case(tree: Path, form: str) -> None:
    before, root = emodb.load(tree), tree
    if form == "nested":
        root = tree.parent
    elif form == "upper":
        (tree / "wav").rename(tree / "WAV")
        for path in (tree / "WAV").iterdir():
            path.rename(path.with_suffix(".WAV"))
        (tree / "erkennung.txt").rename(tree / "Erkennung.TXT")
    else:
        root = tree / "wav"
    corpus = emodb.load(root)
    assert corpus.audio_path("03a01Fa").is_file()
    pd.testing.assert_frame_equal(corpus.utterances.drop(columns="path"), before.utterances.drop(columns="path"))


def test_stubs_are_skipped_and_foreign_files_are_noted(tree: Path) -> None:
    write_wav(tree / "wav" / "._03a01Fa.wav")
    write_wav(tree / "wav" / "99x01Fa.wav")
    corpus = emodb.load(tree)
    assert list(corpus.utterances.index) == sorted(NAMES)
    assert any("1 files in wav/ don't follow the file-name grammar: 99x01Fa.wav" in note for note in corpus.notes)


def test_two_files_for_one_id(tree: Path) -> None:
    write_wav(tree / "wav" / "03a01Fa.WAV")
    with pytest.raises(SerbenchError, match="two files for one id, 03a01Fa"):
        emodb.load(tree)


def test_half_copied_corpus_is_told_by_the_published_counts(tree: Path) -> None:
    corpus = emodb.load(tree)
    assert f"utterances: {len(NAMES)} found, 535 published" in [finding.detail for finding in counts(corpus)]


def test_a_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path, tree: Path) -> None:
    other = tmp_path / "other"
    write_wav(other / "clips" / "a.wav")
    with pytest.raises(SerbenchError, match=r"03a01Fa\.wav.*found clips/"):
        emodb.load(other)
    with pytest.raises(SerbenchError, match="not a folder"):
        emodb.load(tmp_path / "nowhere")
    with pytest.raises(SerbenchError, match="--root"):
        emodb.load(None)
    with pytest.raises(SerbenchError, match="one release"):
        emodb.load(tree, "2.0")
    (other / "download.zip").write_bytes(b"PK")
    with pytest.raises(SerbenchError, match=r"Unpack download\.zip"):
        emodb.load(other)
    with pytest.raises(SerbenchError, match="archive"):
        emodb.load(other / "download.zip")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("erkennung.txt", HEADER + "1\t03a01Fa.wav\tviel\t35,00\n", 2),
        ("erkennung.txt", HEADER + "1\t03a01Fa.wav\t90,00\t35,00\n2\t03a01Ab.wav\t90,00\n", 3),
        ("erkennung.txt", HEADER + "1\t03a01Fa.wav\t900,00\t35,00\n", 2),
        ("silb/03a01Fa.silb", "0.1\tder\nspaeter\tla\n", 2),
        ("silb/03a01Fa.silb", "0.1\n", 1),
    ],
)
def test_damaged_label_files_name_the_line(tree: Path, name: str, text: str, line: int) -> None:
    (tree / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(SerbenchError, match=rf"line {line} of .*{Path(name).name}"):
        emodb.load(tree).words("03a01Fa")


def test_without_the_rating_file_ratings_are_missing(tree: Path) -> None:
    (tree / "erkennung.txt").unlink()
    corpus = emodb.load(tree)
    assert corpus.utterances[["recognised", "natural"]].isna().all(axis=None)
    assert any("erkennung.txt was not found" in note for note in corpus.notes)


def test_pairs_are_a_woman_and_a_man_and_folds_are_speaker_disjoint(test_data: Path) -> None:
    assert sorted(s for pair in emodb.PAIRS for s in pair) == sorted(emodb.SPEAKERS)
    assert all({emodb.SPEAKERS[s][0] for s in pair} == {"female", "male"} for pair in emodb.PAIRS)
    corpus = emodb.load(test_data / "emodb")
    table = corpus.utterances
    assert next(iter(corpus.splits)) == "leave-one-speaker-pair-out"
    for split, count, size in (("leave-one-speaker-pair-out", 5, 2), ("leave-one-speaker-out", 10, 1)):
        folds = corpus.folds(split)
        assert len(folds) == count
        tested: list[str] = []
        for fold in folds:
            role = fold.assign(table)
            speakers = {r: set(table["speaker"][role == r]) for r in ("train", "dev", "test")}
            assert role.notna().all()
            assert [len(speakers[r]) for r in ("train", "dev", "test")] == [10 - 2 * size, size, size]
            assert not speakers["train"] & (speakers["dev"] | speakers["test"])
            assert not speakers["dev"] & speakers["test"]
            tested += table.index[role == "test"].tolist()
        assert sorted(tested) == sorted(table.index)


def test_the_real_corpus_has_the_published_counts(test_data: Path) -> None:
    corpus = emodb.load(test_data / "emodb")
    table = corpus.utterances
    published = {  # Burkhardt et al. 2005, as distributed
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "sadness": 62,
        "neutral": 79,
    }
    assert table["emotion"].value_counts().to_dict() == published
    assert corpus.expected == {"utterances": 535, "speakers": 10} | {f"emotion={e}": n for e, n in published.items()}
    assert table.groupby("gender")["speaker"].nunique().to_dict() == {"female": 5, "male": 5}
    assert table["text_code"].nunique() == 10
    assert len(corpus.items(corpus.task())) == 535
    assert len(corpus.items(corpus.task("emotion-4"))) == 127 + 71 + 62 + 79
    assert all((corpus.root / path).is_file() for path in table["path"])


def test_the_real_ratings_match_those_that_others_publish(test_data: Path) -> None:
    """The first ten recognition rates as the example of audformat's documentation prints them (shares of 1)."""
    rates = [0.90, 1.00, 0.95, 0.85, 1.00, 0.90, 1.00, 1.00, 0.90, 1.00]
    table = emodb.load(test_data / "emodb").utterances
    assert (table["recognised"].head(10) / 100).tolist() == pytest.approx(rates)
    assert table[["recognised", "natural"]].notna().all(axis=None)
    assert table["recognised"].min() >= 80  # only such takes were published
    assert any(note.startswith("281 takes") for note in emodb.load(test_data / "emodb").notes)


def test_the_texts_agree_with_the_real_syllables(test_data: Path) -> None:
    """Most takes elide something, but for every text some take's syllables spell it out letter by letter."""
    corpus = emodb.load(test_data / "emodb")

    def letters(text: str) -> str:
        return re.sub("[^a-zäöüß]", "", text.lower())

    seen, spelt_out = 0, set()
    for item, row in corpus.utterances.iterrows():
        words = corpus.words(str(item))
        if words.empty:
            assert item == "13a01Wb"
            continue
        seen += 1
        assert (words["end"] > words["start"]).all()
        assert (words["start"].to_numpy()[1:] >= words["end"].to_numpy()[:-1]).all()
        if letters("".join(words["word"])) == letters(row["text"]):
            spelt_out.add(row["text_code"])
    assert seen == 534
    assert spelt_out == set(emodb.TEXTS)
    said = corpus.utterances.index[corpus.utterances["text_code"] == "a05"]
    assert all("blatt" in set(corpus.words(str(i))["word"]) for i in said)

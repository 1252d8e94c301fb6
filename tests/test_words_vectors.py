"""Files of word vectors, and words on the grid of frames."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.features.words.coverage import coverage, need_overlap
from serbench.features.words.vectors import (
    NON_VERBAL,
    Vectors,
    frames_of_words,
    normalise,
    random_vector,
    read_vectors,
    spans,
    write_vectors,
)

RNG = np.random.default_rng(5)
WORDS = ["the", "cat", "größe", "Łódź", "<laughter>", "don't"]
VECTORS = Vectors(WORDS, RNG.standard_normal((6, 50)).astype(np.float32))


def table(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["word", "start", "end"])


def same(found: Vectors, expected: Vectors) -> None:
    assert found.words == expected.words
    np.testing.assert_array_equal(found.matrix, expected.matrix)


@pytest.mark.parametrize("binary", [False, True])
def test_files_that_gensim_writes_and_reads(tmp_path: Path, binary: bool) -> None:
    KeyedVectors = pytest.importorskip("gensim.models").KeyedVectors
    theirs, ours = tmp_path / ("a.bin" if binary else "a.vec"), tmp_path / ("b.bin" if binary else "b.vec")
    keyed = KeyedVectors(50)
    keyed.add_vectors(WORDS, VECTORS.matrix)
    keyed.save_word2vec_format(str(theirs), binary=binary)
    found = read_vectors(theirs)
    assert found.words == WORDS
    np.testing.assert_allclose(found.matrix, VECTORS.matrix, rtol=1e-6)
    write_vectors(ours, VECTORS)
    same(read_vectors(ours), VECTORS)
    back = KeyedVectors.load_word2vec_format(str(ours), binary=binary)
    assert back.index_to_key == WORDS
    np.testing.assert_array_equal(back.vectors, VECTORS.matrix)


def test_a_binary_file_under_another_name_and_one_with_line_breaks(tmp_path: Path) -> None:
    body = b"".join(w.encode() + b" " + struct.pack("<50f", *row) for w, row in zip(WORDS, VECTORS.matrix, strict=True))
    (tmp_path / "plain.dat").write_bytes(b"6 50\n" + body)
    same(read_vectors(tmp_path / "plain.dat"), VECTORS)
    lines = b"".join(
        w.encode() + b" " + struct.pack("<50f", *row) + b"\n" for w, row in zip(WORDS, VECTORS.matrix, strict=True)
    )
    (tmp_path / "lines.bin.gz").write_bytes(gzip.compress(b"6 50\n" + lines))
    same(read_vectors(tmp_path / "lines.bin.gz"), VECTORS)


EVEN, UNEVEN = "a 1 2 3{}\nb -4 5e-1 6{}\n", "a  1 2  3{}\nb\t-4\t0.5\t6{}\n"


@pytest.mark.parametrize(
    ("head", "form"), [("2 3\n", EVEN), ("2 3 \r\n", EVEN), ("", EVEN), ("2 3\n", UNEVEN), ("2 3 \r\n", UNEVEN)]
)
@pytest.mark.parametrize("tail", ["", " ", "\r"])
def test_text_forms(tmp_path: Path, head: str, form: str, tail: str) -> None:
    (tmp_path / "a.vec").write_text(head + form.format(tail, tail), newline="")
    found = read_vectors(tmp_path / "a.vec", dim=3)
    assert found.words == ["a", "b"]
    np.testing.assert_array_equal(found.matrix, [[1, 2, 3], [-4, 0.5, 6]])


def test_words_with_blanks_and_doubled_words(tmp_path: Path) -> None:
    (tmp_path / "a.vec").write_text("5 2\nnew york 1 2\na 3 4\na 5 6\nb 7 8\n\u00a0 9 9\n", encoding="utf-8")
    found = read_vectors(tmp_path / "a.vec")
    assert (found.words, found.doubled) == (["new york", "a", "b", "\u00a0"], 1)
    np.testing.assert_array_equal(found.matrix, [[1, 2], [3, 4], [7, 8], [9, 9]])
    assert read_vectors(tmp_path / "a.vec", limit=2).words == ["new york", "a"]
    with pytest.raises(SerbenchError, match=r"'new york'.*white space"):
        write_vectors(tmp_path / "b.vec", found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"2 3\na 1 2 3\n", "holds 2 vectors, but it holds 1"),
        (b"1 3\na 1 2 3\nb 1 2 3\n", "holds 1 vectors, but it holds 2"),
        (b"2 3\na 1 2 3\nb 1 2\n", "line 3 .* 'b 1 2'.* a word and 3 numbers"),
        (b"2 3\na 1 2 3\nb 1 x 3\n", "line 3 "),
        (b"2 3\na 1 nan 3\nb 1 2 3\n", "line 2 "),
        (b"a 1 2 3\nb 1 2\n", "line 2 "),
        (b"0 3\n", "0 x 3"),
        (b"\xba\x16\x4f\x2f\x0c\x00\x00\x00", "fastText model.*\\.vec"),
        (b"2 2\na " + struct.pack("<2f", 1, 2) + b"b " + struct.pack("<1f", 1), "breaks off at vector 2 of 2 x 2"),
        (b"1 2\na " + struct.pack("<2f", 1, 2) + b"b " + struct.pack("<2f", 1, 2), "goes on behind the 1"),
        (b"1 2\na " + struct.pack("<2f", 1, float("inf")), "vector 1 .* not finite"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / ("a.bin" if b"\x00" in content and content[:1] != b"\xba" else "a.vec")
    path.write_bytes(content)
    with pytest.raises(SerbenchError, match=message):
        read_vectors(path)


def test_missing_file_and_another_size(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="no file"):
        read_vectors(tmp_path / "none.vec")
    write_vectors(tmp_path / "a.vec", VECTORS)
    with pytest.raises(SerbenchError, match=r"vectors of 50 numbers\. Expected 100"):
        read_vectors(tmp_path / "a.vec", dim=100)


def test_vectors_are_checked() -> None:
    with pytest.raises(SerbenchError, match="a row for each word"):
        Vectors(["a"], np.zeros((2, 3), np.float32))
    with pytest.raises(SerbenchError, match="Expected each word once"):
        Vectors(["a", "a"], np.zeros((2, 3), np.float32))


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    for name in ("a.vec", "a.bin"):
        write_vectors(tmp_path / name, VECTORS)
        assert read_vectors(tmp_path / name).sha256 == VECTORS.sha256
    changed = VECTORS.matrix.copy()
    changed[0, 0] += 1e-6
    others = [Vectors(WORDS[::-1], VECTORS.matrix), Vectors(WORDS, changed)]
    assert VECTORS.sha256 not in {other.sha256 for other in others}


def test_normalised_words() -> None:
    assert [normalise(w) for w in ("Don't!", "<Laughter>", "„Größe“", "...", "e\u0301t\u00e9", "semi-final")] == [
        "dont",
        "<laughter>",
        "größe",
        "",
        "\u00e9t\u00e9",
        "semifinal",
    ]


def released_span(start: float, end: float) -> tuple[int, int]:
    """The released program's rule, written out."""
    return int(round(start, 1) * 10), int(round(end, 1) * 10)


def test_spans_at_a_tenth_of_a_second_are_the_released_rule() -> None:
    times = np.concatenate([np.arange(0, 4000) / 100, np.arange(0, 2000) / 20, RNG.random(2000) * 200])
    words = table(*(("a", t, t + 0.25) for t in times.tolist()))
    assert spans(words, 0.1) == [released_span(t, t + 0.25) for t in times.tolist()]


def test_words_on_frames() -> None:
    words = table(("The", 0.1, 0.3), ("cat,", 0.3, 0.52), ("...", 0.6, 0.7), ("<filler>", 0.6, 0.7), ("cat", 0.8, 9.0))
    found = frames_of_words(words, 10, 0.1, VECTORS)
    rows = [None, 0, 0, 1, 1, 1, None, None, 1, 1]
    expected = np.stack([np.zeros(50) if r is None else VECTORS.matrix[r] for r in rows])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    halved = frames_of_words(words, 20, 0.05, VECTORS)
    np.testing.assert_array_equal(np.abs(halved).sum(1) > 0, [0, 0, *[1] * 9, *[0] * 5, *[1] * 4])
    assert not frames_of_words(words.iloc[:0], 3, 0.1, VECTORS).any()
    assert frames_of_words(words, 0, 0.1, VECTORS).shape == (0, 50)


def test_unknown_words_get_a_vector_of_their_own() -> None:
    words = table(("dog", 0.0, 0.1), ("bird", 0.2, 0.3), ("Dog!", 0.4, 0.5))
    found = frames_of_words(words, 6, 0.1, VECTORS, seed=3)
    np.testing.assert_array_equal(found[0], found[5])
    assert not np.array_equal(found[0], found[2])
    assert ((found >= 0) & (found < 1)).all()
    alone = frames_of_words(table(("bird", 0.0, 0.0)), 1, 0.1, VECTORS, seed=3)
    np.testing.assert_array_equal(alone[0], found[2])  # whatever else is said
    np.testing.assert_array_equal(alone[0], random_vector("bird", 50, 3))
    assert not np.array_equal(random_vector("bird", 50, 3), random_vector("bird", 50, 4))
    assert not frames_of_words(words, 6, 0.1, VECTORS, unknown="zero").any()
    matched = frames_of_words(words, 6, 0.1, VECTORS, unknown="matched")
    said = matched.any(axis=1)
    lengths = [np.linalg.norm(row) for row in VECTORS.matrix]
    np.testing.assert_allclose(np.linalg.norm(matched[said], axis=1), np.median(lengths), rtol=1e-5)
    many = np.concatenate([random_vector(f"w{i}", 50, 0) for i in range(200)])
    assert abs(many.mean() - 0.5) < 0.01
    assert abs(many.var() - 1 / 12) < 0.005


def test_random_vectors_are_the_same_in_every_process() -> None:
    code = "from serbench.features.words.vectors import random_vector; print(random_vector('dog', 4, 7).tolist())"
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == str(random_vector("dog", 4, 7).tolist())


def test_non_verbal_tokens() -> None:
    said = table(("<laughter>", 0.0, 0.0))
    own = frames_of_words(said, 1, 0.1, VECTORS)
    np.testing.assert_array_equal(own[0], VECTORS.matrix[4])  # the token itself, where it has a vector
    german = Vectors(["lachen", "gelächter", "laughter"], np.eye(3, dtype=np.float32))
    np.testing.assert_array_equal(frames_of_words(said, 1, 0.1, german)[0], [0, 1, 0])  # the last of those named
    english = Vectors(["the", "laughter"], np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(frames_of_words(said, 1, 0.1, english)[0], [0, 1])
    neither = Vectors(["the"], np.ones((1, 9), np.float32))
    np.testing.assert_array_equal(frames_of_words(said, 1, 0.1, neither)[0], random_vector("<laughter>", 9, 0))
    assert len(NON_VERBAL) == 11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (table(("a", 0.5, 0.4)), r"word 1 \('a'\) lasts from 0.5 to 0.4"),
        (table(("a", 0.1, 0.2), ("b", float("nan"), 0.4)), "word 2"),
        (pd.DataFrame({"word": ["a"], "start": [0.0]}), "Expected word, start, end"),
    ],
)
def test_bad_word_times(words: pd.DataFrame, message: str) -> None:
    with pytest.raises(SerbenchError, match=message):
        frames_of_words(words, 10, 0.1, VECTORS)


def test_bad_settings() -> None:
    with pytest.raises(SerbenchError, match="random, zero"):
        frames_of_words(table(), 1, 0.1, VECTORS, unknown="mean")
    with pytest.raises(SerbenchError, match="hop_seconds"):
        frames_of_words(table(), 1, 0.0, VECTORS)


def test_coverage_and_no_overlap() -> None:
    found = coverage(["The", "dog,", "the", "<filler>", "cat", "...", "chased", "a", "dog"], VECTORS)
    assert (found.tokens, found.known_tokens, found.types, found.known_types) == (7, 3, 5, 2)
    assert found.unknown == ("dog", "a", "chased")
    assert re.search(r"3 of 7 words \(42.9%\), 2 of 5 types; unknown are dog, a, chased", found.line())
    assert need_overlap(found, "demo") is found
    with pytest.raises(SerbenchError, match="none of the 2 words of demo"):
        need_overlap(coverage(["hund", "katze"], VECTORS), "demo")
    need_overlap(coverage([], VECTORS), "demo")  # nothing said is no mismatch

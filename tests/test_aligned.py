"""Word times: both forms of TextGrid, and wdseg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.aligned_words import read_textgrid, read_wdseg

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "TextTier"
        name = "marks 7"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 0.25
            mark = "12 hi"
    item [2]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.31
            text = ""
        intervals [2]:
            xmin = 0.31
            xmax = 0.5
            text = "so ""called"" 3"
        intervals [3]:
            xmin = 0.5
            xmax = 1.25e0
            text = "sp"
        intervals [4]:
            xmin = 1.25
            xmax = 2.5
            text = "café"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2.5
            text = "AH0"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
1
"IntervalTier"
"phrases"
0
2.5
2
0
1
"one"
1
2.5
"two"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_long_textgrid(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(LONG.encode(encoding))
    words = read_textgrid(path)
    assert words["word"].tolist() == ['so "called" 3', "café"]
    np.testing.assert_array_equal(words[["start", "end"]], [[0.31, 0.5], [1.25, 2.5]])


def test_short_textgrid_takes_the_first_interval_tier(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(SHORT)
    words = read_textgrid(path)
    assert list(words.itertuples(index=False, name=None)) == [("one", 0.0, 1.0), ("two", 1.0, 2.5)]


@pytest.mark.parametrize("text", [LONG[:600], "", "hello world", LONG.replace("size = 4", "size = 40", 1)])
def test_damaged_textgrid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(text)
    with pytest.raises(SerbenchError, match=r"a\.TextGrid.*can't be read as a TextGrid"):
        read_textgrid(path)


def test_wdseg_frames_are_inclusive_and_fillers_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "a.wdseg"
    rows = [
        "\tSFrm\tEFrm\tSegAScr\tWord",
        "\t0\t54\t-38\t<s>",
        "\t55\t66\t-1234\tTHE(2)",
        "\t67\t80\t99\t++LAUGHTER++",
        "\t81\t120\t0\tEND",
        "\t121\t130\t0\t<sil>",
        "\t131\t140\t0\t</s>",
        " Total score: -5",
    ]
    path.write_text("\n".join(rows) + "\n", encoding="latin-1")
    words = read_wdseg(path)
    assert words["word"].tolist() == ["THE", "END"]
    np.testing.assert_allclose(words[["start", "end"]], [[0.55, 0.67], [0.81, 1.21]])


def test_damaged_wdseg(tmp_path: Path) -> None:
    path = tmp_path / "a.wdseg"
    path.write_text("\tSFrm\tEFrm\tSegAScr\tWord\n\t0\tx\t-38\tHELLO\n")
    with pytest.raises(SerbenchError, match=r"line 2 of .*first frame, last frame, score, word"):
        read_wdseg(path)

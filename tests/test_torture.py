"""The torture in its short form: nothing is lost; and each kind finds what it is there to find."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from serbench.benchmarks.torture import children, damage, disk, fuzz, hostile, killed, page, races, signals, works
from serbench.benchmarks.torture.tally import Tally
from serbench.datasets.core import files


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    children.warm()


def wrong(rows: Iterator[Tally]) -> list[str]:
    found = list(rows)
    assert found
    assert all(row.times for row in found)
    return [text for row in found for text in row.wrong]


def test_a_killed_run_ends_in_what_an_unbroken_one_leaves(tmp_path: Path) -> None:
    assert wrong(killed.tortured(tmp_path, 2, 0, ["run linear"])) == []


def test_a_full_disk_is_said_and_the_same_command_goes_on(tmp_path: Path) -> None:
    shop = works.Workshop(tmp_path, ["extract"])
    rows = [disk.faulty(shop, shop.works[0], disk.KINDS[0], 1, Random(0)), disk.locked(shop, shop.works[0])]
    assert wrong(iter(rows)) == []


def test_a_flipped_bit_is_found_or_without_effect(tmp_path: Path) -> None:
    assert wrong(damage.tortured(tmp_path, 10, 0)) == []


def test_a_signal_ends_as_an_interrupt_does(tmp_path: Path) -> None:
    shop = works.Workshop(tmp_path, ["run linear"])
    assert wrong(iter([signals.sent(shop, shop.works[0], signal.SIGTERM, 1, Random(0))])) == []


def test_hostile_input_does_no_harm(tmp_path: Path) -> None:
    shop = works.Workshop(tmp_path, ["run linear"])
    assert wrong(iter([hostile.paths(shop), hostile.archives(shop)])) == []


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    names = ["table (.csv)", "TextGrid", "word vectors (.vec)", "weights (.safetensors)", "sound (wav)"]
    assert wrong(fuzz.tortured(tmp_path, 40, 0, names)) == []


def test_four_processes_leave_what_one_leaves(tmp_path: Path) -> None:
    assert wrong(races.tortured(tmp_path, 1, 0, ["extract"])) == []


# Each kind finds what is wrong, where something is.


@contextmanager
def in_place(path: Path) -> Iterator[Path]:
    """A way of writing that is not atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path


def test_a_writer_without_a_temporary_file_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "replacing", in_place)
    assert wrong(killed.tortured(tmp_path, 8, 0, ["run linear"]))


def test_a_file_without_a_checksum_is_caught(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[1, 2, 3]")
    row = damage.flipped("x", file, lambda path: path.read_text(errors="replace"), 10, Random(0))
    assert len(row.wrong) == 10
    assert file.read_text() == "[1, 2, 3]"


def test_a_reader_that_raises_hangs_or_loses_rows_is_caught(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a,b\n" * 20)

    def raises(path: Path) -> None:
        raise KeyError(path.name)

    def dies(path: Path) -> None:
        raise SystemExit(3)

    for read, said in ((raises, "KeyError"), (lambda path: 1, "lost in silence"), (dies, "3")):
        row = fuzz.fuzzed(fuzz.Target("x", (file,), read), tmp_path, 12, 0)
        assert any(said in text for text in row.wrong)
        assert row.times == 12
    assert file.read_text() == "a,b\n" * 20


def test_a_command_that_ends_in_a_traceback_or_a_signal_is_told_from_a_refusal(tmp_path: Path) -> None:
    refused = children.command(["run", "--model", "nosuch", "--dataset", "demo"], tmp_path / "a")
    assert (refused.status, refused.problem) == (2, "")
    assert "unknown model" in refused.said

    def burst() -> None:
        raise ValueError("x")

    assert children.call(burst, tmp_path / "b").problem == "traceback"


def test_a_page_keeps_the_sections_that_are_not_measured_again() -> None:
    row = Tally("a work", "killed at 2 of 3 points")
    row.add("as unbroken")
    row.add("", "a work, point 2: b.json\ndiffers")
    made = page.section("killed", [row], 1, 0, 1.0)
    assert "**2 times, 1 wrong.**" in made
    assert "| a work | killed at 2 of 3 points | 2 | as unbroken: 1 | 1 |" in made
    assert "- wrong 1 times: a work, point 2: b.json differs" in made
    other = page.section("damage", [Tally("x", "y")], 1, 0, 1.0)
    back = page.sections(page.page({"killed": made, "damage": other}))
    assert {name: text.strip() for name, text in back.items()} == {"killed": made.strip(), "damage": other.strip()}


def test_the_page_says_what_the_last_torture_found(checkout: Path) -> None:
    text = (checkout / "docs/reliability.md").read_text(encoding="utf-8")
    held = page.sections(text)
    assert {"killed", "damage"} <= set(held) <= set(page.KINDS)
    assert page.found() in text

"""The torture in its short form: nothing is lost; and each kind finds what it is there to find."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pytest

from serbench import datasets
from serbench.benchmarks.performance.parts import records as many_records
from serbench.benchmarks.torture import bits, children, damage, disk, killed, longwork, page, races, signals, works
from serbench.benchmarks.torture.inputs import commandlines, fuzz, hostile, mutations, readers
from serbench.benchmarks.torture.tally import Tally
from serbench.datasets import miniatures
from serbench.datasets.core import files
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels import registry


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
    names = ["table (.csv)", "TextGrid", "word vectors (.vec)", "weights (.safetensors)", "sound of a corpus (wav)"]
    more = ["sound (flac)", "labels of emodb", "labels of nemo", "labels of savee", "parquet with sound (hf)"]
    assert wrong(fuzz.tortured(tmp_path, 20, 0, [*names, *more])) == []


def test_every_corpus_with_a_miniature_and_every_kind_of_file_is_mutated() -> None:
    kinds = readers.makers()
    assert {f"labels of {name}" for name in miniatures.names()} < kinds.keys()
    assert {"labels of emodb", "table (.csv)", "checkpoint (.pth.tar)", "sound (mp3)", "TextGrid"} < kinds.keys()


def test_wild_command_lines_are_refused_or_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {"leaderboard", "check", "fuse", "merge"}
    every = [(words, params) for words, params in commandlines._commands() if words[0] in tried]
    assert len(every) == 4
    monkeypatch.setattr(commandlines, "_commands", lambda: every)
    assert wrong(commandlines.tortured(tmp_path, 3, 0)) == []


def test_four_processes_leave_what_one_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races, "TIMES", 3)
    assert wrong(races.tortured(tmp_path, 1, 0, ["extract", races.PRUNED, races.MERGED])) == []


def test_the_same_seed_leaves_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(bits.WAYS, "with jobs=2")  # two processes take half a minute to begin
    assert wrong(bits.tortured(tmp_path, 1, 0, ["chance", "cnn-regressor"])) == []


def test_every_model_has_golden_predictions() -> None:
    known = bits.golden()
    assert set(known["models"]) == set(registry.names())
    assert all(set(bits.DECIDES) < set(made) for made in known["made_with"])
    assert all(len(model["sha256"]) == len(known["made_with"]) for model in known["models"].values())


def test_long_work_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and open files; times depend on the machine's other work, and are judged on made-up notes below."""
    monkeypatch.setattr(many_records, "RANKINGS", 2)
    monkeypatch.setattr(longwork, "SLOWER", float("inf"))
    monkeypatch.setattr(longwork, "TENFOLD", float("inf"))
    every = longwork.readers
    monkeypatch.setattr(longwork, "readers", lambda results: dict(list(every(results).items())[:2]))  # no report
    assert wrong(iter([longwork.units(tmp_path, "chance:random", 40)])) == []
    assert wrong(longwork.corpus(tmp_path, 200)) == []
    rows = list(longwork.records(tmp_path, 20))
    assert [row.what for row in rows] == ["list (runs_table)", "leaderboard"]
    assert wrong(iter(rows)) == []


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


def test_names_of_files_are_mutated_and_put_back(tmp_path: Path) -> None:
    file = tmp_path / "abc.wav"
    file.write_bytes(b"1234")
    seen = set()

    def read(path: Path) -> int:
        seen.add(path.name)
        return 1

    row = fuzz.fuzzed(fuzz.Target("names", (file,), read, named=True, weight=2), tmp_path, 6, 0)
    assert (row.times, len(row.wrong)) == (12, 12)
    assert "lost in silence" in row.wrong[0]
    assert [path.name for path in tmp_path.glob("*.wav")] == ["abc.wav"]
    other, _ = mutations.renamed(file, Random(1))
    assert (other.parent, other.suffix) == (tmp_path, ".wav")
    assert not other.name.startswith(".")


def test_a_race_that_one_loses_is_caught(tmp_path: Path) -> None:
    def loses() -> None:
        raise SystemExit(3)

    def refused() -> None:
        sys.stderr.write("serbench: something else\n")

    assert races.at_once([lambda: None] * 2, tmp_path / "a") == ""
    assert "status 3" in races.at_once([lambda: None, loses], tmp_path / "a")
    assert "something else" in races.at_once([refused], tmp_path / "a", "unknown")
    assert races.at_once([refused], tmp_path / "a", "something") == ""


def test_other_bits_than_those_written_down_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([[0.25, 0.75]])
    monkeypatch.setattr(bits, "predictions", lambda folder: values)
    here = bits.made_with()
    elsewhere, other = here | {"torch": "1.0"}, bits.digest(values + 1e-12)
    known = {"sha256": [other, bits.digest(values)], "values": [0.25, 0.75]}

    def wrongs(made_with: list[dict[str, str]], **changed: object) -> int:
        return len(bits.compared("m", tmp_path, {"made_with": made_with, "models": {"m": known | changed}}).wrong)

    assert (wrongs([elsewhere, here]), wrongs([here, elsewhere])) == (0, 1)
    assert (wrongs([elsewhere], values=[0.26, 0.74]), wrongs([elsewhere], values=[0.3, 0.7])) == (0, 1)
    assert bits.compared("new", tmp_path, {"made_with": [here], "models": {}}).wrong
    both = {"made_with": [elsewhere], "models": {"m": {"sha256": [other], "values": [0.25, 0.75]}}}
    assert bits.added("m", values, both) == {"sha256": [other, bits.digest(values)], "values": [0.25, 0.75]}
    again = {"made_with": [here], "models": both["models"]}
    assert bits.added("m", values, again)["sha256"] == [bits.digest(values)]
    with pytest.raises(SerbenchError, match=r"is 0\.2 from what is written down"):
        bits.added("m", values + 0.2, both)


@pytest.mark.parametrize(("seconds", "mib", "opened"), [(0.0, 0.0, 0), (0.0, 1.0, 0), (0.0, 0.0, 1), (0.001, 0.0, 0)])
def test_what_grows_with_the_units_is_caught(seconds: float, mib: float, opened: int) -> None:
    times = np.cumsum([0.01 + seconds * k / 5 for k in range(100)])
    notes = [(float(times[k]), 100 + mib * k, 8 + opened * k // 10) for k in range(100)]
    assert bool(longwork.flat(notes)[1]) == bool(seconds or mib or opened)


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
    more = Tally("another work", "killed at 1 of 2 points")
    more.add("as unbroken")
    joined = page.section("killed", [more], 1, 0, 1.0, made)
    assert "**3 times, 1 wrong.**" in joined
    assert "in 2 CPU-seconds" in joined
    assert "| a work | killed at 2 of 3 points | 2 | as unbroken: 1 | 1 |" in joined
    assert page.section("killed", [row], 1, 0, 1.0, made).count("| a work |") == 1


@pytest.mark.parametrize("lost", [True, False])
def test_the_exit_status_says_whether_anything_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lost: bool
) -> None:
    row = Tally("run linear", "killed at 1 of 9 points")
    row.add("as unbroken", "run linear, point 3: b.json differs" if lost else "")
    monkeypatch.setattr(page, "measured", lambda *given: [row])
    out = tmp_path / "page.md"
    assert page.main(["--only", "killed", "--works", "run linear", "--out", str(out)]) == int(lost)
    assert ("WRONG: run linear, point 3" in capsys.readouterr().err) == lost
    assert f"**1 times, {int(lost)} wrong.**" in out.read_text(encoding="utf-8")


def test_the_page_says_what_the_last_torture_found(checkout: Path) -> None:
    text = (checkout / "docs/reliability.md").read_text(encoding="utf-8")
    held = page.sections(text)
    assert set(page.KINDS) - {"longwork"} <= set(held) <= set(page.KINDS)
    assert page.found() in text
    assert [row for part in held.values() for row in rows_of(part) if row[4] != "0"] == []


@pytest.mark.parametrize("name", list(page.KINDS))
def test_what_the_page_calls_fifty_rounds_is_as_much_as_was_asked_for(checkout: Path, name: str) -> None:
    """50 kills of each work, every write, 1,000 bits, 20 races, 5,000 label files and sound files, each model."""
    held = page.sections((checkout / "docs/reliability.md").read_text(encoding="utf-8"))
    if "with --rounds 50 " not in held.get(name, ""):
        pytest.skip("it was last measured with fewer rounds")
    rows = rows_of(held[name])
    times = {row[0]: int(row[2]) for row in rows}
    labelled = [readers.labels_of(dataset) for dataset in datasets.registry.names() if dataset != "demo"]
    sound = [f"sound ({ending})" for ending in readers.KINDS_OF_SOUND]
    drawn = [(int(part[1]), int(part[2])) for row in rows if (part := re.search(r"at (\d+) of (\d+)", row[1]))]
    as_asked = {
        "killed": lambda: times == dict.fromkeys(works.FIRST, 50),
        "disk": lambda: set(times) == set(works.FIRST) and all(few == min(50, many) for few, many in drawn),
        "damage": lambda: set(times.values()) == {1000},
        "races": lambda: {int(row[2]) for row in rows} == {20},
        "bits": lambda: set(times) == set(registry.names()),
        "longwork": lambda: {row[1] for row in rows} >= {"2000 units in one process", "a table of 200000 rows"},
        "signals": lambda: {few for few, _ in drawn} == {5},
        "hostile": lambda: len(rows) == 9,
        "fuzz": lambda: min(sum(times[kind] for kind in kinds) for kinds in (labelled, sound)) >= 5000,
        "commandlines": lambda: set(times.values()) == {10},
    }
    assert as_asked[name]()


def rows_of(section: str) -> list[list[str]]:
    """The cells of a section's table."""
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]

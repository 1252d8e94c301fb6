"""What the measurement modules share: their command line, the processes that they start, and the rows of a page."""

from __future__ import annotations

import json
import os
import re
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from serbench.benchmarks.core import machine
from serbench.benchmarks.performance import page
from serbench.benchmarks.performance.measure import Cost, measure, timed
from serbench.benchmarks.performance.rows import DEFAULT_THREADS, ONE_THREAD, apart, main, row, rows_of
from serbench.datasets.core.errors import SerbenchError

MODULE = '''"""A module that measures.

More of it.
"""

import os

from serbench.benchmarks.performance.rows import apart, main


def rows():
    return [apart(__spec__.name, "product", a=6, b="7=7")]


def product(a, b):
    return {"a": a, "b": b, "threads": os.environ.get("OMP_NUM_THREADS"), "name": __name__}


def large(mebibytes):
    return {"length": len(bytearray(int(mebibytes) * 2**20))}


def broken():
    raise ValueError("what went wrong")


if __name__ == "__main__":
    main(__doc__, rows, {"product": product, "large": large, "broken": broken})
'''


@pytest.fixture
def module(tmp_path: Path) -> dict[str, str | None]:
    """Environment in which a module `measuring` can be imported."""
    (tmp_path / "measuring.py").write_text(MODULE)
    return {"PYTHONPATH": str(tmp_path)}


def test_a_measurement_runs_in_a_process_of_its_own(module: dict[str, str | None]) -> None:
    facts = apart("measuring", "product", env={**ONE_THREAD, **module}, a=6, b="7=7")
    assert facts.pop("peak_mib") > 1
    assert facts == {"a": "6", "b": "7=7", "threads": "1", "name": "__main__"}


def test_default_threads_are_those_of_no_variable(
    module: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert apart("measuring", "product", env={**DEFAULT_THREADS, **module}, a=1, b=2)["threads"] is None
    assert apart("measuring", "product", env=module, a=1, b=2)["threads"] == "1"


def test_peak_memory_is_the_processs_own(module: dict[str, str | None]) -> None:
    """300 MiB more on our side don't count, 100 MiB on its side do, and 100 MiB of its child."""
    ballast = b"x" * (300 * 2**20)
    small = apart("measuring", "large", env=module, mebibytes=0)["peak_mib"]
    large = apart("measuring", "large", env=module, mebibytes=100)["peak_mib"]
    child = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'bytearray(10**8)'])"]
    assert len(ballast) == 300 * 2**20
    assert small < 200
    assert large - small == pytest.approx(100, abs=5)
    assert 95 < measure(child).peak_mib < 200


def test_a_failure_says_what_went_wrong(module: dict[str, str | None]) -> None:
    with pytest.raises(SerbenchError, match="what went wrong"):
        apart("measuring", "broken", env=module)


def test_a_module_starts_itself_again(module: dict[str, str | None], tmp_path: Path) -> None:
    """As typed: with --out into a file, and printed without it."""
    out = tmp_path / "rows.json"
    measure([sys.executable, "-m", "measuring", "--out", str(out)], env=module)
    printed = subprocess.run(
        [sys.executable, "-m", "measuring", "--run", "product", "--argument", "a=6", "--argument", "b=7=7"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(out.read_text())
    assert (found["a"], found["b"]) == ("6", "7=7") == tuple(json.loads(printed.stdout)[key] for key in "ab")


def test_a_table_of_measurements_is_chosen_from(capsys: pytest.CaptureFixture[str]) -> None:
    table = {name: lambda name=name: [row(name, {})] for name in ("one", "two", "three")}
    assert [one["title"] for one in rows_of(table)] == ["one", "two", "three"]
    main("What it is.", table, arguments=["--only", "three", "one"])
    assert [one["title"] for one in json.loads(capsys.readouterr().out)] == ["three", "one"]
    with pytest.raises(SystemExit) as refused:
        main("What it is.", table, arguments=["--only", "four"])
    assert refused.value.code == 2


def test_options_go_to_the_rows_and_none_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"data": {"type": Path}, "rounds": {"type": int, "default": 5}}

    def rows(data: Path, rounds: int) -> list[str]:
        return [data.name] * rounds

    main(None, rows, options=options, arguments=["--data", "a/b", "--rounds", "2"])
    assert json.loads(capsys.readouterr().out) == ["b", "b"]
    with pytest.raises(SystemExit) as refused:
        main(None, rows, options=options, arguments=[])
    assert refused.value.code == 2
    assert "--data" in capsys.readouterr().err


def test_a_row_holds_costs_and_what_was_judged() -> None:
    plain = row("reference", Cost(1.23456, 2.0, 99.6))
    assert plain == {"title": "reference", "cpu_seconds": 1.2346, "wall_seconds": 2.0, "peak_mib": 100}
    ours = row("ours", {"wall_seconds": 0.5, "loss": 3}, ratio=1 / 3, limit="half", met=False, more=None)
    assert ours == {
        "title": "ours",
        "cpu_seconds": None,
        "wall_seconds": 0.5,
        "peak_mib": None,
        "ratio": 0.3333,
        "limit": "half",
        "met": False,
    }
    assert "| ours |  | 0.50 |  | 0.33 | half | NO |" in page.section("part", [plain, ours])


def test_a_section_is_measured_again_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: [row(name, {"wall_seconds": 1.0}, limit="", met=True)] for name in ("demo", "ray", "corpora")}
    monkeypatch.setattr(page, "demo_rows", lambda: given["demo"])
    monkeypatch.setattr(page, "measure_part", lambda name, data: (given[name], None))
    out = tmp_path / "page.md"
    page.main(["--only", "ray", "demo", "--out", str(out)])
    before = page.sections(out.read_text())
    given["ray"] = [row("ray again", {"wall_seconds": 2.0})]
    page.main(["--only", "corpora", "ray", "--out", str(out)])
    after = page.sections(out.read_text())
    assert list(after) == ["demo", "corpora", "ray"]
    assert after["demo"] == before["demo"]
    assert "| ray again |  | 2.00 |" in after["ray"]
    assert "| ray |" not in after["ray"]
    assert "NO" not in out.read_text()
    assert out.read_text() == page.page(after)


def test_a_region_counts_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((3.0, 10.5))
    monkeypatch.setattr("serbench.benchmarks.performance.measure.cpu_seconds", lambda: next(clock))
    with timed() as spent:
        assert spent == {}
    assert spent["cpu_seconds"] == 7.5
    monkeypatch.undo()
    subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert machine.cpu_seconds() >= usage.ru_utime + usage.ru_stime


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", page.parts())
def test_every_part_takes_the_options_that_it_names(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command in a module's docstring is one that the module takes, as `python -m` runs it."""
    module = f"serbench.benchmarks.performance.parts.{name}"
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    source = (Path(page.__file__).with_name("parts") / f"{name}.py").read_text(encoding="utf-8")
    typed = next(line for line in source.splitlines() if line.startswith(f"    python -m {module}"))
    assert "--out" in typed
    assert all(option in text for option in re.findall(r"--\w+", typed))
    assert re.search(r"^def rows\(", source, re.MULTILINE)

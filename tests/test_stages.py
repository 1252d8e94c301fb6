"""Where a long work is: stages, and the line about them that comes at least every 30 seconds, on a clock of our own."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from serbench.benchmarks.cli.app import called
from serbench.benchmarks.core import pulse as pulse_module
from serbench.benchmarks.core.progress import Silent, Terminal
from serbench.benchmarks.core.pulse import Pulse, pulsing
from serbench.datasets.core import stages
from serbench.datasets.core.stages import duration, noted, opened, stage, track, where


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stages, "clock", made)
    return made


def test_stages_nest_and_tell_what_is_left(clock: Clock) -> None:
    assert where(clock.now) == ""
    with stage("serbench run"), stage("linear on demo", 4) as units:
        clock.now += 10
        units(1, "epoch 3/50")
        clock.now += 60
        units(2, "epoch 1/50")
        assert where(clock.now) == "serbench run: linear on demo 2 of 4 (epoch 1/50), 1 min 10 s, about 2 min 0 s left"
        with stage("batches", 10) as batches:
            batches(0)
            assert "linear on demo 2 of 4 (epoch 1/50): batches 0 of 10, 1 min 10 s" in where(clock.now)
            clock.now += 8
            batches(8)
            assert where(clock.now).endswith("batches 8 of 10, 1 min 18 s, about 2 s left")
    assert opened() == ()


def test_a_stage_is_closed_by_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), stage("outer"), stage("inner"):
        raise ValueError("broken")
    assert opened() == ()


def test_items_are_counted_with_and_without_a_length() -> None:
    seen = [(item, opened()[-1].text()) for item in track("ab", "letters")]
    assert seen == [("a", "letters 0 of 2"), ("b", "letters 1 of 2")]
    seen = [(item, opened()[-1].text()) for item in track(iter("ab"), "letters")]
    assert seen == [("a", "letters"), ("b", "letters 1")]
    with stage("writing, file"):
        noted("a.wav")
        noted("b.wav")
        assert opened()[-1].text() == "writing, file 2 (b.wav)"
    noted("nobody's")
    assert opened() == ()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_comes_at_least_every_30_seconds_and_no_sooner_than_every_20(clock: Clock) -> None:
    lines: list[tuple[float, str]] = []
    pulse = Pulse(lambda line: lines.append((clock.now, line)))
    rng = np.random.default_rng(0)
    begin = clock.now
    with stage("serbench extract"), stage("encoder", 500) as at:
        for k in range(500):
            clock.now += rng.uniform(0.2, 2.0)  # looks that come late
            at(k)
            pulse.look()
    times = [begin, *(time for time, _ in lines), clock.now]
    gaps = np.diff(times)
    assert len(lines) > 15
    assert gaps.max() < 30
    assert gaps[:-1].min() >= 20
    assert "encoder 4" in lines[-1][1]


def test_a_work_that_reports_nothing_is_told_of_all_the_same(clock: Clock) -> None:
    lines: list[str] = []
    pulse = Pulse(lines.append)
    with stage("serbench merge"):
        for _ in range(61):
            clock.now += 1
            pulse.look()
    assert lines == ["serbench merge, 20 s", "serbench merge, 40 s", "serbench merge, 1 min 0 s"]


def test_nothing_is_written_between_works_behind_a_bar_or_after_another_line(clock: Clock) -> None:
    lines: list[str] = []
    pulse = Pulse(lines.append)
    clock.now += 100
    pulse.look()
    with stage("bar") as at:
        at.shown = True
        pulse.look()
        at.shown = False
        pulse.spoke()
        clock.now += 19
        pulse.look()
        assert not lines
        clock.now += 1
        pulse.look()
    assert lines == ["bar, 20 s"]


def test_the_thread_writes_while_the_work_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch that takes as long as it wants: the line comes from beside it."""
    written, lines = threading.Event(), []
    monkeypatch.setattr(pulse_module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(pulse_module, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(pulse_module, "_to_stderr", lambda line: (lines.append(line), written.set()))
    with pulsing(), pulsing(), stage("a long batch"):
        assert written.wait(20)
    assert lines[0].startswith("a long batch")
    assert not pulse_module._beating
    assert not [t for t in threading.enumerate() if t.name == "serbench-pulse"]


@pytest.mark.parametrize("display", [Silent, Terminal])
def test_displays_say_where_they_are(display: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shown = display()
    with shown.extraction("mel", 7) as step:
        step(3, 8, 60.0)
        assert opened()[-1].text().startswith("mel 3 of 8")
        assert not opened()[-1].shown
    with shown.units("linear on demo", 5) as units:
        units.step("epoch 2/50 train", 0.5)
        assert opened()[-1].text() == "linear on demo 0 of 5 (epoch 2/50 train)"
    assert opened() == ()


def test_the_command_is_called_by_what_was_typed_before_its_options() -> None:
    assert called(["words", "align", "demo", "--out", "x.csv"]) == "serbench words align demo"
    assert called([]) == "serbench"


def test_a_command_writes_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    """The whole way, in a process of its own, with a fifth of a second for twenty.

    The first file waits for the line that counts it, so nothing hangs on how fast the others are written: a line from
    before the first file has no number yet.
    """
    code = (
        "import sys, threading; from serbench.benchmarks.cli import app; from serbench.benchmarks.core import pulse\n"
        "from serbench.datasets.core import stages\n"
        "pulse.EVERY_SECONDS, pulse.LOOK_SECONDS = 0.2, 0.05\n"
        "told, say, count = threading.Event(), pulse._to_stderr, stages.Stage.__call__\n"
        "def tell(line):\n"
        "    say(line)\n"
        "    if 'writing ravdess, file ' in line: told.set()\n"
        "def wait(self, *args, **kwargs):\n"
        "    count(self, *args, **kwargs)\n"
        "    if self.name.startswith('writing ravdess'): told.wait(60)\n"
        "pulse._to_stderr, stages.Stage.__call__ = tell, wait\n"
        f"sys.argv = ['serbench', 'mock', 'ravdess', {str(tmp_path / 'ravdess')!r}]; app.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    lines = [line for line in done.stderr.splitlines() if line.startswith("serbench mock ravdess")]
    assert lines, done.stderr
    assert "writing ravdess, file " in lines[-1]


LONG = (
    "datasets/demo/writing.py",
    "datasets/mocks/_common.py",
    "features/extraction/extract.py",
    "features/encoders/long_signals.py",
    "features/extraction/npz.py",
    "features/cache/cache.py",
    "features/words/word2vec.py",
    "features/words/speech2vec.py",
    "features/spaces/adversarial.py",
    "features/spaces/mapping.py",
    "results/record/folder.py",
    "results/tables/leaderboard.py",
    "results/tables/compare.py",
    "results/tables/pair_tests.py",
    "results/statistics/bootstrap.py",
    "results/statistics/randomisation.py",
    "results/statistics/simulation.py",
    "results/record/sharing.py",
    "results/report/data.py",
    "benchmarks/core/progress.py",
    "benchmarks/cli/app.py",
    "benchmarks/corpora/mock.py",
    "benchmarks/budget/estimate.py",
    "benchmarks/analyses/clusters.py",
    "benchmarks/tune/search.py",
    "benchmarks/studies/significance.py",
)
"""The modules whose work may be long; whatever moves them, each says where it is."""


@pytest.mark.parametrize("module", LONG)
def test_every_long_work_has_a_stage(checkout: Path, module: str) -> None:
    tree = ast.parse((checkout / module).read_text(encoding="utf-8"))
    used = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert used & {"stage", "track", "noted"}

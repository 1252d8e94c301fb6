"""The grid on a real Ray cluster: a head and two workers of one processor on 127.0.0.1, with a generated token.

Each test ends only the processes that it started.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.finished import source_digest
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.ray.launcher import differing
from serbench.benchmarks.ray.local_cluster import LocalCluster, descendants, local_cluster
from serbench.benchmarks.ray.node import shard_of, shards
from serbench.benchmarks.ray.slots import Node, shares
from serbench.datasets.core.errors import SerbenchError
from serbench.results.record.folder import Run, load_runs

SERBENCH = [sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    pytest.importorskip("ray")
    with local_cluster([("w1", 1), ("w2", 1)]) as started:
        yield started


@pytest.fixture
def doomed() -> Iterator[LocalCluster]:
    """A cluster whose head may be killed."""
    pytest.importorskip("ray")
    with local_cluster([("w1", 1), ("w2", 1)]) as started:
        yield started


@pytest.fixture(scope="module")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 40 babbles of 10 speakers."""
    return toy_corpus(seconds=0.4)


def command(corpus_file: Path | str, results: Path, *more: str) -> list[str]:
    return [
        *SERBENCH,
        "run",
        "--dataset",
        "table",
        "--root",
        str(corpus_file),
        "--results",
        str(results),
        "--threads",
        "1",
        *more,
    ]


def on_cluster(cluster: LocalCluster, **env: str) -> dict[str, Any]:
    """Arguments of `subprocess.run` for a command on the cluster."""
    return {"env": cluster.env(**env), "capture_output": True, "text": True, "timeout": 240}


def together(cluster: LocalCluster, *commands: tuple[list[str], dict[str, Any]]) -> list[Any]:
    """The outcomes of several commands that run at the same time, each with further arguments of its own."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(lambda one: subprocess.run(one[0], **(on_cluster(cluster) | one[1])), commands))


def ray_options(cluster: LocalCluster) -> tuple[str, ...]:
    return ("--launcher", "ray", "--address", cluster.address)


def records(results: Path) -> dict[str, bytes]:
    """Everything in a results folder that must not depend on where it was computed: name -> bytes."""
    found = {}
    for path in sorted(results.glob("runs/[!.]*/*")):
        if path.name.startswith("unit-") and path.suffix == ".json":
            facts = json.loads(path.read_text())
            varying = (
                "seconds",
                "cpu_seconds",
                "peak_mib",
                "seconds_fit",
                "seconds_predict",
                "cost",
                "finished",
                "checksum",
            )
            kept = {key: value for key, value in facts.items() if key not in varying}
            kept["epochs"] = [{k: v for k, v in row.items() if "seconds" not in k} for row in kept.get("epochs") or []]
            found[f"{path.parent.name}/{path.name}"] = json.dumps(kept, sort_keys=True).encode()
        elif path.name != "run.json":
            found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
    return found


@pytest.mark.slow
def test_records_are_those_of_a_serial_run(cluster: LocalCluster, corpus_file: Path, tmp_path: Path):
    """Also where training audio is perturbed, whose features are made on the nodes."""
    more = ("--model", "linear", "--task", "arousal", "--trials", "2", "--train-with", "gain:-20")
    serial, done = together(
        cluster,
        (command(corpus_file, tmp_path / "serial", *more), {}),
        (command(corpus_file, tmp_path / "ray", *more, *ray_options(cluster)), {}),
    )
    assert serial.returncode == 0, serial.stderr
    assert done.returncode == 0, done.stderr
    assert "2 nodes, 2 trials at a time, one cache" in done.stderr
    assert records(tmp_path / "ray") == records(tmp_path / "serial")
    assert (
        len([name for name in records(tmp_path / "ray") if name.endswith(".parquet")]) == 3 * 5
    )  # items, two units of test and dev
    assert not list((cluster.folder / "cache" / "cluster").glob("*"))  # nothing is left on the nodes


@pytest.mark.slow
def test_a_trial_that_fails_three_times_is_recorded_with_its_log(
    cluster: LocalCluster, corpus_file: Path, tmp_path: Path
):
    more = ("--model", "cnn-regressor:small", "--task", "arousal", "--trials", "1", "--set", "train.learning_rate=1e30")
    done = subprocess.run(command(corpus_file, tmp_path, *more, *ray_options(cluster)), **on_cluster(cluster))
    assert done.returncode == 1, done.stderr
    assert "attempt 2 of 3 failed" in done.stderr
    assert "Traceback" not in done.stderr
    by_model = {r.spec["model"]["name"]: r for r in load_runs(tmp_path)}
    (failed,) = by_model["cnn-regressor"].units()
    assert failed["status"] == "failed"
    assert failed["attempts"] == 3
    assert "finite" in failed["error"]
    assert by_model["chance"].units()[0]["status"] == "done"
    (log,) = by_model["cnn-regressor"].path.glob("*.log")
    assert "Traceback" in log.read_text()
    assert "finite" in log.read_text()


@pytest.mark.slow
def test_every_node_must_have_the_corpus(cluster: LocalCluster, corpus_file: Path, tmp_path: Path):
    """`/proc/self/cwd` is another folder in each process: the launcher has a corpus there, the nodes have none."""
    own = "/proc/self/cwd/toy.csv"
    more = ("--model", "chance", "--trials", "1", *ray_options(cluster))
    mapped = ("--root", f"table@w1={corpus_file}", "--root", f"table@w2={corpus_file}")
    here = {"cwd": corpus_file.parent}
    lost, found, stray = together(
        cluster,
        (command(own, tmp_path / "a", *more), here),
        (command(own, tmp_path / "b", *more, *mapped), here),
        (command(own, tmp_path / "c", *more, "--root", f"table@w9={corpus_file}"), here),
    )
    assert lost.returncode == 2
    assert "does not have the corpus table" in lost.stderr
    assert "SERBENCH_ROOT_TABLE" in lost.stderr
    assert "w1" in lost.stderr
    assert "w2" in lost.stderr
    assert found.returncode == 0, found.stderr
    assert stray.returncode == 2
    assert "there is no such node. There are: head, w1, w2" in stray.stderr


@pytest.mark.slow
def test_what_a_cluster_refuses(cluster: LocalCluster, corpus_file: Path, tmp_path: Path):
    more = ("--model", "chance", "--trials", "1", *ray_options(cluster))
    learnt = command(corpus_file, tmp_path, "--model", "cnn-regressor:small", "--task", "arousal", *more[2:])
    other = {"env": cluster.env(RAY_AUTH_TOKEN=secrets.token_hex(32))}
    cards, wrong, many, lacking = together(
        cluster,
        (command(corpus_file, tmp_path / "a", *more, "--gpus-per-trial", "0.5"), {}),
        (command(corpus_file, tmp_path / "b", *more), other),
        (command(corpus_file, tmp_path / "c", *more, "--cpus-per-trial", "64"), {}),
        ([*learnt, "--gpus-per-trial", "1"], {}),
    )
    for done, said in (
        (wrong, "refuses the token"),
        (many, "--cpus-per-trial 64: no node of the cluster has so many"),
        (lacking, "--gpus-per-trial 1: no node of the cluster has so many. There are: head (0 CPUs, 0 GPUs)"),
    ):
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert cards.returncode == 0, cards.stderr  # chance takes no card


@pytest.mark.slow
def test_given_weights_and_matrices_are_those_of_a_serial_run(cluster: LocalCluster, corpus_file: Path, tmp_path: Path):
    """Weights in a folder that only the launcher's paths lead to; each of the two corpora is trained on and tested."""
    trained = command(corpus_file, tmp_path / "trained", "--model", "linear", "--task", "arousal", "--trials", "1")
    done = subprocess.run([*trained, "--save-models"], **on_cluster(cluster))
    assert done.returncode == 0, done.stderr
    (weights,) = (tmp_path / "trained").glob("runs/*linear*/*.safetensors")
    scored = ("--weights", str(weights.relative_to(tmp_path)), "--trials", "2")
    crossed = [*SERBENCH, "cross", "--models", "linear", "--datasets", "table", "demo", "--task", "arousal"]
    crossed += ["--root", f"table={corpus_file}", "--trials", "1", "--threads", "1"]
    crossed += ["--set", "model.feature=mel", "--results"]  # cheap: what is tried is where it is computed
    here = {"cwd": tmp_path}
    for of_weights, of_cross, more in (("a", "b", ()), ("c", "d", ray_options(cluster))):
        for one in together(
            cluster,
            (command(corpus_file, tmp_path / of_weights, *scored, *more), here),
            ([*crossed, str(tmp_path / of_cross), *more], here),
        ):
            assert one.returncode == 0, one.stderr
    for serial, ray in (("a", "c"), ("b", "d")):
        assert records(tmp_path / serial)
        assert records(tmp_path / ray) == records(tmp_path / serial)
    assert sorted(p.name for p in (tmp_path / "d").glob("*.csv")) == sorted(
        p.name for p in (tmp_path / "b").glob("*.csv")
    )


@pytest.mark.slow
def test_a_study_is_that_of_a_serial_run(cluster: LocalCluster, corpus_file: Path, tmp_path: Path):
    """Two rows of MAEC's study: the tables that it writes, and the records that they stand on."""
    study = [*SERBENCH, "study", "maec", "--dataset", "table", "--root", str(corpus_file), "--task", "emotion"]
    study += ["--preset", "small", "--set", "train.epochs=1", "--set", "train.patience=0", "--trials", "2"]
    study += ["--without", "regularisation", "--baseline", "none", "--threads", "1", "--device", "cpu", "--results"]
    for one in together(
        cluster, ([*study, str(tmp_path / "serial")], {}), ([*study, str(tmp_path / "ray"), *ray_options(cluster)], {})
    ):
        assert one.returncode == 0, one.stderr
    assert records(tmp_path / "ray") == records(tmp_path / "serial")
    written = {path.name: path.read_bytes() for path in (tmp_path / "serial" / "studies").glob("*.md")}
    assert len([name for name in records(tmp_path / "ray") if "maec" in name and name.endswith(".parquet")]) == 2 * 5
    assert written
    assert {path.name: path.read_bytes() for path in (tmp_path / "ray" / "studies").glob("*.md")} == written


PAPER = """
title = "On a cluster"
protocol = { trials = 2, subsets = 2 }
corpora = [{ name = "table" }]
models = [{ name = "level", model = "linear", settings = ["model.feature=level"] }, { name = "luck", model = "chance" }]
experiments = [{ train = "table", tasks = ["emotion"] }]
comparisons = [{ name = "main", system = "level" }]
tables = [{ name = "scores", comparison = "main" }]
"""


@pytest.mark.slow
def test_a_paper_is_that_of_a_serial_run(cluster: LocalCluster, corpus_file: Path, tmp_path: Path):
    """The records of a plan, and every table and number that its folder holds."""
    (tmp_path / "plan.toml").write_text(PAPER)
    plan = [*SERBENCH, "paper", str(tmp_path / "plan.toml"), "--root", f"table={corpus_file}", "--threads", "1"]

    def typed(name: str, *more: str) -> tuple[list[str], dict[str, Any]]:
        where = ["--results", str(tmp_path / name), "--out", str(tmp_path / f"{name}-paper")]
        return [*plan, "--device", "cpu", *where, *more], {}

    for one in together(cluster, typed("serial"), typed("ray", *ray_options(cluster))):
        assert one.returncode == 0, one.stderr
    assert records(tmp_path / "ray") == records(tmp_path / "serial")
    for name in ("tables/scores.tex", "scores.csv", "comparisons.csv", "references.bib"):
        assert (tmp_path / "ray-paper" / name).read_bytes() == (tmp_path / "serial-paper" / name).read_bytes()


@pytest.mark.slow
def test_killed_worker_launcher_and_head_end_in_the_same_numbers(
    doomed: LocalCluster, corpus_file: Path, tmp_path: Path
):
    more = (
        "--model",
        "cnn-regressor:small",
        "--task",
        "arousal",
        "--trials",
        "5",
        "--set",
        "train.epochs=3",
        "--set",
        "train.patience=0",
    )
    whole = subprocess.run(command(corpus_file, tmp_path / "whole", *more), **on_cluster(doomed))
    assert whole.returncode == 0, whole.stderr

    killed = command(corpus_file, tmp_path / "killed", *more, *ray_options(doomed))
    launcher = subprocess.Popen(killed, env=doomed.env(), stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: working(doomed, "w2") and unfinished(doomed))
    doomed.kill("w2")
    assert wait_for(lambda: units(tmp_path / "killed"))
    launcher.kill()
    launcher.communicate()
    first = units(tmp_path / "killed")
    assert len(first) < 4

    again = subprocess.Popen(killed, env=doomed.env(), stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: len(units(tmp_path / "killed")) > len(first))
    doomed.kill("head")
    doomed.kill("w1")  # which would go on with its trials while the launcher waits for the head
    said = again.communicate(timeout=240)[1]
    assert again.returncode == 2, said
    assert "1 nodes, 1 trials at a time" in said
    assert "does not answer any more" in said
    assert "the same command goes on where this one was" in said
    assert len(units(tmp_path / "killed")) < 5

    last = subprocess.run(command(corpus_file, tmp_path / "killed", *more), **on_cluster(doomed))
    assert last.returncode == 0, last.stderr
    assert records_but_attempts(tmp_path / "killed") == records_but_attempts(tmp_path / "whole")


def unfinished(cluster: LocalCluster) -> list[Path]:
    return list(cluster.folder.glob("cache/cluster/*/runs/*cnn*/.unfinished-*"))


def units(results: Path) -> list[Path]:
    return list(results.glob("runs/*cnn*/unit-*.json"))


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    return None


def working(cluster: LocalCluster, name: str) -> bool:
    """Whether a node has a process that works on a trial: the trial's output goes to a file that it holds open."""
    for pid in descendants(cluster.nodes[name].pid):
        try:
            opened = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if any("/cluster/" in file and "/logs/" in file for file in opened):
            return True
    return False


def records_but_attempts(results: Path) -> dict[str, Any]:
    """As `records`, without how often a unit was tried and where a training was taken up."""
    found: dict[str, Any] = dict(records(results))
    for name, data in found.items():
        if name.endswith(".json") and "unit-" in name:
            facts = json.loads(data)
            facts.pop("attempts", None)
            facts["facts"].pop("resumed_after_epoch", None)
            found[name] = facts
    return found


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--launcher", "rai"], "Did you mean 'ray'?"),
        (["--launcher", "ray", "--jobs", "2"], "--jobs is for local processes"),
        (["--launcher", "ray", "--address", "nowhere"], "expected HOST:PORT"),
        (["--launcher", "ray", "--address", "127.0.0.1:9"], "nothing answers there"),
        (["--launcher", "ray", "--gpus-per-trial", "1.5"], "a part of a card (0.5) or a whole number"),
        (["--launcher", "ray", "--device", "cuda"], "--gpus-per-trial 1"),
        (["--launcher", "ray", "--gpus-per-trial", "1", "--device", "cpu"], "leave out one"),
        (["--launcher", "ray", "--cpus-per-trial", "0"], "expected 1 or more"),
        (["--address", "127.0.0.1:9"], "Type --launcher ray with it"),
        (["--root", "table@w1=/data"], "Type --launcher ray with it"),
    ],
)
def test_bad_options_say_what_to_type(corpus_file: Path, tmp_path: Path, more: list[str], said: str):
    done = CliRunner().invoke(app, command(corpus_file, tmp_path, "--model", "chance", *more)[3:])
    assert isinstance(done.exception, SerbenchError)
    assert said in str(done.exception)


def test_without_ray_the_extra_is_named(corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(app, command(corpus_file, tmp_path, "--model", "chance", "--launcher", "ray")[3:])
    assert "pip install 'serbench[ray]'" in str(done.exception)


def test_nodes_of_other_versions_are_named():
    same = {"versions": {"serbench": "1", "numpy": "2.4"}, "sources": source_digest(), "problems": []}
    other = {**same, "versions": {"serbench": "1", "numpy": "2.3"}}
    a, b = Node("1", "a", "10.0.0.1", 4, 0), Node("2", "b", "10.0.0.2", 4, 0)
    assert differing({a: same, b: same}) == []
    (problem,) = differing({a: same, b: other})
    assert "b (4 CPUs, 0 GPUs): numpy 2.3, but a (4 CPUs, 0 GPUs) has 2.4" in problem
    (problem,) = differing({a: same, b: {**same, "sources": "0" * 16}})
    assert "is not the one here" in problem


@pytest.mark.parametrize(
    ("cards", "each", "fit"), [(1, 0.5, 2), (2, 0.3, 6), (4, 1, 4), (4, 2, 2), (3, 2, 1), (0, 1, 0), (1, 0.1, 10)]
)
def test_cards_are_shared_in_parts(cards: float, each: float, fit: int):
    assert shares(cards, each) == fit


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_cut_whole_files_and_batches(count: int):
    rows = pd.DataFrame({"path": [f"{k // 3}.wav" for k in range(30)]}, index=[f"u{k}" for k in range(30)])
    parts = [shard_of(rows, k, count) for k in range(count)]
    assert sorted(i for part in parts for i in part.index) == sorted(rows.index)
    assert sum(part["path"].nunique() for part in parts) == rows["path"].nunique()
    batches = [["9.wav", "0.wav"], ["1.wav", "5.wav", "2.wav"], ["3.wav"], ["4.wav", "6.wav"], ["7.wav", "8.wav"]]
    for part in (shard_of(rows, k, count, batches) for k in range(count)):
        assert all(set(batch) <= set(part["path"]) or not set(batch) & set(part["path"]) for batch in batches)


def test_as_many_shards_as_keep_the_slots_busy():
    assert [shards(files, slots) for files, slots in ((0, 4), (10, 4), (100, 4), (100_000, 4))] == [1, 1, 6, 16]


def test_a_unit_is_adopted_byte_for_byte_and_only_if_whole(corpus_file: Path, tmp_path: Path):
    (one,) = run("chance", "table", root=corpus_file, results=tmp_path / "a", trials=1, task="arousal")
    copy = Run.create(tmp_path / "b", one.spec)
    files = {path.name: path.read_bytes() for path in one.unit_files(0, "official")}
    damaged = {name: data[:-1] if name.endswith("parquet") else data for name, data in files.items()}
    with pytest.raises(SerbenchError, match="did not arrive whole"):
        copy.adopt_unit(0, "official", damaged)
    assert copy.units() == []
    copy.adopt_unit(0, "official", files)
    assert {path.name: path.read_bytes() for path in copy.unit_files(0, "official")} == files
    copy.verify()

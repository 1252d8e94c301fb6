"""Same seed, same bits: every model in its smallest configuration, trained again, in two processes, and after a kill.

Each model is trained for a few epochs on the same noises, two trials each. What it leaves (predictions, records, cache)
is compared to the byte with what the same command leaves in another folder, with `jobs=2`, and after a SIGKILL at a
random point and a second call. Its predictions are compared with those of `golden.json`, which were made on another
day: to the bit where processor and libraries are among those that it names, elsewhere within a tolerance.

    python -m serbench.benchmarks.torture.bits [--add]

writes `golden.json` anew where a model has changed on purpose, or adds the bits of this machine to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib
import json
import platform
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from ...datasets.core.config import to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...results.record.folder import load_runs
from ...sermodels import registry
from ..conformance.material import tiny
from ..core.machine import versions
from .children import at_exit, call, learn, loaded, warm
from .faults import Faults
from .tally import Tally
from .works import fingerprint, leftovers, sound, write_corpus

GOLDEN = Path(__file__).with_name("golden.json")
EPOCHS = 3
SECONDS = 120
TOLERANCE = 0.02
"""Of class scores, on other libraries or processors: rounding differs there, and training amplifies it."""
DECIDES = ("torch", "numpy", "scipy", "scikit-learn", "librosa", "opensmile", "transformers")
"""Libraries that numbers depend on."""


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """For each model a row of repetitions, and one of comparison with what was written down."""
    table, known = write_corpus(place / "corpus", 24), golden()
    for name in names or registry.names():
        folder, count = place / "once", trained(name, table, place / "once")
        once = fingerprint(folder)
        yield repeated(name, table, once, (place, count), rounds, Random(f"{name} {seed}"))
        yield compared(name, folder, known)
        shutil.rmtree(folder)


def trained(name: str, table: Path, folder: Path, jobs: int = 1, at: int = 0) -> int:
    """Train a model in a child, killed at a point if one is given; the number of points that it passed."""
    counted, faults = folder.with_suffix(".count"), Faults(folder, at=at)
    counted.unlink(missing_ok=True)

    def body() -> None:
        faults.install()
        at_exit(lambda: counted.write_text(f"{faults.count}\n{loaded()}"))
        train(name, table, jobs)

    done = call(body, folder, seconds=SECONDS)
    if at:
        if done.status != 128 + signal.SIGKILL:
            raise RuntimeError(f"{name} ended with {done.status} in front of point {at}")
        return 0
    sound(done, f"{name}, jobs={jobs}")
    count, modules = counted.read_text().split("\n", 1)
    learn(modules)
    return int(count)


def train(name: str, table: Path, jobs: int) -> None:
    """Two trials of a model's smallest configuration in the results folder here; a failed unit is an error."""
    from ..grid.execution import Execution
    from ..grid.grid import run_requests
    from ..protocol.protocol import Protocol
    from ..protocol.request import Request

    task = "emotion" if "classification" in registry.load(name).Model.kinds else "arousal"
    request = Request(name, "table", str(table), task=task, trials=2, protocol=Protocol(subsets=2), allow_leak=True)
    how = Execution("results", device="cpu", jobs=jobs, threads=1)
    (run,) = run_requests([request], how, config=to_dict(small(name)))
    failed = [facts["error"] for facts in run.units() if facts["status"] != "done"]
    if failed:
        raise RuntimeError(f"{name}: {failed[0]}")


def small(name: str) -> Any:
    """A model's `TINY`, for a few epochs."""
    config = tiny(name)
    if not hasattr(config, "train"):
        return config
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=EPOCHS))


def repeated(
    name: str, table: Path, once: Mapping[str, str], measured: tuple[Path, int], rounds: int, rng: Random
) -> Tally:
    """Again, with two processes, and after a kill, each so often; all leave what `once` says."""
    row = Tally(name, "the same command again")
    place, count = measured
    for how, way in list(WAYS.items()) * rounds:
        folder = place / "again"
        way(name, table, folder, rng.randrange(1, count + 1))
        found = fingerprint(folder)
        other = sorted(key for key in found.keys() | once.keys() if found.get(key) != once.get(key))
        wrong = other[:4] or leftovers(folder)
        row.add(how, f"{name}, {how}: {', '.join(wrong)} differ or stayed" if wrong else "")
        shutil.rmtree(folder)
    return row


def _again(name: str, table: Path, folder: Path, at: int) -> None:
    trained(name, table, folder)


def _in_two(name: str, table: Path, folder: Path, at: int) -> None:
    trained(name, table, folder, jobs=2)


def _killed(name: str, table: Path, folder: Path, at: int) -> None:
    trained(name, table, folder, at=at)
    trained(name, table, folder)


WAYS: dict[str, Callable[[str, Path, Path, int], None]] = {
    "in another folder": _again,
    "with jobs=2": _in_two,
    "after a kill": _killed,
}
"""How a model is trained again, into a folder; the last argument is a point of its work."""


# On another day.


def golden() -> dict[str, Any]:
    """What was written down.

    `made_with` is a list of machines; each model has `values`, its predictions on the first of them, and `sha256`, the
    digests of its predictions on each of them.
    """
    return dict(json.loads(GOLDEN.read_text(encoding="utf-8"))) if GOLDEN.exists() else {"made_with": [], "models": {}}


def made_with() -> dict[str, str]:
    """The processor, what torch uses of it, and the libraries, by which the bits of a number are decided."""
    torch, here = importlib.import_module("torch"), versions()
    machine = {"machine": platform.machine(), "processor": _processor()}
    return machine | {"vectors": torch.backends.cpu.get_cpu_capability()} | {name: here[name] for name in DECIDES}


def _processor() -> str:
    """Name, family and model, where the system says so."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    facts = dict(line.split(":", 1) for line in info.split("\n\n", 1)[0].splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in facts.items()}
    said = [known[key] for key in ("model name", "cpu family", "model", "stepping") if key in known]
    return ", ".join(said) or platform.processor()


def predictions(folder: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Every number that a model predicted, (row, output), in the order of trials and items."""
    (run,) = load_runs(folder / "results")
    frame = run.predictions().sort_values(["trial", "id"])
    return np.asarray(frame[[c for c in frame.columns if c.startswith(("p_", "pred_"))]], dtype=np.float64)


def compared(name: str, folder: Path, known: Mapping[str, Any]) -> Tally:
    """A model's predictions beside those that were written down."""
    row, here, values = Tally(name, "beside another day's"), made_with(), predictions(folder)
    written = known["models"].get(name)
    if written is None:
        row.add("", f"{name}: golden.json has nothing of it; python -m serbench.benchmarks.torture.bits writes it")
    elif here in known["made_with"]:
        same = digest(values) == written["sha256"][known["made_with"].index(here)]
        row.add("the same bits", "" if same else f"{name}: other bits than written down")
    else:
        apart = distance(values, written)
        row.add(f"within {TOLERANCE}", f"{name}: {apart:.3g} from what is written down" if apart > TOLERANCE else "")
    return row


def distance(values: np.ndarray[Any, np.dtype[np.float64]], written: Mapping[str, Any]) -> float:
    """The largest difference of predictions from those that were written down."""
    return float(np.abs(values - np.reshape(written["values"], values.shape)).max())


def digest(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """SHA-256 of numbers by their bits."""
    return hashlib.sha256(np.ascontiguousarray(values, "<f8").tobytes()).hexdigest()


def write_golden(place: Path, add: bool = False) -> None:
    """Train every model here, and write down what it predicts; with `add`, beside what other machines' bits were."""
    table, known, here = write_corpus(place / "corpus", 24), golden(), made_with()
    models: dict[str, Any] = {}
    for name in registry.names():
        trained(name, table, place / name)
        values = predictions(place / name)
        models[name] = {"sha256": [digest(values)], "values": values.round(6).ravel().tolist()}
        if add:
            models[name] = added(name, values, known)
    others = [made for made in known["made_with"] if add and made != here]
    write_text(GOLDEN, as_text([*others, here], models))


def added(name: str, values: np.ndarray[Any, np.dtype[np.float64]], known: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of a model, and the bits of this machine behind it; values too far from those are refused."""
    written, here = known["models"][name], made_with()
    if (apart := distance(values, written)) > TOLERANCE:
        raise SerbenchError(f"{name} is {apart:.3g} from what is written down. Expected {TOLERANCE}; see what changed.")
    others = [sha for sha, made in zip(written["sha256"], known["made_with"], strict=True) if made != here]
    return {"sha256": [*others, digest(values)], "values": written["values"]}


def as_text(made: list[dict[str, str]], models: Mapping[str, Any]) -> str:
    """The text of the file: a line for each machine and for each model."""
    machines = ",\n".join(f"  {json.dumps(one)}" for one in made)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in models.items())
    return f'{{\n "made_with": [\n{machines}\n ],\n "models": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write golden.json, the predictions of every model.")
    parser.add_argument("--add", action="store_true", help="add this machine's bits to those that are there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made_here:
        warm()
        write_golden(Path(made_here), given.add)

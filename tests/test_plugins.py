"""Components of other distributions: they do what ours do, are checked as ours are, and break alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.registry import Registry

WALK = """
import json, sys
from typer.testing import CliRunner
from serbench.benchmarks.cli.app import app
done = []
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, command)
    error = "" if result.exception is None else f"{type(result.exception).__name__}: {result.exception}"
    done.append([result.exit_code, result.output, error])
print(json.dumps(done))
"""
BROKEN = {
    "broken_parts/__init__.py": '"""Parts that are wrong, each in its own way."""\n',
    "broken_parts/stops.py": '"""A model that stops at its import."""\n\nraise RuntimeError("no such kernel")\n',
    "broken_parts/grammar.py": '"""A feature that is no Python."""\n\ndef extract(:\n',
    "broken_parts/drifts.py": '''"""A feature whose output drifts, with a frame too many, and no documented field."""

from dataclasses import dataclass

import numpy as np
from serbench.features.core.feature_extractor import FeatureExtractor


@dataclass
class Config:
    rate: int = 16000


class Extractor(FeatureExtractor):
    version, sampling_rate, dim, hop_seconds, name = 1, 16000, 3, None, "else"

    def extract(self, signal):
        signal[:1] += 1
        return np.random.default_rng().normal(size=(2, 3)).astype(np.float32)
''',
    "broken_parts/forgets.py": '''"""A model that looks at company and labels, and forgets what it has learnt."""

from dataclasses import dataclass

import numpy as np
from serbench.datasets.core.config import option
from serbench.features.core.feature_extractor import FeatureRequest
from serbench.sermodels.core.sermodel import FitLog, SERModel


@dataclass(frozen=True)
class Config:
    k: int = option(1, "nothing")


PRESETS = {"default": Config()}


class Model(SERModel):
    name, kinds, parameters = "forgets", frozenset({"regression"}), 0

    @classmethod
    def requests(cls, config, task):
        return {"other": FeatureRequest("mel")}

    def fit(self, train, dev, score, unlabelled=None):
        self.offset = np.random.default_rng().normal()
        return FitLog()

    def predict(self, data):
        return np.full((len(data), 2), len(data) + self.offset) + (data.labels is not None)

    def state(self):
        return {"nothing": np.zeros(1)}, {}

    def restore(self, arrays, facts):
        self.offset = 0.0
''',
    "broken_parts/careless.py": '''"""A dataset that mixes its speakers and states nothing of itself."""

from pathlib import Path

from serbench.datasets.schema.corpus import Corpus, Fold, make_table
from serbench.datasets.schema.task import Task

TASK_NAMES = ("mood",)


def load(root=None, release=None):
    rows = [{"id": k, "path": f"{k}.wav", "speaker": "a", "emotion": "anger", "part": "xyz"[k % 3]} for k in range(9)]
    fold = Fold("one", test={"part": ("x",)}, dev={"part": ("y",)})
    task = Task("emotion", "classification", ("emotion",), ("anger", "fear"))
    return Corpus("careless", "", root or Path("/nowhere"), make_table(rows), (task,), {"s": (fold,)})
''',
    "broken_parts-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: broken-parts\nVersion: 1\n",
    "broken_parts-1.dist-info/entry_points.txt": """[serbench.models]
stops = broken_parts.stops
forgets = broken_parts.forgets
attribute = broken_parts.forgets:Model
[serbench.features]
grammar = broken_parts.grammar
drifts = broken_parts.drifts
absent = broken_parts.absent
[serbench.datasets]
careless = broken_parts.careless
""",
}


@pytest.fixture(scope="module")
def example(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the example distribution was installed into."""
    source, target = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("installed")
    shutil.copytree(checkout / "tests/plugin_example", source)
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    for name, text in BROKEN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def walk(path: Path, *commands: str) -> list[tuple[int, str, str]]:
    """Exit status, output and error of commands, one after the other in a process that sees the plug-ins of a path."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1", "COLUMNS": "200"}
    lines = json.dumps([command.split() for command in commands])
    done = subprocess.run([sys.executable, "-c", WALK, lines], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return [tuple(result) for result in results]


def test_a_plug_in_goes_the_whole_way(example: Path, tmp_path: Path) -> None:
    root, results = tmp_path / "tones", tmp_path / "results"
    commands = (
        "list",
        f"mock tones {root}",
        f"check tones --root {root} --strict",
        f"card tones --root {root}",
        f"extract loudness --dataset tones --root {root}",
        f"extract word-length --dataset tones --root {root} --out {tmp_path}/words.npz",
        f"run --model nearest --model nearest:one --dataset tones --root {root} --trials 2 --results {results}",
        f"run --model nearest --set model.feature=word-length --dataset tones --root {root} --task arousal --trials 2 "
        f"--results {results}",
        f"leaderboard --results {results}",
        "mock tone /nowhere",
    )
    listed, *made, board, unknown = walk(example, *commands)
    assert [status for status, _, error in (listed, *made[:1], *made[2:], board) if status or error] == []
    lines = [line.split(maxsplit=1) for line in listed[1].splitlines()]
    assert ["nearest", "default, one"] in lines
    assert ["tones", "emotion, attributes, arousal"] in lines
    assert [
        "loudness",
        "Loudness in short frames: the level in decibels and its change, made from sound and so cached.",
    ] in lines
    assert "count: 1" in made[1][1]  # a miniature has fewer utterances than its corpus
    assert "licence: MIT" in made[2][1]
    assert "30 made or found, 0 failed" in made[3][1]
    assert "30 made or found, 0 failed" in made[4][1]
    assert "nearest:one" in board[1]
    assert "word-length" in board[1]
    assert "Did you mean 'tones'" in unknown[2]


def test_a_plug_in_passes_the_public_checks(example: Path) -> None:
    ((status, said, error),) = walk(example, "conformance serbench-example")
    assert (status, error) == (0, ""), said
    lines = said.splitlines()
    assert {tuple(line.split()[:2]) for line in lines[:-1]} == {
        ("model", "nearest"),
        ("dataset", "tones"),
        ("feature", "loudness"),
        ("feature", "word-length"),
    }
    assert all(line.endswith(" ok") for line in lines[:-1])
    assert len(lines) == 9 + 6 + 4 + 11 + 1


def test_what_is_wrong_with_a_plug_in_is_told_and_breaks_nothing_else(broken: Path) -> None:
    """Every check finds the fault that was put there for it."""
    (status, said, _), listed, alone, attribute = walk(
        broken, "conformance broken-parts", "list", "conformance chance", "conformance attribute"
    )
    assert status == 1
    rows = {tuple(line[:82].strip().split(maxsplit=2)): line[83:] for line in said.splitlines()[:-1]}

    def told(kind: str, name: str, check: str) -> str:
        return next(text for key, text in rows.items() if key == (kind, name, check))

    assert "no such kernel" in told("model", "stops", "offers what a model needs")
    assert "SyntaxError" in told("feature", "grammar", "offers what a feature needs")
    assert "absent" in told("feature", "absent", "offers what a feature needs")
    drifts = told("feature", "drifts", "offers what a feature needs")
    assert "no frozen dataclass" in drifts
    assert "rate of Config has no doc" in drifts
    assert "'else'" in drifts
    careless = {check: text for (_, name, check), text in rows.items() if name == "careless"}
    assert "TASK_NAMES" in careless["declares its tasks"]
    assert "no licence" in careless["says whose it is"]
    assert "a is trained on and tested" in careless["folds keep apart what they must"]
    assert "missing" in careless["the doctor finds no error"]
    forgets = {check: text for (_, name, check), text in rows.items() if name == "forgets"}
    assert "'input'" in forgets.pop("requests known features")
    assert "parameters is 0" in forgets.pop("shapes")
    for check in ("one seed gives one model", "saved and loaded it predicts the same"):
        assert "apart" in forgets.pop(check)
    assert "apart" in forgets.pop("order and company change no prediction")
    assert "apart" in forgets.pop("labels of predicted data decide nothing")
    assert "CCC" in forgets.pop("eight utterances are learnt by heart")
    assert set(forgets.values()) == {"ok"}
    assert listed[0] == alone[0] == 0
    assert "can't be read" in listed[1]
    assert "Expected a module" in attribute[1]


def test_a_feature_is_checked_for_what_it_gives(broken: Path) -> None:
    """The first check of a component ends the others; here they are made one by one."""
    code = """
from serbench.benchmarks.conformance import features as checks
for check in (checks.shapes, checks.the_same_input_gives_the_same_array, checks.many_at_once_are_as_one_by_one):
    print(check.__name__, list(check("drifts")))
"""
    environment = {**os.environ, "PYTHONPATH": str(broken)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    shapes, same, many = done.stdout.splitlines()
    assert "2 frames, expected one" in shapes
    assert "a second call: up to" in same
    assert "the signal after the call" in same
    assert "among others" in many


def test_names_that_stand_for_no_component() -> None:
    from serbench.benchmarks.conformance.components import components

    assert components(["linear", "opensmile:IS10:lld", "linear"]) == [
        ("model", "linear"),
        ("feature", "opensmile:IS10:lld"),
    ]
    with pytest.raises(SerbenchError, match=r"'numpy' adds no component.*serbench\.models"):
        components(["numpy"])
    with pytest.raises(SerbenchError, match=r"installed distribution 'liner'\. Did you mean 'linear'"):
        components(["liner"])
    with pytest.raises(SerbenchError, match="unknown component"):
        components([""])


def test_parts_of_rooms_are_found_by_name() -> None:
    registry = Registry("serbench.sermodels", "serbench.models", "model", "model")
    assert registry.parts("importer") == {"deepemocluster": "serbench.sermodels.deepemocluster.importer"}
    assert registry.parts("reader") == {}
    with pytest.raises(SerbenchError, match=r"unknown model with importer 'linear'\. .*There are: deepemocluster"):
        registry.part("linear", "importer")

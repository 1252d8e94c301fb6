"""What a run is: its id, what makes it comparable with another one, its signature and its short name.

Three digests, from the narrow to the wide: `config` (the model's settings), `protocol` (what two runs must share to be
compared: corpus, task, folds, subsets) and `run` (both, and the features). None of them covers the number of trials,
the preset's name, the command line, library versions or the device: the record keeps those beside the scores.

The signature is the idea of sacrebleu (Post 2018, WMT, doi:10.18653/v1/W18-6319): a score names its recipe on one line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...datasets.core.files import digest
from ...datasets.schema.task import Task

Spec = Mapping[str, Any]
REQUIRED = ("model", "features", "dataset", "task", "protocol")
"""The parts of a specification that decide the numbers."""
UNTRAINED = "no-training"
"""Label of runs that score given weights: their trials are equal by construction."""


def comparable(spec: Spec) -> dict[str, Any]:
    """What two runs must share to be compared: dataset, task and protocol (without the number of trials)."""
    return {
        "dataset": {key: spec["dataset"].get(key) for key in ("name", "release", "digest")},
        "task": dict(spec["task"]),
        "protocol": {key: value for key, value in spec["protocol"].items() if key != "trials"},
    }


def identity(spec: Spec) -> dict[str, Any]:
    """All that decides a run's numbers: `comparable`, the model's name and settings, the features' signatures.

    A run that trained nothing has the digests of its weights in it too, one that searched for settings the search, one
    that was fitted again on train + dev that, and so for calibration, training labels and perturbed training audio; one
    whose test audio was perturbed what was done to it.
    """
    search = spec["model"].get("search")
    weights = [file["sha256"] for file in spec["model"].get("weights") or ()]
    return {
        **comparable(spec),
        "model": {
            "name": spec["model"]["name"],
            "config": spec["model"]["config"],
            **({"weights": weights} if weights else {}),
            **({"search": dict(search)} if search else {}),
            **{key: spec["model"][key] for key in ("refit", "calibrate", "labels") if spec["model"].get(key)},
            **({"train_with": list(spec["model"]["train_with"])} if spec["model"].get("train_with") else {}),
        },
        "features": {role: feature["signature"] for role, feature in spec["features"].items()},
        **({"stress": spec["stress"]["digest"]} if spec.get("stress") else {}),
    }


def protocol_digest(spec: Spec) -> str:
    """Sixteen hexadecimal digits; two runs are comparable only if theirs are equal."""
    return digest(comparable(spec))


def run_id(spec: Spec) -> str:
    """`<dataset>_<task>_<model>_<12 hexadecimal digits>`, fit for a folder's name."""
    names = (spec["dataset"]["name"], spec["task"]["name"], spec["model"]["name"])
    return "_".join([*(re.sub(r"[^\w.+-]", "-", name) for name in names), digest(identity(spec), 12)])


def signature(spec: Spec, metric: str | None = None) -> str:
    """The recipe of a run's scores on one line: `key:value` parts with `|` between."""
    dataset, task, model = spec["dataset"], Task.from_dict(spec["task"]), spec["model"]
    roles, search = sorted(spec["features"].items()), model.get("search")
    features = [f["signature"] if role == "input" else f"{role}={f['signature']}" for role, f in roles]
    parts = {
        "model": f"{model['name']}+{digest([model['config'], search] if search else model['config'], 8)}",
        "weights": ",".join(file["sha256"][:8] for file in model.get("weights") or ()),
        "data": f"{dataset['name']}@{dataset['release'] or 'only'}+{str(dataset['digest'])[:8]}",
        "task": task.name,
        "protocol": f"{spec['protocol'].get('name', 'unnamed')}+{protocol_digest(spec)[:8]}",
        "features": ",".join(features) or "none",
        "metric": metric or task.metric,
        "labels": ",".join(spec.get("labels") or ()),
        "serbench": str(spec.get("serbench", "unknown")),
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items() if value)


def one_trial(spec: Spec) -> bool:
    """Whether a run's predictions are the mean of trials, so that it is one trial and no sample of trainings."""
    return bool(spec["model"].get("one_trial"))


def differences(a: Any, b: Any, name: str = "") -> list[str]:
    """The fields in which two nested values differ, as `field: this and that`, dotted names, sorted."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted({*a, *b}, key=str)
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))]
    if _is_list(a) and _is_list(b) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{name}[{i}]")]
    return [] if a == b else [f"{name}: {_short(a)} and {_short(b)}"]


def short_names(specs: Sequence[Spec]) -> list[str]:
    """The model's name of each run, its preset unless it is the default one, its search; digits where ambiguous."""
    names = [_short_name(spec["model"]) for spec in specs]
    return [
        f"{name}+{digest(identity(spec), 6)}" if names.count(name) > 1 else name
        for name, spec in zip(names, specs, strict=True)
    ]


def fill_line(spec: Spec, results: Path, trials: int) -> str:
    """The `serbench run` line that brings a run to `trials` finished trials."""
    words = shlex.split(str(spec.get("command") or ""))
    if spec.get("stress") or spec["model"].get("parents"):  # made of other runs
        return shlex.join([*words, "--results", str(results.parent)])
    if words[:2] != ["serbench", "run"]:
        words = ["serbench", "run", "--from-record", str(results / "runs" / run_id(spec) / "run.json")]
    for option in ("--trials", "--results"):
        while option in words:
            at = words.index(option)
            del words[at : at + 2]
    place = [] if results == Path("results") else ["--results", str(results)]
    return shlex.join([*words, "--trials", str(trials), *place])


def _short_name(model: Mapping[str, Any]) -> str:
    preset, search = model.get("preset") or "default", model.get("search")
    name = str(model["name"]) if preset == "default" else f"{model['name']}:{preset}"
    marks = [str(model[key]) for key in ("labels", "calibrate") if model.get(key)]
    more = [*(["refit"] if model.get("refit") else []), *([f"search{search['budget']}"] if search else [])]
    return "+".join([name, *more, *(model.get("train_with") or ()), *marks])


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _short(value: Any) -> str:
    if _is_list(value):
        return f"{len(value)} entries" if len(value) > 3 else repr(list(value))
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

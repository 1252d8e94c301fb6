"""A run's weights put where others find them, with their description and card; and brought from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...results.record.folder import Run
from ...results.record.packing import shareable
from ...results.record.storage import plain
from ...results.tables.pair_tests import Resampling, score_intervals
from ...sermodels import registry
from ...sermodels.core.persist import describe, load_model
from ...sermodels.hub.layout import parcel
from ...sermodels.hub.onnx_file import to_onnx
from ...sermodels.hub.places import at_hand, is_address, put, repository, short_name, upload
from .card import UNSTATED, render
from .saved import saved_weights


@dataclass(frozen=True)
class Pushed:
    """What was put where: the place, the run, the description, and remarks for who pushed."""

    place: str
    run_id: str
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def push(
    run: Run,
    target: str | Path,
    *,
    trial: int = 0,
    fold: str | None = None,
    licence: str = UNSTATED,
    public: bool = False,
    onnx: bool = False,
    resamples: int = 10_000,
) -> Pushed:
    """Put the weights of one training of a run, with a description and a card, into a folder or a hub repository.

    Parameters
    ----------
    run : made with `save_models`
    target : a new folder, one that holds such a model, or `OWNER/NAME` (or `hf://OWNER/NAME`) on the Hugging Face hub
    fold : whose weights; None = the first of the protocol's
    licence : of the weights, as the hub names licences
    public : whether a new repository is seen by everyone
    onnx : write the model as `model.onnx` too, from prepared features to predictions
    resamples : of the intervals

    Raises
    ------
    SerbenchError
        For a run without these weights or without a complete trial, a target that can't be written, and a model that
        can't be written as ONNX where that is asked for.
    """
    place = str(target)
    if is_address(place):
        raise SerbenchError(
            f"{place!r} is an address, and a web server takes no files. Push to a folder, and copy that."
        )
    repo = repository(place)
    file = saved_weights(run, trial, fold, f"push {{run}} {place}")
    facts = described(run, file, resamples)
    items = run.items()
    spoken = () if items is None or "language" not in items else sorted(set(items["language"].dropna()))
    graph, says = to_onnx(load_model(file), facts["temperature"]) if onnx else (None, "")
    files = parcel(file.read_bytes(), {**facts, "onnx": says}, render(facts, licence, spoken, says), graph)
    notes = [f"the configuration names {path!r}, which others may not have" for path in facts["paths"]]
    if repo is None:
        put(files, Path(place).expanduser())
        return Pushed(place, run.run_id, facts, tuple(notes))
    where = upload(files, repo, f"{run.run_id}, trial {trial}, by serbench", public=public)
    return Pushed(where, run.run_id, facts, tuple(notes))


def described(run: Run, file: Path, resamples: int = 10_000) -> dict[str, Any]:
    """The entries of `config.json` of some weights of a run."""
    head, (spec, _) = describe(file), shareable(run)
    notes = head.get("notes") or {}
    trained = dict(notes.get("trained_on") or {})
    unit = run.unit(int(notes.get("trial", 0)), str(trained.get("fold"))) or {}
    intervals, clusters = score_intervals(run, options=Resampling(bootstrap=resamples))
    one = next(iter(intervals.values()))
    protocol = {key: spec["protocol"].get(key) for key in ("name", "split", "subsets")}
    facts: dict[str, Any] = {
        "model": head["model"],
        "name": run.name,
        "summary": registry.summary(head["model"]),
        "preset": spec["model"]["preset"],
        "configuration": head["config"],
        "features": _features(spec, head),
        "task": head["task"],
        "labels": head["task"]["labels"] or head["task"]["targets"],
        "signature": run.signature,
        "marks": list(spec.get("labels") or ()),
        "run": run.run_id,
        "made_by": head["serbench"],
        **{key: notes.get(key) for key in ("trial", "seed", "temperature")},
        "fold": trained.get("fold"),
        "trained_on": trained,
        "dataset": spec["dataset"],
        "protocol": {**protocol, "digest": run.protocol_digest, "folds": run.folds},
        "counts": unit.get("counts"),
        "parameters": unit.get("parameters"),
        "scores": [
            {"target": target, "metric": run.task.metric, "value": i.estimate, "low": i.low, "high": i.high}
            for target, i in intervals.items()
        ],
        "intervals": {
            "level": one.level,
            "resamples": one.resamples,
            "clusters": one.clusters,
            "cluster": clusters.name,
            "trials": one.trials,
        },
    }
    facts["paths"] = sorted(set(_paths([facts["configuration"], facts["features"]])))
    return dict(plain(facts, finite=True))


def _features(spec: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    """Role -> request of the features that the weights take, and their signature in the record."""
    return {
        role: {**asked, "signature": (spec["features"].get(role) or {}).get("signature", asked["name"])}
        for role, asked in (head.get("features") or {}).items()
    }


def _paths(value: Any) -> Iterator[str]:
    """Paths of this machine in nested texts: of a checkpoint, say."""
    if isinstance(value, str):
        name, _, argument = value.partition(":")
        yield from (text for text in (name, argument) if text.startswith(("/", "~", "./", "../")))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one)


def pull(source: str | Path, out: str | Path | None = None, *, revision: str | None = None) -> Pushed:
    """Bring a model that `push` put somewhere into a folder, every file checked against its digest.

    Parameters
    ----------
    source : a folder, its address on a web server (http, https), or a repository of the hub
    out : a new folder, or one that holds such a model; None = named as the source, in the working directory
    revision : branch, tag or commit of a repository

    Raises
    ------
    SerbenchError
        For a source that can't be reached, or is no model, a damaged one or another library's.
    """
    folder = Path(short_name(str(source)) if out is None else out).expanduser()
    with at_hand(source, revision) as (there, config, said):
        if folder.exists() and folder.resolve() == there.resolve():
            raise SerbenchError(f"{str(folder)!r} is the source itself. Type --out and another folder.")
        put(_contents(there, config), folder)
    return Pushed(str(folder), str(config.get("run")), config, (f"from {said}",))


def _contents(folder: Path, config: Mapping[str, Any]) -> dict[str, bytes]:
    from ...sermodels.hub.layout import CARD, CONFIG

    names = [*config["files"], CARD, CONFIG]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}

"""Stored runs on perturbed test audio: `serbench stress`.

The test utterances of a run are perturbed, the features of its models made again (and kept in the cache, by content and
perturbation, so that models which take the same feature share them), and predicted with the weights that the run saved:
each trial and fold those that it trained. What comes of it is a record like any other (`results/record/stressed.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ...datasets.core.stages import track
from ...features.core.feature_extractor import FeatureRequest, build
from ...features.core.feature_table import FeatureTable
from ...features.extraction.extract import extract_from
from ...features.perturbations.change import Perturbed, perturbed
from ...features.perturbations.perturbation import Perturbation, check, perturbations
from ...results.record.folder import Run
from ...results.record.stressed import folder
from ...sermodels import registry
from ..core.machine import cores, resolve_device
from ..core.progress import Display
from ..grid.execution import Execution, make_plan, worst
from ..grid.plan import Plan
from ..grid.source import Source, needed_rows
from ..grid.trial import Target
from ..grid.untrained import PredictionJob, WeightsPlan
from ..protocol.request import Request
from ..protocol.setting import Corpora, Setting
from ..weights.trained import Weights, open_weights


@dataclass(frozen=True)
class Stressed:
    """A clean run, the setting that it was tested in, and its trials' weights: (trial, fold) -> what predicts it."""

    run: Run
    setting: Setting
    features: dict[str, FeatureRequest]
    weights: dict[tuple[int, str], tuple[Weights, ...]]

    @property
    def uses_device(self) -> bool:
        """As the model says."""
        return bool(_model(self.run).uses_device)

    def spec(self, change: Perturbed) -> dict[str, Any]:
        """The specification of the record at a perturbation."""
        one, of = change.perturbation, change.perturbation.of
        kept = {k: v for k, v in self.run.spec.items() if k not in ("run_id", "protocol_digest", "signature")}
        level = f"{one.level:g}"
        about = {
            "of": self.run.run_id,
            "name": one.name,
            "kind": one.kind,
            "level": level,
            "unit": of.unit,
            "says": of.says,
            "falling": of.falling,
            "clean": None if of.clean is None else f"{of.clean:g}",
            "digest": digest([one.name, change.identity()]),
        }
        command = f"serbench stress {self.run.run_id} --with {one.kind} --levels={level}"
        labels = [*(kept.get("labels") or ()), f"stress:{one.name}"]
        return {**kept, "labels": labels, "command": command, "stress": about}


def stress(
    runs: Sequence[Run], wanted: Sequence[Perturbation] | None = None, how: Execution | None = None
) -> list[list[Run]]:
    """Predict the perturbed test audio of stored runs; what has a record already is not worked on again.

    Parameters
    ----------
    runs : runs whose weights were saved, or rows of given weights
    wanted : perturbations (`perturbation.perturbations` makes them of names); None = every kind at its default levels
    how : device, processes and threads, display; records go beside each run

    Returns
    -------
    for each run its records, in the order of the perturbations

    Raises
    ------
    SerbenchError
        For runs without weights (says how to keep them), a corpus that has changed, a codec or library that is lacking
        here, and a perturbation that leaves nothing of any file.
    """
    chosen, execution = list(wanted or perturbations()), how or Execution()
    check(chosen)
    corpora = Corpora()
    opened = [opened_run(run, corpora) for run in track(runs, "looking for weights")]
    for one in opened:
        for item in chosen:
            _fits(one, item)
    records: list[list[Run]] = [[] for _ in runs]
    for item in track(chosen, "perturbations"):
        for one, into in zip(opened, records, strict=True):
            into.append(_stressed(one, perturbed(one.setting.tested, item), execution))
    return records


def opened_run(run: Run, corpora: Corpora) -> Stressed:
    """A run with its setting and weights, checked."""
    plan = make_plan([Request.from_dict(run.spec["arguments"])], corpora, run.spec["model"]["config"])
    setting = plan.setting
    if setting.dataset()["digest"] != run.spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus on disk is not the one that {run.run_id} was made with. Give the recorded one, or run again."
        )
    if run.spec.get("stress"):
        raise SerbenchError(f"{run.run_id} is of perturbed audio already. Expected a run of the clean one.")
    return Stressed(run, setting, dict(plan.features), _weights(run, plan))


def _weights(run: Run, plan: Plan) -> dict[tuple[int, str], tuple[Weights, ...]]:
    trials = run.complete_trials()
    if not trials:
        raise SerbenchError(f"{run.path}: no trial is complete. To go on, type: {run.fill_line(5)} --save-models")
    if isinstance(plan, WeightsPlan):
        return {(trial, fold): plan.weights for trial in trials for fold in run.folds}
    files = {(t, f): run.unit_files(t, f)[0].with_suffix(".safetensors") for t in trials for f in run.folds}
    if lacking := [file.name for file in files.values() if not file.is_file()]:
        other = f"{run.results}-models"
        raise SerbenchError(
            f"{run.run_id} has no saved weights: {len(lacking)} of {len(files)} files lack, such as {lacking[0]}. Its "
            "trials are finished and would not be trained again, so train them in another folder. Type\n"
            f"  serbench run --from-record {run.path} --save-models --results {other}\n"
            f"  serbench stress {run.run_id} --results {other}"
        )
    return {key: tuple(open_weights([file])) for key, file in files.items()}


def _fits(one: Stressed, item: Perturbation) -> None:
    if one.setting.asked.kind == "continuous" and not item.of.keeps_time:
        raise SerbenchError(
            f"{item.kind} moves what was said in time, and the labels of {one.setting.asked.name} are frames. Leave it "
            "out of --with."
        )


def _stressed(one: Stressed, change: Perturbed, how: Execution) -> Run:
    """The record of a run at a perturbation; what it lacks is predicted now."""
    record = Run.create(folder(one.run.results), one.spec(change))
    if record.items() is None and (items := one.run.items()) is not None:
        record.write_items(items.reset_index())
    done = {(unit["trial"], unit["fold"]) for unit in record.units() if unit["status"] == "done"}
    todo = [(fold, trials) for fold, trials in _units(one) if not {(t, fold) for t in trials} <= done]
    if todo:
        source = _source(one, change, how)
        device = resolve_device(how.device) if one.uses_device else "cpu"
        name = f"{one.run.name} under {change.perturbation.name}"
        with how.display.units(name, len(todo)) as shown:
            for fold, trials in todo:
                facts = _job(one, record, fold, trials, device, how.threads_of_each).run([source])
                shown.done(f"{name}, fold {fold}", worst(facts))
    if not record.complete_trials():
        failed = next((u["error"] for u in record.units() if u["status"] == "failed"), "")
        raise SerbenchError(f"{change.perturbation.name} of {one.run.run_id} could not be scored: {failed}")
    return record


def _units(one: Stressed) -> list[tuple[str, list[int]]]:
    """(fold, trials) that have the same weights: all copies of a deterministic model's training, and given weights."""
    groups: dict[tuple[str, Any], list[int]] = {}
    for trial, fold in one.weights:
        unit = one.run.unit(trial, fold) or {}
        given = bool(one.run.spec["model"].get("weights"))
        groups.setdefault((fold, "given" if given else unit.get("same_as", trial)), []).append(trial)
    return [(fold, trials) for (fold, _), trials in groups.items()]


def _job(one: Stressed, record: Run, fold: str, trials: list[int], device: str, threads: int) -> PredictionJob:
    ids = one.setting.division(trials[0], fold).test
    target = Target(record.path, ids, {i: one.setting.subsets[i] for i in ids})
    seeds = {trial: int((one.run.unit(trial, fold) or {}).get("seed") or 0) for trial in trials}
    weights = one.weights[trials[0], fold]
    return PredictionJob(one.run.spec["model"]["name"], weights, fold, target, seeds, device, threads, timed=False)


def _source(one: Stressed, change: Perturbed, how: Execution) -> Source:
    """The test items with their perturbed features, from the cache or made now."""
    tested, asked = one.setting.tested, one.setting.asked
    rows = needed_rows(tested, asked, one.setting.subsets, context=_model(one.run).uses_context)
    jobs = how.jobs if how.jobs > 1 else cores()
    tables = {}
    for role, request in one.features.items():
        with how.display.extraction(f"{request.name}, {change.perturbation.name}", len(rows)) as progress:
            made = extract_from(tested, rows, build(request), jobs=jobs, progress=progress, changes=change)
        tables[role] = made
        _tell_failed(made, request, change, how.display)
    return Source(tested, asked, tables)


def _tell_failed(table: FeatureTable, request: FeatureRequest, change: Perturbed, display: Display) -> None:
    if table.failed:
        item, others = next(iter(table.failed)), " and others" if len(table.failed) > 1 else ""
        what = f"{request.name} under {change.perturbation.name}"
        display.message(f"{len(table.failed)} files are left out of {what}: {item} ({table.failed[item]}){others}")


def _model(run: Run) -> Any:
    return registry.load(str(run.spec["model"]["name"])).Model

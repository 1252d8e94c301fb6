"""The methods of a paper in words, LaTeX with citations: every number and name comes from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...datasets import registry as datasets
from ...features import registry as features
from ...results.display.table import latex
from ...results.record.folder import Run
from ...sermodels import registry as models
from .plan import PaperPlan
from .references import CROSSED, HOLM, METRICS, PROTOCOL, SOFTWARE, Bibliography
from .work import Block

METRIC_NAMES = {"UAR": "unweighted average recall (UAR)", "CCC": "the concordance correlation coefficient (CCC)"}
ITEMS = {"continuous": "recordings"}
"""Kind of task -> what its items are; of the others utterances."""
SHOWN_VERSIONS = ("python", "torch", "numpy", "scikit-learn", "transformers", "opensmile")


def methods(plan: PaperPlan, blocks: Sequence[Block], compared: Mapping[str, pd.DataFrame], cited: Bibliography) -> str:
    """Paragraphs: models, corpora and splits, protocol and scores, tests, what was left out, versions."""
    paragraphs = [
        _models(plan, blocks, cited),
        " ".join(_corpora(blocks, cited)),
        " ".join(_protocol(plan, blocks, cited)),
        " ".join(_tests(blocks, compared, cited)),
        " ".join([*_left_out(blocks), *_versions(blocks, cited)]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def several(texts: Sequence[str]) -> str:
    """Texts with commas and an "and"."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _models(plan: PaperPlan, blocks: Sequence[Block], cited: Bibliography) -> str:
    """Each row with its model, preset and reference, then the features."""
    runs = {name: run for block in blocks for name, run in block.rows.items()}
    named, seen = [], set[str]()
    for name in (one.name for one in plan.models if one.name in runs):
        model, preset = runs[name].spec["model"]["name"], runs[name].spec["model"].get("preset") or "default"
        what = latex(model) if preset == "default" else f"{latex(model)}, preset {latex(preset)}"
        first = "" if model in seen else cited.component(models, model)
        seen.add(model)
        named.append(f"{latex(name)}{'' if name == what else f' ({what})'}{first}")
    taken = {one["identity"]["name"] for run in runs.values() for one in run.spec["features"].values()}
    heard = [f"{latex(name)}{cited.component(features, name)}" for name in sorted(taken)]
    said = f" Their features are {several(heard)}." if heard else ""
    return f"We compare {several(named)}.{said}"


def _corpora(blocks: Sequence[Block], cited: Bibliography) -> Iterator[str]:
    """Corpora and split of each experiment, with the tasks that share them."""
    told = {b.first.spec["dataset"]["name"]: str(b.first.spec["dataset"].get("citation") or "") for b in blocks}
    groups: dict[str, list[Run]] = {}
    for run in (block.first for block in blocks):
        protocol, dataset = run.spec["protocol"], run.spec["dataset"]
        about = [dataset["name"], dataset.get("release"), protocol.get("split"), protocol.get("sizes")]
        groups.setdefault(repr([*about, ITEMS.get(run.task.kind)]), []).append(run)
    for runs in groups.values():
        dataset = runs[0].spec["dataset"]
        names, release = str(dataset["name"]).split(">"), latex(str(dataset.get("release") or ""))
        place = [" and ".join(_corpus(n, told, cited) for n in name.split("+")) for name in names]
        of = f", release {release}" if release and len(names) == 1 else ""
        where = f"and tested on {place[0]}{of}" if len(names) == 1 else f"on {place[0]}, tested on {place[1]}"
        tasks = [f"{latex(run.task.name)} ({_task(run)})" for run in runs]
        yield f"They are trained {where}, on the task{'s' if len(tasks) > 1 else ''} {several(tasks)}."
        yield _split(runs[0])


def _split(run: Run) -> str:
    """The split that a run is tested by, and how many items are in its parts."""
    protocol, items = run.spec["protocol"], ITEMS.get(run.task.kind, "utterances")
    sizes = np.array(list((protocol.get("sizes") or {"": (0, 0, 0)}).values()))
    train, dev, test = (_span(column) for column in sizes.T)
    several_folds = len(sizes) > 1
    folds = f"{len(sizes)} folds: in each, {train} {items}" if several_folds else f"one fold: {train} {items}"
    pooled = "; the predictions of all folds are pooled before they are scored" if several_folds else ""
    name = latex(str(protocol.get("split") or protocol.get("test_split") or "of each corpus"))
    return f"The split ``{name}'' has {folds} are trained on, {dev} selected on and {test} tested{pooled}."


def _protocol(plan: PaperPlan, blocks: Sequence[Block], cited: Bibliography) -> Iterator[str]:
    protocol = blocks[0].first.spec["protocol"]
    subsets, trials = int(protocol.get("subsets") or 1), plan.protocol.trials
    groups = sorted({str(b.first.spec["protocol"].get("group") or "none") for b in blocks} - {"none"})
    whole = f", none of which cuts a {' or '.join(map(latex, groups))}" if groups else ""
    yield (
        f"The test items are cut once at random (seed {protocol.get('seed', 0)}) into {subsets} subsets{whole}, the "
        f"same for every model, and each model is trained {trials} times with other seeds: {subsets} \\(\\times\\) "
        f"{trials} = {subsets * trials} scores of each model{cited.cite([PROTOCOL])}."
    )
    metrics = dict.fromkeys(block.first.task.metric for block in blocks)
    names = [METRIC_NAMES.get(one, one) + cited.cite([METRICS[one]] if one in METRICS else []) for one in metrics]
    yield f"Scores are {several(names)}. Settings and epochs are chosen on the selection items alone."
    rows = {name: run for block in blocks for name, run in block.rows.items()}
    fixed = [latex(name) for name, run in rows.items() if any(unit.get("deterministic") for unit in run.units())]
    if fixed:
        yield f"All trials are equal, since training has no chance in it: {', '.join(fixed)}."
    again = [latex(name) for name, run in rows.items() if run.spec["model"].get("refit")]
    if again:
        yield f"{several(again)}: fitted once more on the training and selection items with what was chosen."


def _tests(blocks: Sequence[Block], compared: Mapping[str, pd.DataFrame], cited: Bibliography) -> Iterator[str]:
    planned = [
        f"; of {latex(frame['system'].iloc[0])}, over {len(frame)} planned comparisons "
        f"({', '.join(latex(name) for name in dict.fromkeys(frame['rival']))})"
        for frame in compared.values()
        if len(frame)
    ]
    yield (
        "A difference is called significant below 5\\,\\% of a two-tailed t-test with trials and subsets as crossed "
        f"random samples{cited.cite(CROSSED)}; p-values are adjusted by Holm's method{cited.cite([HOLM])}: against "
        "chance, the better of the most frequent answer and random ones, over all rows of a corpus and task"
        f"{''.join(planned)}."
    )
    yield "Where a paired t-test over all scores is given too, it takes them for independent, which they are not."


def _left_out(blocks: Sequence[Block]) -> Iterator[str]:
    """Files that could not be used, labels that scores carry."""
    runs = [run for block in blocks for run in block.runs]
    lost = {str(item) for run in runs for unit in run.units() for item in (unit.get("excluded") or ())}
    if lost:
        yield f"{len(lost)} files could not be used and count nowhere."
    labels = sorted({str(label) for run in runs for label in run.spec.get("labels") or ()})
    if labels:
        yield f"Scores carry the labels {several([latex(label) for label in labels])}."


def _versions(blocks: Sequence[Block], cited: Bibliography) -> Iterator[str]:
    units = [unit for block in blocks for run in block.runs for unit in run.units()]
    found: dict[str, set[str]] = {}
    for unit in units:
        for name, version in (unit.get("versions") or {}).items():
            found.setdefault(name, set()).add(str(version))
    own = several(sorted(found.pop("serbench", {str(blocks[0].first.spec.get("serbench"))})))
    others = [f"{name} {' and '.join(sorted(found[name]))}" for name in SHOWN_VERSIONS if name in found]
    devices = sorted({str(unit["device"]) for unit in units if unit.get("device")})
    yield (
        f"All numbers are made by serbench {latex(own)}{cited.cite([SOFTWARE])} with {latex(several(others))}, on "
        f"{latex(several(devices) or 'an unknown device')}."
    )


def _corpus(name: str, told: Mapping[str, str], cited: Bibliography) -> str:
    return latex(name) + cited.component(datasets, name, told.get(name, ""))


def _task(run: Run) -> str:
    task: Any = run.task
    if task.kind == "classification":
        return f"{len(task.labels)} classes: {', '.join(map(latex, task.labels))}"
    alone = task.targets == (task.name,)
    scales = [
        f"{'' if alone else f'{latex(t)} '}from {task.scales[t][0]:g} to {task.scales[t][1]:g}" for t in task.targets
    ]
    traces = f"traces, a value each {1000 * task.frame_seconds:g} ms, of " if task.kind == "continuous" else ""
    return f"{traces}{several(scales)}"


def _span(values: Any) -> str:
    low, high = int(np.min(values)), int(np.max(values))
    return str(low) if low == high else f"{low} to {high}"

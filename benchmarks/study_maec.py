"""The claims of the MAEC paper as an ablation: the system and what its parts add, in and across corpora.

Fu, Liu, Ishi and Ishiguro (ICASSP 2021): the abstract says that the model beats the baseline within IEMOCAP and that
the adversarial regularisation raises the scores on MELD; context, the second task and multi-instance learning are what
the model is made of. Each claim here is a pair of rows that differ in that part alone, with paired tests on every
tested corpus. One training serves all of the corpora that are tested.

The paper's own protocol and numbers are not known to us, nor which baseline it means; here that is a support vector
machine on eGeMAPS functionals. "Without instances" averages an utterance to one window, so that nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..datasets._corpus import Corpus
from ..datasets._errors import SerbenchError
from ..datasets._files import write_text
from ..datasets._labels import SETS
from ..results._display import interval, markdown_table, number, p_value
from ..results._report_data import epochs
from ..results._storage import write_csv
from ..results.significance import holm
from ..sermodels import registry
from ._study import LEVEL, Execution, Findings, Row, Study, findings_of, request_for, save_figure, write
from .cross import shared_classes
from .grid import run_requests
from .request import Place, Request
from .setting import Corpora

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL = "maec"
SHARED_TASK = "emotion-4"
"""The task where a second corpus is tested; the classes of the paper."""
PARTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "regularisation": ("adversarial regularisation", {"model.first_pass": "none"}),
    "context": ("the dialogue's context", {"model.context": "false"}),
    "gender": ("gender as second task", {"model.gender": "false"}),
    "instances": ("multi-instance learning", {"model.bag": "whole"}),
}
"""Part -> what it is, and the settings that leave it out."""
COLUMNS = ("claim", "tested on", "target", "metric", "with", "without", "difference", "low", "high", "p", "p_holm",
           "p_trials", "p_trials_holm", "dz", "n", "verdict")  # fmt: skip


@dataclass(frozen=True)
class Tested:
    """Findings on one tested corpus; `name` is "A", or "A>B" for a training on A and a test on B."""

    name: str
    findings: Findings


def ablations(corpus: Corpus, parts: Sequence[str] = (), baselines: Sequence[str] = ("svm",)) -> Study:
    """The rows: MAEC, MAEC without each part that the corpus gives it, and the baselines.

    Parameters
    ----------
    parts : names in `PARTS`; empty = all that the corpus has

    Raises
    ------
    SerbenchError
        For a part that there isn't.
    """
    for part in parts:
        if part not in PARTS:
            raise SerbenchError(f"--without {part}: MAEC has no such part. Expected: {', '.join(PARTS)}.")
    lacking = dict(_lacking(corpus))
    chosen = [part for part in parts or PARTS if part not in lacking]
    rows = [Row(MODEL, MODEL), *(Row(f"without {part}", MODEL, PARTS[part][1]) for part in chosen)]
    rows += [Row(name, name) for name in baselines]
    if len(rows) < 2:
        raise SerbenchError(f"there is nothing to compare: {' '.join(lacking.values())} Name another --without.")
    notes = [lacking[part] for part in parts or PARTS if part in lacking]
    return Study("maec", "MAEC and its parts", tuple(rows), "others", notes=tuple(notes))


def run_ablations(
    study: Study, base: Request, tests: Sequence[Place], how: Execution, corpora: Corpora | None = None
) -> list[Tested]:
    """Run every row within its corpus and on the tested corpora, and compare the rows on each.

    Parameters
    ----------
    base : corpus, task (None: the corpus's first, or `emotion-4` where there are tests), protocol, trials, preset and
        settings
    tests : corpora that are tested beside the one that is trained on
    """
    corpora = corpora or Corpora()
    trained = corpora.get(base.places()[0])
    opened = [trained, *(corpora.get(place) for place in tests)]
    task = base.task or (SHARED_TASK if tests else trained.tasks[0].name)
    if tests and task in SETS and not base.classes:
        from ._progress import Silent

        base = replace(base, classes=shared_classes(opened, task, (), how.display or Silent()))
    rows = [_preset(request_for(study, row, task, base)) for row in study.rows]
    requests = [replace(row, test=test) for test in (None, *tests) for row in rows]
    runs = run_requests(
        requests, how.results, how.device, how.jobs, how.threads, how.save_models, how.display, corpora=corpora
    )
    width = len(rows)
    groups = [runs[i : i + width] for i in range(0, len(runs), width)]
    return [Tested(str(group[0].spec["dataset"]["name"]), findings_of(study, [group])) for group in groups]


def claims(tested: Sequence[Tested]) -> pd.DataFrame:
    """The paper's claims, one row per claim, tested corpus and target, in the columns of `COLUMNS`.

    `with` and `without` are mean scores, `difference` is the first less the second with its 95 % interval; `p` is the
    paired t-test over the scores, `p_trials` the one over the trial means, both adjusted by Holm over the whole table.
    """
    frame = pd.DataFrame([row for one in tested for row in _claims(one)])
    for test in ("p", "p_trials"):
        frame[f"{test}_holm"] = holm(frame[test])
    frame["verdict"] = [_verdict({str(k): v for k, v in row.items()}) for row in frame.to_dict("records")]
    return frame[list(COLUMNS)]


def markdown(frame: pd.DataFrame, study: Study) -> str:
    """The claims as a page."""
    rows = [
        {"model": r["claim"], "tested on": r["tested on"], "target": f"{r['target']} ({r['metric']})",
         "with": number(r["with"]), "without": number(r["without"]), "difference": number(r["difference"], "+.3f"),
         "95 % interval": interval(r["low"], r["high"], "+.3f"), "p Holm": p_value(r["p_holm"]),
         "p trials Holm": p_value(r["p_trials_holm"]), "d": number(r["dz"], "+.2f"), "verdict": r["verdict"]}
        for r in frame.to_dict("records")
    ]  # fmt: skip
    table = markdown_table(rows).replace("| model |", "| what is said to help |", 1)
    return "\n".join([
        "# The claims of the MAEC paper", "", table, "",
        "p: two-tailed paired t-test over the scores of trials and subsets; p trials: over the trial means, since the "
        "scores of one trial share a model; both adjusted by Holm over this table. supported: significantly better by "
        "both; hinted at: by the first alone; contradicted: significantly worse by the first.", *study.notes, "",
    ])  # fmt: skip


def write_all(tested: Sequence[Tested], folder: Path) -> list[Path]:
    """Write the claims (.csv, .md), the tables and plot of each tested corpus, and the training curves of MAEC."""
    study = tested[0].findings.study
    frame, stem = claims(tested), f"maec-claims_{_file_name(tested[-1].name)}"
    paths = [write_csv(folder / f"{stem}.csv", frame)]
    write_text(folder / f"{stem}.md", markdown(frame, study))
    paths.append(folder / f"{stem}.md")
    for one in tested:
        paths += write(one.findings, folder, _file_name(one.name))
    save_figure(training_figure(tested[0].findings), folder / f"maec-training_{_file_name(tested[0].name)}.png")
    return [*paths, folder / f"maec-training_{_file_name(tested[0].name)}.png"]


def training_figure(findings: Findings) -> Figure:
    """Dev score, the discriminator's accuracy, Z's distance from the prior and losses by epoch; a line per training."""
    from ..results.figures import curves

    return curves(epochs(findings.runs[0]))


def _lacking(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Parts that the corpus can't give, with a sentence for the notes."""
    if not corpus.has_dialogues:
        yield "context", f"{corpus.name} has no dialogues: the current turn is all there is, with or without context."
    if corpus.utterances["gender"].dropna().nunique() < 2:
        yield "gender", f"{corpus.name} does not know both genders, so there is no second task."


def _preset(request: Request) -> Request:
    """Without the preset, for a baseline that has none of that name."""
    known = registry.load(request.model).PRESETS
    return request if request.preset in known else replace(request, preset=None)


def _claims(one: Tested) -> Iterator[dict[str, Any]]:
    tests, full = one.findings.tests, one.findings.study.rows[0].label
    names = {f"without {part}": what for part, (what, _) in PARTS.items()}
    for row in tests[tests["a"].eq(full)].to_dict("records"):
        label = str(row["b"])
        yield {
            "claim": names.get(label, f"MAEC instead of {label}"), "tested on": one.name, "target": row["target"],
            "metric": row["metric"], "with": row["mean_a"], "without": row["mean_b"],
            **{key: row[key] for key in ("difference", "low", "high", "p", "p_trials", "dz", "n")},
        }  # fmt: skip


def _verdict(row: Mapping[str, Any]) -> str:
    """What the tests say of a claim; NaN is no evidence."""
    if not row["p_holm"] < LEVEL:
        return "not shown"
    if row["difference"] < 0:
        return "contradicted"
    return "supported" if row["p_trials_holm"] < LEVEL else "hinted at"


def _file_name(name: str) -> str:
    return name.replace(">", "-to-")



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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.labels import SETS
from ...results.record.storage import write_csv
from ...results.report.facts import epochs
from ...sermodels import registry
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol.request import Grid
from ..protocol.setting import Corpora
from ..protocol.shared_tasks import shared_classes
from .claims import Tested, judge, to_markdown
from .figure import save_figure
from .study import Findings, Row, Study, base_request, findings_of, fitting_preset, request_for
from .writing import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL, TITLE = "maec", "The claims of the MAEC paper"
SHARED_TASK = "emotion-4"
"""The task where a second corpus is tested; the classes of the paper."""
THREE_TRAIN = (
    "leave-one-session-out: of five sessions three train, one selects the epoch, one is tested; a paper that selects "
    "on the tested session, or not at all, trains on four."
)
PARTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "regularisation": ("adversarial regularisation", {"model.first_pass": "none"}),
    "context": ("the dialogue's context", {"model.context": "false"}),
    "gender": ("gender as second task", {"model.gender": "false"}),
    "instances": ("multi-instance learning", {"model.bag": "whole"}),
}
"""Part -> what it is, and the settings that leave it out."""


def ablations(
    corpus: Corpus, parts: Sequence[str] = (), baselines: Sequence[str] = ("svm",), preset: str | None = None
) -> Study:
    """The rows: MAEC, MAEC without each part that the corpus gives it, and the baselines.

    Parameters
    ----------
    parts : names in `PARTS`; empty = all that the corpus and the preset have
    preset : of MAEC; None = its default

    Raises
    ------
    SerbenchError
        For a part that there isn't.
    """
    for part in parts:
        if part not in PARTS:
            raise SerbenchError(f"--without {part}: MAEC has no such part. Expected: {', '.join(PARTS)}.")
    lacking = dict(_lacking(corpus, preset))
    chosen = [part for part in parts or PARTS if part not in lacking]
    rows = [Row(MODEL, MODEL), *(Row(f"without {part}", MODEL, PARTS[part][1]) for part in chosen)]
    rows += [Row(name, name) for name in baselines]
    if len(rows) < 2:
        raise SerbenchError(f"there is nothing to compare: {' '.join(lacking.values())} Name another --without.")
    notes = [lacking[part] for part in parts or PARTS if part in lacking]
    notes += [THREE_TRAIN] if next(iter(corpus.splits), None) == "leave-one-session-out" else []
    return Study("maec", "MAEC and its parts", tuple(rows), "others", notes=tuple(notes))


def run_ablations(study: Study, grid: Grid, how: Execution, corpora: Corpora | None = None) -> list[Tested]:
    """Run every row within its corpus and on the tested corpora, and compare the rows on each.

    Parameters
    ----------
    grid : corpus, task (none: the corpus's first, or `emotion-4` where there are tests), protocol, trials, preset and
        settings, and corpora that are tested beside the one that is trained on
    """
    corpora, base, tests = corpora or Corpora(), base_request(grid), grid.tested()
    trained = corpora.get(base.places()[0])
    opened = [trained, *(corpora.get(place) for place in tests)]
    task = base.task or (SHARED_TASK if tests else trained.tasks[0].name)
    if tests and task in SETS and not base.classes:
        base = replace(base, classes=shared_classes(opened, task, (), how.display))
    rows = [fitting_preset(study, request_for(study, row, task, base)) for row in study.rows]
    runs = run_requests([replace(row, test=test) for test in (None, *tests) for row in rows], how, corpora)
    groups = [runs[i : i + len(rows)] for i in range(0, len(runs), len(rows))]
    return [Tested(str(group[0].spec["dataset"]["name"]), findings_of(study, [group])) for group in groups]


def claims(tested: Sequence[Tested]) -> pd.DataFrame:
    """The paper's claims (`claims.judge`)."""
    return judge(tested, {f"without {part}": what for part, (what, _) in PARTS.items()}, "MAEC")


def markdown(frame: pd.DataFrame, study: Study) -> str:
    """The claims as a page."""
    return to_markdown(frame, TITLE, study.notes)


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
    from ...results.report.figures import curves

    return curves(epochs(findings.runs[0]))


def _lacking(corpus: Corpus, preset: str | None) -> Iterator[tuple[str, str]]:
    """Parts that the corpus or the preset can't give, with a sentence for the notes."""
    known = registry.load(MODEL).PRESETS
    if preset is not None and preset in known and known[preset].first_pass != "adversarial":
        yield (
            "regularisation",
            f"maec:{preset} has no regularisation to leave out: its encoder never steps against the discriminator.",
        )
    if not corpus.has_dialogues:
        yield "context", f"{corpus.name} has no dialogues: the current turn is all there is, with or without context."
    if corpus.utterances["gender"].dropna().nunique() < 2:
        yield "gender", f"{corpus.name} does not know both genders, so there is no second task."


def _file_name(name: str) -> str:
    return name.replace(">", "-to-")

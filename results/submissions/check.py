"""One submission checked: is it whole, does it follow the protocol, what do its predictions score, which place?

A submission is a zip file of `serbench export`, or a results folder. What can be computed is not believed: the run id
is the digest of the specification, predictions have the digests that their units name, scores are computed again. With
the results folder that it is meant for, gold labels and subsets are compared with those of the runs there, predictions
that came without labels get theirs, and the leaderboard says where the run would stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..display.numbers import number, p_value
from ..display.table import Table, records
from ..record.folder import Run, Runs, load_runs
from ..record.pairing import load_scored, pair, protocol_conflicts
from ..record.sharing import has_labels, merge, opened
from ..tables.leaderboard import leaderboard

TOLERANCE = 1e-9
OK, PROBLEM, NOTE = "ok", "problem", "note"
SCORE_KEY = ["trial", "subset", "target", "metric"]


@dataclass(frozen=True)
class Finding:
    """What one check says of one run: `state` is ok, problem or note; `check` names the check."""

    run: str
    check: str
    state: str
    text: str


def check_submission(source: Path, results: Path | None = None) -> list[Finding]:
    """All that can be said of the runs of a submission.

    Parameters
    ----------
    source : a zip file of `serbench export`, or a results folder
    results : the results folder that it is meant for

    Raises
    ------
    SerbenchError
        When the source is neither, or holds no run.
    """
    with ExitStack() as stack:
        folder = opened(Path(source), stack)
        sent, there = load_runs(folder), Runs() if results is None else load_runs(results)
        if not sent and not sent.problems:
            raise SerbenchError(
                f"there are no runs in {str(source)!r}. Expected a zip file of 'serbench export', or a results folder."
            )
        damaged = [
            Finding(path.name, "digests", PROBLEM, reason.replace(str(folder), str(source)))
            for path, reason in sent.problems.items()
        ]
        return damaged + [finding for run in sent for finding in _check(run, there, stack)]


def as_table(findings: Sequence[Finding], source: Path) -> Table:
    """The findings for the screen."""
    rows = [{"model": one.run, "check": one.check, "state": one.state, "what": one.text} for one in findings]
    return Table(f"Submission {source.name}", rows)


def _check(run: Run, there: Runs, stack: ExitStack) -> Iterator[Finding]:
    """Each check of one run, until one leaves nothing to go on with."""

    def found(check: str, state: str, text: str) -> Finding:
        return Finding(run.run_id, check, state, text)

    units, trials = run.units(), run.complete_trials()
    done = sum(unit["status"] == "done" for unit in units)
    yield found("digests", OK, f"{done} units hold the predictions that they name; the run id is that of run.json")
    if failed := len(units) - done:
        yield found("units", NOTE, f"{failed} of {len(units)} units failed")
    if not trials:
        yield found("trials", PROBLEM, f"no trial is complete. Type: {run.fill_line(5)}")
        return
    yield found("trials", OK, f"{len(trials)} complete over {len(run.folds)} folds")
    alike = [other for other in there if other.protocol_digest == run.protocol_digest and other.run_id != run.run_id]
    yield from (found("protocol", *said) for said in _protocol(run, there, alike))
    try:
        whole = run if has_labels(run) else _labelled(run, alike, stack)
        if whole is None:
            yield found("scores", NOTE, "not computed: it came without gold labels, and no run with them was given")
            return
        scored = load_scored(whole)
        yield from (found("gold labels", *said) for said in _truth(whole, alike))
        yield found("scores", *_scores(run, scored.scores))
        yield from (found("place", *said) for said in _place(whole, alike))
    except SerbenchError as error:
        yield found("predictions", PROBLEM, str(error))


def _protocol(run: Run, there: Runs, alike: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Whether there is a ranking that the run could stand in; if not, what differs from those of its task."""
    ranking = f"{run.spec['dataset']['name']}, {run.task.name}"
    if run.run_id in {other.run_id for other in there}:
        yield NOTE, "this run is there already: merging adds the trials that are not"
    if alike:
        yield OK, f"that of {len(alike)} runs on {ranking} ({run.protocol_digest})"
        return
    near = [other for other in there if f"{other.spec['dataset']['name']}, {other.task.name}" == ranking]
    if near:
        line = protocol_conflicts([near[0], run])[:1] or ["nothing differs"]
        yield PROBLEM, f"no run on {ranking} follows it, so it can't be ranked among them: {line[0]}"
    else:
        yield NOTE, f"there is no run on {ranking} to rank it among ({run.protocol_digest})"
    if labels := run.spec.get("labels"):
        yield NOTE, f"the record is labelled {', '.join(labels)}"


def _labelled(run: Run, alike: Sequence[Run], stack: ExitStack) -> Run | None:
    """The run with the gold labels of one under the same protocol; None without any."""
    source = next((other for other in alike if has_labels(other)), None)
    if source is None:
        return None
    folder = Path(stack.enter_context(TemporaryDirectory()))
    (folder / "runs").mkdir()
    (folder / "runs" / source.run_id).symlink_to(source.path.resolve(), target_is_directory=True)
    merge([run.results], folder)
    return Run.open(folder / "runs" / run.run_id)


def _truth(run: Run, alike: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Whether gold labels and subsets are those of a run that is there, and items are missing."""
    other = next((one for one in alike if has_labels(one) and one.complete_trials()), None)
    if other is None:
        yield NOTE, "not compared: no labelled run of this protocol was given"
        return
    try:
        left_out = pair(load_scored(run), load_scored(other), run.task.metric).left_out
    except SerbenchError as error:
        yield PROBLEM, str(error)
        return
    yield OK, f"gold labels and subsets are those of {other.run_id}"
    if left_out:
        yield NOTE, f"{left_out} items were predicted by only one of the two"


def _scores(run: Run, computed: pd.DataFrame) -> tuple[str, str]:
    """Whether the scores that came with the run are those of its predictions."""
    file = run.path / "scores.csv"
    if not file.is_file():
        return OK, f"{len(computed)} computed from the predictions; none came with them"
    try:
        sent = pd.read_csv(file).set_index(SCORE_KEY)["value"].sort_index()
    except (ValueError, KeyError) as error:
        return PROBLEM, f"scores.csv can't be read: {error}"
    truth = computed.set_index(SCORE_KEY)["value"].sort_index()
    both = sent.reindex(truth.index)
    wrong = ~((both - truth).abs().le(TOLERANCE) | (both.isna() & truth.isna()))
    if wrong.any() or len(sent) != len(truth):
        key = dict(zip(SCORE_KEY, truth.index[wrong][0], strict=True)) if wrong.any() else {}
        at = ", ".join(f"{name} {value}" for name, value in key.items()) or f"{len(sent)} rows for {len(truth)}"
        return PROBLEM, f"scores.csv does not follow from the predictions in {int(wrong.sum())} scores, first: {at}"
    return OK, f"{len(truth)} in scores.csv follow from the predictions"


def _place(run: Run, alike: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """The row that the run would have in each leaderboard of its task."""
    board = leaderboard([*alike, run])
    if reason := board.attrs["problems"].get(run.run_id):
        yield PROBLEM, reason
        return
    for row in records(board[board["run_id"].eq(run.run_id)]):
        among = int(board["target"].eq(row["target"]).sum())
        chance = "is a chance row" if row["chance"] else f"better than chance: {row['beats_chance']}"
        p = "" if row["chance"] or pd.isna(row["p_chance_crossed"]) else f" (p {p_value(row['p_chance_crossed'])})"
        yield (
            OK,
            f"#{row['rank']} of {among} on {row['dataset']}, {row['target']}: {row['metric']} {number(row['mean'])}, "
            f"{chance}{p}",
        )

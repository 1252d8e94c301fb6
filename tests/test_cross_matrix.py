"""The cross-corpus matrix: its numbers from the predictions, leave-one-out rows, figures, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from serbench.benchmarks import Execution, Grid
from serbench.benchmarks.core.progress import Silent
from serbench.benchmarks.grid import grid
from serbench.benchmarks.protocol import setting
from serbench.benchmarks.studies.cross import cross
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import Corpus
from serbench.results.record.folder import Run, load_runs
from serbench.results.tables.matrix import matrix, render_matrix, write_matrix
from serbench.sermodels.chance import Model as Chance

EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
"""How numbers are read as they are written: pandas before 3 reads the last digits otherwise by default."""


def predictions(one: Run) -> pd.DataFrame:
    return one.predictions().sort_values(["trial", "id"]).reset_index(drop=True)


def crossed(differences: np.ndarray) -> tuple[float, float]:
    """Mean and p of a (trial, subset) table, by the quasi-F of Clark (1973) for one contrast, written a second time."""
    t, s = differences.shape
    mean = differences.mean()
    ms_t = s * ((differences.mean(axis=1) - mean) ** 2).sum() / (t - 1)
    ms_s = t * ((differences.mean(axis=0) - mean) ** 2).sum() / (s - 1)
    rest = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0) + mean
    ms_r = (rest**2).sum() / ((t - 1) * (s - 1))
    parts = [(ms, df) for ms, df in ((ms_t, t - 1), (ms_s, s - 1)) if ms > ms_r]
    total = sum(ms for ms, _ in parts) - ms_r * (len(parts) - 1)
    degrees = total**2 / (sum(ms**2 / df for ms, df in parts) + (len(parts) - 1) ** 2 * ms_r**2 / ((t - 1) * (s - 1)))
    return mean, 2 * stats.t.sf(abs(mean) / np.sqrt(total / (t * s)), degrees)


def test_the_matrix_follows_from_the_predictions(
    toys: dict[str, Corpus], tmp_path: Path, silent_corpus: Callable[..., Corpus]
) -> None:
    toys["gamma"] = silent_corpus("gamma", 200, seed=2)
    frame = cross(Grid(["chance:random", "chance"], ["alpha", "beta", "gamma"], task="emotion-4"), Execution(tmp_path))
    assert frame.empty  # chance rows are columns of other models, not rows
    runs = as_model(tmp_path, "toy")
    frame = matrix(runs)
    assert len(frame) == 9
    assert set(frame["model"]) == {"toy"}
    assert (frame["n"] == 20).all()
    tables: dict[str, dict[Any, Any]] = {"toy": {}, "chance": {}}
    for run in runs:
        place = tuple(run.spec["dataset"]["name"].split(">"))
        scores = (
            predictions(run)
            .groupby(["trial", "subset"])[["gold", "predicted"]]
            .apply(lambda part: balanced_accuracy_score(part["gold"], part["predicted"]))
        )
        found = tables[run.spec["model"]["name"]]
        found[place if len(place) == 2 else place * 2] = scores.unstack().to_numpy()
    floor, tables = tables["chance"], tables["toy"]
    ps = []
    for row in frame.itertuples():
        assert row.mean == pytest.approx(tables[row.trained_on, row.tested_on].mean())
        assert row.in_corpus == pytest.approx(tables[row.tested_on, row.tested_on].mean())
        assert row.chance == pytest.approx(floor[row.trained_on, row.tested_on].mean())
        if row.trained_on == row.tested_on:
            assert np.isnan([row.drop, row.p, row.p_holm]).all()
            continue
        mean, p = crossed(tables[row.tested_on, row.tested_on] - tables[row.trained_on, row.tested_on])
        assert row.drop == pytest.approx(mean)
        assert row.p == pytest.approx(p, rel=1e-6)
        assert row.drop_low < row.drop < row.drop_high
        assert row.low < row.mean < row.high
        ps.append(p)
    held = np.sort(frame["p_holm"].dropna())
    expected = np.minimum(np.maximum.accumulate(np.sort(ps) * np.arange(6, 0, -1)), 1)
    np.testing.assert_allclose(held, np.sort(expected))


def test_every_cell_has_the_classes_that_all_corpora_have(
    toys: dict[str, Corpus], tmp_path: Path, silent_corpora: dict[str, Corpus]
) -> None:
    said: list[str] = []
    display = Silent()
    display.message = said.append  # type: ignore[method-assign]
    cross(Grid("chance", list(silent_corpora), task="emotion-7", trials=1), Execution(tmp_path, display=display))
    runs = load_runs(tmp_path)
    assert len(runs) == 2 * 9
    assert {run.task.name for run in runs} == {"emotion-7:anger+neutral+sadness"}
    assert {run.task.labels for run in runs} == {("anger", "neutral", "sadness")}
    assert "left out everywhere: happiness, which gamma can't train and test" in said
    assert any(line.startswith("left out everywhere: disgust, fear, surprise, which alpha") for line in said)
    tested = {run.spec["dataset"]["name"]: set(predictions(run)["id"]) for run in runs}
    assert tested["alpha>beta"] == tested["beta"] == tested["gamma>beta"]


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory, silent_corpora: dict[str, Corpus]) -> tuple[Path, int, int]:
    """Records of a leave-one-out matrix; the number of fits that they took, and of those of the same call again."""
    results, seen, fit = tmp_path_factory.mktemp("left_out"), [0], Chance.fit

    def counted(self: Chance, *given: Any, **more: Any) -> Any:
        seen[0] += 1
        return fit(self, *given, **more)

    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting, "load_corpus", lambda name, *_: silent_corpora[name])
        patch.setattr(Chance, "fit", counted)
        for _ in range(2):
            cross(
                Grid("chance", list(silent_corpora), task="arousal", trials=2), Execution(results), leave_one_out=True
            )
            counts.append(seen[0])
    return results, counts[0], counts[1] - counts[0]


def as_model(results: Path, name: str) -> list[Run]:
    """All runs, the random chance rows as if they were of a model."""
    runs = load_runs(results)
    for run in runs:
        if run.spec["model"]["preset"] == "random":
            run.spec["model"] |= {"name": name, "preset": "default"}
    return runs


def test_one_fit_per_trained_corpus_trial_and_fold(left_out: tuple[Path, int, int]) -> None:
    single, joined = (4 + 1 + 3) * 2, 3 * 2
    once = single // 2 + joined  # the mean is deterministic; joined corpora take another fold in each trial
    assert left_out[1] == (single + joined) + once  # chance:random and chance
    assert left_out[2] == 0


def test_leave_one_corpus_out_rows(left_out: tuple[Path, int, int], tmp_path: Path) -> None:
    frame = matrix(as_model(left_out[0], "toy"))
    joined = frame[frame["trained_on"].str.contains("+", regex=False)]
    assert sorted(zip(joined["trained_on"], joined["tested_on"], strict=True)) == [
        ("alpha+beta", "gamma"),
        ("alpha+gamma", "beta"),
        ("beta+gamma", "alpha"),
    ]
    assert joined["drop"].notna().all()
    with pytest.raises(SerbenchError, match="three or more to leave one out"):
        cross(Grid("chance", ["alpha", "beta"], task="arousal"), Execution(tmp_path), leave_one_out=True)


def test_the_matrix_is_written_as_csv_png_and_svg(left_out: tuple[Path, int, int], tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    from matplotlib.image import imread
    from rich.console import Console

    frame = matrix(as_model(left_out[0], "toy <model>"))
    written = write_matrix(frame, tmp_path / "a")
    assert [p.name for p in written] == [
        "cross_arousal.csv",
        "cross_arousal_toy--model-.png",
        "cross_arousal_toy--model-.svg",
    ]
    again = pd.read_csv(written[0], **EXACT)
    assert list(again.columns) == list(frame.columns)
    np.testing.assert_array_equal(again["mean"], frame["mean"])
    assert imread(written[1]).shape[0] > 400
    texts = [e.text for e in ElementTree.parse(written[2]).iter("{http://www.w3.org/2000/svg}text")]
    assert {"alpha", "beta", "gamma", "the others", "trained on", "tested on", "toy <model>: arousal"} <= set(texts)
    row = frame[frame["trained_on"].eq("alpha") & frame["tested_on"].eq("beta")].iloc[0]
    assert f"{row['mean']:.3f}" in texts
    assert any(text.startswith(f"drop {row['drop']:+.3f}") for text in texts if text)
    assert any(text.startswith("CCC (mean of 8 scores)") for text in texts if text)
    repeated = write_matrix(frame, tmp_path / "b")
    assert [p.read_bytes() for p in repeated] == [p.read_bytes() for p in written]
    console = Console(width=100, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(render_matrix(frame))
    shown = console.export_text()
    assert f"{row['mean']:.3f}" in shown
    assert "the others" in shown


def test_missing_cells_and_doubled_cells(toys: dict[str, Corpus], tmp_path: Path) -> None:
    grid.run("chance:random", "alpha", test_dataset=["beta", "gamma"], task="arousal", results=tmp_path, trials=2)
    runs = load_runs(tmp_path)
    for run in runs:
        run.spec["model"]["name"] = f"toy-{run.spec['model']['preset']}"
    frame = matrix(runs)
    assert frame["drop"].isna().all()  # no in-corpus run to compare with
    assert frame["mean"].notna().all()
    assert write_matrix(frame, tmp_path / "figures")[1].stat().st_size > 0
    with pytest.raises(SerbenchError, match="one task"):
        matrix([])


@pytest.mark.parametrize(
    ("datasets", "task", "said"),
    [
        (["alpha"], "arousal", "expected two or more"),
        (["alpha", "beta"], "emotion", r"is anger, happiness, neutral, sadness in alpha, .* Expected a label set"),
        (["alpha", "fearful"], "emotion-4", "share 1 classes"),
        (["alpha", "beta"], "valence", "emotion-4"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused(
    toys: dict[str, Corpus],
    silent_corpus: Callable[..., Corpus],
    tmp_path: Path,
    datasets: list[str],
    task: str,
    said: str,
) -> None:
    toys["fearful"] = silent_corpus("fearful", 100, ("fear", "anger"))
    with pytest.raises(SerbenchError, match=said):
        cross(Grid("chance", datasets, task=task), Execution(tmp_path))

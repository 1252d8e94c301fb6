"""The planted world, in which clusters carry the label: there the pool must help, and less with more labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.planted.trainings import Trained, Variant, rivals, train
from serbench.benchmarks.planted.why import Gain, Row, sweep
from serbench.benchmarks.planted.world import BANDS, CLASSES, FRAMES, World, planted
from serbench.datasets.core.errors import SerbenchError
from serbench.results.statistics.significance import paired_t
from serbench.sermodels.deepemocluster.model import PRESETS

FEW = World(labelled=6, labelled_speakers=3, pool=240)
"""One sentence a template: the gain is more than three times its spread over seeds, so no rounding turns it."""
MANY = World(labelled=96, labelled_speakers=32, pool=240)


def gains(world: World, seeds: range) -> tuple[list[float], list[float]]:
    """Test CCC of `fixed` with the pool, and of supervised training with as many steps and no clusters to learn."""
    with_pool, without = [], []
    for seed in seeds:
        made = planted(world, seed)
        strongest = rivals(made)[2]
        with_pool.append(train(Variant("fixed"), made, seed, 10).test)
        without.append(train(strongest, made, seed, 10, pool=False).test)
    return with_pool, without


# The claim


def test_the_pool_helps_with_three_labelled_speakers() -> None:
    with_pool, without = gains(FEW, range(6))
    found = paired_t(with_pool, without)
    assert found.low > 0, (with_pool, without)
    assert found.difference > 0.1


def test_the_gain_fades_with_more_labels() -> None:
    with_pool, without = gains(MANY, range(2))
    assert np.mean(without) > 0.85, "so many labels need no pool"
    assert np.mean(with_pool) - np.mean(without) < 0.04


def test_one_pass_of_stage_two_is_what_hurt() -> None:
    """What `fixed` was: few labelled sentences, and an encoder that stage 1 has moved on from under the regressor."""
    world = planted(FEW, 0)
    before = {"model.labelled_passes": "1", "model.whiten": "0", "model.warm_start": "false"}
    assert train(Variant("before", settings=before), world, 0, 6).test < 0.2
    assert PRESETS["fixed"].labelled_passes == 0
    assert PRESETS["paper"].labelled_passes == 1, "the paper's 40,000 and 34,280 sentences make stages of one length"


# The world


def test_a_world_is_its_seed_s_and_the_label_is_the_template_s() -> None:
    one, again, other = planted(World(), 3), planted(World(), 3), planted(World(), 4)
    for name in ("train", "dev", "test", "pool"):
        a, b, c = (getattr(w, name) for w in (one, again, other))
        np.testing.assert_array_equal(a.array(0), b.array(0))
        assert not np.allclose(a.array(0), c.array(0))
        assert a.array(0).shape == (FRAMES, BANDS)
    assert one.pool.labels is None
    assert (len(one.train), len(one.pool)) == (12, 300)
    assert one.train.items["speaker"].nunique() == 4
    speakers = [set(getattr(one, name).items["speaker"]) for name in ("train", "dev", "test", "pool")]
    assert sum(map(len, speakers)) == len(set().union(*speakers)), "nobody is in two parts"
    assert np.corrcoef(one.templates["test"], one.test.labels[:, 0])[0, 1] > 0.97
    means = np.stack([np.log(one.pool.array(i)).mean(0) for i in range(len(one.pool))])
    which = one.templates["pool"]
    centres = np.stack([means[which == k].mean(0) for k in range(6)])
    nearest = ((means[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == which).mean() > 0.95, "clusters of spectra are the templates"


def test_more_labels_leave_the_rest_as_it_is() -> None:
    small, large = planted(World(), 0), planted(World(labelled=48, labelled_speakers=16), 0)
    for name in ("dev", "test", "pool"):
        np.testing.assert_array_equal(getattr(small, name).array(5), getattr(large, name).array(5))
    classes = planted(World(), 0, CLASSES)
    assert classes.train.labels.tolist() == (np.array([0, 0, 1, 1, 2, 2])[classes.templates["train"]]).tolist()
    foreign = planted(World(foreign=0.5), 0).templates["pool"]
    assert (foreign >= 6).mean() == 0.5


# The study


def test_a_gain_is_paired_over_the_seeds() -> None:
    ours, theirs = [0.9, 0.8, 0.7], [0.5, 0.6, 0.6]
    made = [tuple(Trained(0.0, v, 1.0, {}, {}) for v in values) for values in (ours, theirs)]
    line = Gain(Row(Variant("x")), made[0], made[1]).line()
    from scipy.stats import ttest_rel

    interval = ttest_rel(ours, theirs).confidence_interval()
    assert (line["gain"], line["low"], line["high"]) == pytest.approx((7 / 30, interval.low, interval.high))


def test_the_rivals_take_as_many_steps() -> None:
    world = planted(World(labelled=40, pool=100), 0)  # 2 and 4 batches of 32
    assert [one.settings.get("model.labelled_passes") for one in rivals(world)] == [None, "4", "4"]
    found = sweep([Row(Variant("x", settings={"model.labelled_passes": "0"}), {"pool": 64})], [0], World(), 1)
    assert found[0].trained[0].facts["unlabelled_sentences"] == 64
    assert found[0].rival[0].facts["unlabelled_sentences"] == 0


def test_the_command_writes_its_table(tmp_path: Path) -> None:
    line = ["study", "deepemocluster-why", "--seeds", "2", "--pool", "12", "--epochs", "1", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, [*line, "--part", "paper"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "studies" / "deepemocluster-why_paper.csv")
    assert table["row"].tolist()[0] == "paper"
    assert (table["n"] == 2).all()
    assert "the text to the letter" in (tmp_path / "studies" / "deepemocluster-why_paper.md").read_text("utf-8")
    wrong = CliRunner().invoke(app, [*line, "--part", "part"])
    assert isinstance(wrong.exception, SerbenchError)
    assert "Did you mean 'parts'" in str(wrong.exception)

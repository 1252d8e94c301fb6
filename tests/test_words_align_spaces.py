"""Aligning two spaces: seeded modes, the adversarial game and the verdict on it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from serbench.datasets.core.errors import SerbenchError
from serbench.features.spaces.adversarial import Game, discriminator, orthogonal_step, play, random_rotation
from serbench.features.spaces.mapping import Config, Report, align, read_pairs
from serbench.features.spaces.orthogonal import mean_cosine, precision
from serbench.features.words.vectors import Vectors

GAME = Game(hidden=128, lr=0.3, steps=3, epochs=5, samples=16_000)
"""A small discriminator and 2,500 steps: enough for twelve dimensions, a few seconds each."""


def clustered(words: int, dim: int, seed: int = 0, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words in clusters of unequal size and width, some directions wider than others; the same rotated, with noise."""
    rng = np.random.default_rng(seed)
    spectrum = np.geomspace(1.0, 0.2, dim)
    centres = 1.5 * rng.standard_normal((40, dim)) * spectrum + 0.3 * rng.standard_normal(dim)
    of = rng.choice(40, words, p=rng.dirichlet(np.full(40, 0.7)))
    widths = rng.uniform(0.2, 0.6, (40, dim))
    x = centres[of] + rng.standard_normal((words, dim)) * widths[of] * spectrum
    hidden = ortho_group.rvs(dim, random_state=seed + 1)
    x *= 3 / np.sqrt((x**2).sum(1).mean())
    y = x @ hidden + noise * x.std() * rng.standard_normal(x.shape)
    return x.astype(np.float32), y.astype(np.float32), hidden


def named(x: np.ndarray, prefix: str = "w") -> Vectors:
    return Vectors([f"{prefix}{letters(i)}" for i in range(len(x))], x)


def letters(number: int) -> str:
    return re.sub(r"\d", lambda m: "abcdefghij"[int(m[0])], f"{number:05d}")


def isotropic(words: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((words, dim))
    return x.astype(np.float32), (x @ ortho_group.rvs(dim, random_state=4)).astype(np.float32)


def test_identical_words_of_5000() -> None:
    x, y, hidden = clustered(5000, 30)
    order = np.random.default_rng(1).permutation(5000)
    source, target = named(x), Vectors([f"w{letters(i)}" for i in order], y[order])
    found = align(source, target, Config(rounds=2))
    assert found.report.accepted
    assert found.report.pairs == 4000
    assert found.report.tested == 1000
    assert found.report.precision["csls"][1] > 0.95
    assert found.report.precision["nn"][1] > 0.95
    at = found.report.precision["csls"]
    assert at[1] <= at[5] <= at[10]
    np.testing.assert_allclose(found.map, hidden, atol=0.02)
    np.testing.assert_allclose(found.map @ found.map.T, np.eye(30), atol=1e-5)
    np.testing.assert_allclose(found.source.matrix, x @ found.map, atol=1e-4)
    assert found.source.words == source.words
    np.testing.assert_array_equal(found.target.matrix, target.matrix)


def test_precision_falls_where_words_are_wrongly_paired() -> None:
    """The words that test the map are not those that it is fitted to."""
    x, y, _ = clustered(600, 10)
    rng = np.random.default_rng(2)
    unrelated = named(rng.permutation(y))
    found = align(named(x), unrelated, Config(rounds=0))
    assert found.report.precision["csls"][1] < 0.05


def test_a_dictionary_and_words_of_another_language(tmp_path: Path) -> None:
    x, y, _ = clustered(600, 10)
    source, target = named(x, "s"), named(y, "t")
    with pytest.raises(SerbenchError, match="0 words that both vocabularies have"):
        align(source, target)
    (tmp_path / "pairs.txt").write_text("".join(f"s{letters(i)}\tt{letters(i)}\n" for i in range(60)) + "no tno\n")
    pairs = read_pairs(tmp_path / "pairs.txt")
    assert len(pairs) == 61
    test = [(f"s{letters(i)}", f"t{letters(i)}") for i in range(100, 400)]
    found = align(source, target, Config("dictionary"), pairs=pairs, test=test)
    assert found.report.pairs == 60
    assert found.report.tested == 300
    assert found.report.precision["csls"][1] > 0.95
    with pytest.raises(SerbenchError, match="0 pairs of words"):
        align(source, target, Config("dictionary"), pairs=[("no", "tno")])


def test_refinement_mends_a_map_of_few_pairs() -> None:
    x, y, _ = clustered(1500, 20)
    source, target = named(x, "s"), named(y, "t")
    pairs = [(f"s{letters(i)}", f"t{letters(i)}") for i in range(16)]
    test = [(f"s{letters(i)}", f"t{letters(i)}") for i in range(300, 600)]
    found = align(source, target, Config("dictionary"), pairs=pairs, test=test)
    assert found.report.before["csls"][1] < 0.9 < found.report.precision["csls"][1]


def test_preparing_changes_both_spaces() -> None:
    x, y, _ = clustered(300, 8)
    found = align(named(x), named(y), Config(prepare="unit-centre-unit", rounds=0))
    for vectors, given in ((found.source, x @ found.map), (found.target, y)):
        unit = given / np.linalg.norm(given, axis=1, keepdims=True)
        if vectors is found.target:
            unit = unit - unit.mean(0)
            np.testing.assert_allclose(vectors.matrix, unit / np.linalg.norm(unit, axis=1, keepdims=True), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors.matrix, axis=1), 1, atol=1e-5)
    with pytest.raises(SerbenchError, match="prepare='whiten'"):
        align(named(x), named(y), Config(prepare="whiten"))


def test_bad_input(tmp_path: Path) -> None:
    x, y, _ = clustered(50, 8)
    with pytest.raises(SerbenchError, match="8 numbers, the target vectors 5"):
        align(named(x), named(y[:, :5]))
    (tmp_path / "pairs.txt").write_text("a b\na b c\n")
    with pytest.raises(SerbenchError, match="line 2"):
        read_pairs(tmp_path / "pairs.txt")
    with pytest.raises(SerbenchError, match="can't be read"):
        read_pairs(tmp_path / "none.txt")


def test_a_game_repeats_itself() -> None:
    x, y, _ = clustered(400, 6)
    game = Game(hidden=16, epochs=2, samples=320)
    state = torch.random.get_rng_state()
    games = [play(torch.from_numpy(x), torch.from_numpy(y), game, seed) for seed in (3, 3, 4)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(games[0].map, games[1].map)
    assert games[0].losses == games[1].losses
    assert not torch.equal(games[0].map, games[2].map)
    assert len(games[0].criteria) == 2
    assert games[0].criterion == max(games[0].criteria)
    assert games[0].criterion == mean_cosine(torch.from_numpy(x) @ games[0].map, torch.from_numpy(y))


def test_one_step_of_the_game_is_that_of_the_paper() -> None:
    """Equations 3 and 4 with smoothed labels, written on probabilities, and equation 7."""
    x, y, _ = clustered(50, 4)
    s, t = torch.from_numpy(x).double(), torch.from_numpy(y).double()
    game = Game(hidden=5, input_dropout=0.0, smoothing=0.2, steps=1, batch=3, lr=0.3, beta=0.05, epochs=1, samples=3)
    found = play(s, t, game, seed=8)

    torch.manual_seed(8)
    w = random_rotation(4).requires_grad_()
    judge = discriminator(4, game).double()

    def loss(as_source: float, as_target: float) -> torch.Tensor:
        source, target = (z[torch.randint(50, (3,))] for z in (s, t))
        p = [torch.sigmoid(judge(z)) for z in (source @ w, target)]
        logs = [a * q.log() + (1 - a) * (1 - q).log() for a, q in zip((as_source, as_target), p, strict=True)]
        return -torch.cat(logs).mean()

    told = loss(0.2, 0.8)
    told.backward()
    with torch.no_grad():
        for weight in judge.parameters():
            weight -= 0.3 * weight.grad
    w.grad = None
    loss(0.8, 0.2).backward()
    stepped = w.detach() - 0.3 * w.grad
    torch.testing.assert_close(found.map, 1.05 * stepped - 0.05 * stepped @ stepped.T @ stepped)
    assert found.losses[0] == pytest.approx(float(told.detach()))


def test_the_orthogonal_step_is_equation_7() -> None:
    w = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 5))) * 0.2 + torch.eye(5)
    expected = 1.01 * w - 0.01 * (w @ w.T @ w)
    torch.testing.assert_close(orthogonal_step(w, 0.01), expected)
    q = torch.from_numpy(ortho_group.rvs(5, random_state=0))
    torch.testing.assert_close(orthogonal_step(q, 0.01), q)
    for _ in range(2000):
        w = orthogonal_step(w, 0.01)
    torch.testing.assert_close(w @ w.T, torch.eye(5, dtype=w.dtype), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_adversarial_mode_finds_the_rotation_of_5000_words_from_three_of_five_seeds() -> None:
    x, y, hidden = clustered(5000, 12)
    truth = {i: {i} for i in range(1000)}
    s, t = torch.from_numpy(x), torch.from_numpy(y)
    found = [play(s, t, GAME, seed) for seed in range(5)]
    share = [precision(s @ p.map, t, truth).at[1] for p in found]
    assert sum(p > 0.8 for p in share) >= 3, share
    best = max(found, key=lambda p: p.criterion)
    np.testing.assert_allclose(best.map, hidden, atol=0.1)


@pytest.mark.slow
def test_the_adversarial_mode_is_accepted_where_seeds_agree_and_not_on_isotropic_data() -> None:
    x, y, hidden = clustered(3000, 12)
    found = align(named(x, "s"), named(y, "t"), Config("adversarial", seeds=2, rounds=2), GAME)
    assert found.report.accepted
    assert "agrees with another one" in found.report.reason
    np.testing.assert_allclose(found.map, hidden, atol=0.05)
    x, y = isotropic(2000, 12)
    short = Game(hidden=64, lr=0.3, steps=3, epochs=2, samples=8_000)
    reports: list[Report] = []
    config, source = Config("adversarial", seeds=2, rounds=2), named(x, "s")
    for prefix, reason in (("t", "agrees with another one on"), ("s", "fitted to 2000 known pairs")):
        with pytest.raises(SerbenchError, match=r"adversarial mode failed: .*--mode identical"):
            align(source, named(y, prefix), config, short, failed=reports.append)
        assert reason in reports[-1].reason
        assert not reports[-1].accepted
    assert all(game["agreement_with_seeded"] < 0.1 for game in reports[1].games)
    assert reports[1].precision["csls"][1] < 0.1
    assert align(named(x, "s"), named(y, "s"), Config(rounds=0)).report.precision["csls"][1] > 0.95

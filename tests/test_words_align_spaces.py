"""Aligning two spaces: seeded modes, the adversarial game and the verdict on it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from serbench.datasets.core.errors import SerbenchError
from serbench.features.spaces.adversarial import (
    PRESETS,
    PUBLISHED,
    Game,
    Match,
    discriminator,
    epoch_seconds,
    orthogonal_step,
    play,
    random_rotation,
)
from serbench.features.spaces.mapping import Config, MapReport, align, read_pairs
from serbench.features.spaces.orthogonal import mean_cosine
from serbench.features.words.vectors import Vectors

GAME = Game(hidden=64, refined=500)
"""A small discriminator: enough for eight dimensions, two CPU-seconds a game."""


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


def test_a_game_repeats_itself_whatever_the_threads_and_the_global_seed() -> None:
    x, y, _ = clustered(400, 6)
    game = Game(hidden=16, epochs=2, samples=1280)
    threads = torch.get_num_threads()
    games = []
    try:
        for seed, count in ((3, 1), (3, 2), (4, 1)):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            state = torch.random.get_rng_state()
            games.append(play(torch.from_numpy(x), torch.from_numpy(y), game, seed))
            assert torch.equal(state, torch.random.get_rng_state())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(games[0].map, games[1].map)
    assert games[0].losses == games[1].losses
    assert not torch.equal(games[0].map, games[2].map)
    assert len(games[0].criteria) == 2
    assert games[0].criterion == max(games[0].criteria)
    assert games[0].criterion == mean_cosine(torch.from_numpy(x) @ games[0].map, torch.from_numpy(y))


def test_one_step_of_the_game_is_that_of_the_paper() -> None:
    """Equations 3 and 4 with smoothed labels, on probabilities and differentiated by PyTorch, and equation 7."""
    x, y, _ = clustered(50, 4)
    s, t = torch.from_numpy(x).double(), torch.from_numpy(y).double()
    game = Game(
        hidden=5,
        input_dropout=0.0,
        smoothing=0.2,
        steps=1,
        batch=3,
        lr=0.3,
        beta=0.05,
        epochs=1,
        samples=3,
        refined=0,
        scaled=False,
    )
    found = play(s, t, game, seed=8)

    start, dice = torch.Generator().manual_seed(8), torch.Generator().manual_seed(8)
    w = random_rotation(4, start).requires_grad_()
    w1, b1, w2, b2, w3, b3 = weights = [z.double().requires_grad_() for z in discriminator(4, 5, start)]

    def judge(z: torch.Tensor) -> torch.Tensor:
        first = torch.nn.functional.leaky_relu(z @ w1.T + b1, 0.2)
        return torch.nn.functional.leaky_relu(first @ w2.T + b2, 0.2) @ w3.T + b3

    def loss(as_source: float, as_target: float) -> torch.Tensor:
        source, target = (z[torch.randint(50, (3,), generator=dice)] for z in (s, t))
        p = [torch.sigmoid(judge(z)) for z in (source @ w, target)]
        logs = [a * q.log() + (1 - a) * (1 - q).log() for a, q in zip((as_source, as_target), p, strict=True)]
        return -torch.cat(logs).mean()

    told = loss(0.2, 0.8)
    told.backward()
    with torch.no_grad():
        for weight in weights:
            weight -= 0.3 * weight.grad
    w.grad = None
    loss(0.8, 0.2).backward()
    stepped = w.detach() - 0.3 * w.grad
    torch.testing.assert_close(found.map, 1.05 * stepped - 0.05 * stepped @ stepped.T @ stepped)
    assert found.losses[0] == pytest.approx(float(told.detach()))


def test_start_values_of_the_discriminator_are_those_of_pytorchs_layers() -> None:
    weights = discriminator(4, 300, torch.Generator().manual_seed(0))
    layers = [torch.nn.Linear(*sizes) for sizes in ((4, 300), (300, 300), (300, 1))]
    for found, layer in zip(zip(weights[::2], weights[1::2], strict=True), layers, strict=True):
        for one, other in zip(found, (layer.weight, layer.bias), strict=True):
            assert one.shape == other.shape
            assert float(one.abs().max()) <= layer.in_features**-0.5
    assert float(weights.w2.std()) == pytest.approx(float(layers[1].weight.detach().std()), rel=0.02)


def test_lengths_are_made_equal_for_the_game_alone() -> None:
    """A cloud that is a hundred times longer is played as if it were not."""
    x, y, _ = clustered(300, 5)
    game = Game(hidden=16, epochs=1, samples=1280)
    plain, longer = (play(torch.from_numpy(x), torch.from_numpy(y) * f, game, 1).map for f in (1.0, 100.0))
    torch.testing.assert_close(plain, longer, atol=1e-3, rtol=0)
    match = Match(torch.from_numpy(x), torch.from_numpy(y) * 100, game, 1)
    assert [float(pool.square().mean()) for pool in match.pools] == pytest.approx([1.0, 1.0], abs=1e-4)


def test_a_game_ends_when_nothing_becomes_better() -> None:
    x, y = isotropic(300, 8)
    game = Game(hidden=16, epochs=60, samples=640, patience=2)
    found = play(torch.from_numpy(x), torch.from_numpy(y), game, 0)
    assert 3 <= len(found.criteria) < 60
    assert max(found.criteria[-2:]) <= max(found.criteria[:-2]) + 1e-3
    explodes = play(torch.from_numpy(x), torch.from_numpy(y), Game(hidden=16, lr=1e6, samples=6400), 0)
    assert len(explodes.criteria) == 1
    assert torch.isfinite(explodes.map).all()


def test_the_published_recipe() -> None:
    """The numbers of the paper and of the authors' release; 5 epochs of a million samples, 156,250 steps of the map."""
    p = PRESETS["published"]
    assert p is PUBLISHED
    assert (p.hidden, p.steps, p.batch, p.lr, p.epochs, p.samples) == (2048, 5, 32, 0.1, 5, 1_000_000)
    assert (p.input_dropout, p.smoothing, p.beta, p.lr_decay, p.most_frequent) == (0.1, 0.1, 0.001, 0.98, 75_000)
    assert not p.refined
    assert not p.scaled


def test_what_an_epoch_will_take_is_told_by_a_piece_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten timed steps of 2 s and one look of 5 s: 30 steps and a look take 65 s."""
    now = [0.0]

    def pass_by(seconds: float, answer: torch.Tensor | float) -> torch.Tensor | float:
        now[0] += seconds
        return answer

    monkeypatch.setattr("serbench.features.spaces.adversarial.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(Match, "round", lambda self, rate: pass_by(2.0, torch.zeros(())))
    monkeypatch.setattr(Match, "look", lambda self: pass_by(5.0, 0.5))
    x, y, _ = clustered(50, 4)
    assert epoch_seconds(torch.from_numpy(x), torch.from_numpy(y), Game(batch=10, samples=300)) == pytest.approx(65)


def test_the_orthogonal_step_is_equation_7() -> None:
    w = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 5))) * 0.2 + torch.eye(5)
    expected = 1.01 * w - 0.01 * (w @ w.T @ w)
    torch.testing.assert_close(orthogonal_step(w, 0.01), expected)
    q = torch.from_numpy(ortho_group.rvs(5, random_state=0))
    torch.testing.assert_close(orthogonal_step(q, 0.01), q)
    for _ in range(2000):
        w = orthogonal_step(w, 0.01)
    torch.testing.assert_close(w @ w.T, torch.eye(5, dtype=w.dtype), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", [0, 10])
def test_the_adversarial_mode_wins_from_every_seed(seed: int) -> None:
    """Single games are lost; games are played until two agree, so the mode is not."""
    x, y, hidden = clustered(1500, 8)
    lines: list[str] = []
    found = align(named(x, "s"), named(y, "t"), Config("adversarial", seed=seed), GAME, progress=lines.append)
    assert found.report.accepted
    assert "agrees with another one" in found.report.reason
    assert 2 <= len(found.report.games) <= 10
    np.testing.assert_allclose(found.map, hidden, atol=0.05)
    assert "Up to 10 games of 12 epochs of 100 steps, about " in lines[0]
    assert len(lines) == 1 + len(found.report.games)
    assert all("criterion 0." in line for line in lines[1:])


@pytest.mark.slow
def test_it_wins_3000_words_of_12_dimensions() -> None:
    x, y, hidden = clustered(3000, 12)
    config, game = Config("adversarial", rounds=2), Game(hidden=128, refined=1000)
    np.testing.assert_allclose(align(named(x, "s"), named(y, "t"), config, game).map, hidden, atol=0.05)


def test_games_have_the_same_bits_on_one_thread_and_on_two() -> None:
    """Two short games of full width, judged before either could be won."""
    x, y, _ = clustered(3000, 12)
    config, game = Config("adversarial", seeds=2, rounds=2), Game(hidden=128, refined=1000, epochs=2, samples=6_400)
    threads = torch.get_num_threads()
    reports: list[MapReport] = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with pytest.raises(SerbenchError, match="adversarial mode failed"):
                align(named(x, "s"), named(y, "t"), config, game, failed=reports.append)
    finally:
        torch.set_num_threads(threads)
    one, two = reports
    assert one.games == two.games
    assert one.precision == two.precision
    assert len({played["criterion"] for played in one.games}) == 2


def test_where_words_are_known_the_first_game_that_agrees_with_them_ends_it() -> None:
    x, y, hidden = clustered(1500, 8)
    found = align(named(x), named(y), Config("adversarial"), GAME)
    np.testing.assert_allclose(found.map, hidden, atol=0.05)
    assert "fitted to 1500 known pairs" in found.report.reason
    lost = [game for game in found.report.games if game["agreement_with_seeded"] < 0.5]
    assert len(lost) == len(found.report.games) - 1


def test_isotropic_data_are_refused() -> None:
    x, y = isotropic(800, 12)
    short = Game(hidden=64, epochs=2, samples=6_400)
    reports: list[MapReport] = []
    config, source = Config("adversarial", seeds=2, rounds=2), named(x, "s")
    for prefix, reason in (("t", "agrees with another one on"), ("s", "fitted to 800 known pairs")):
        with pytest.raises(SerbenchError, match=r"adversarial mode failed: .*--mode identical"):
            align(source, named(y, prefix), config, short, failed=reports.append)
        assert reason in reports[-1].reason
        assert not reports[-1].accepted
    assert all(game["agreement_with_seeded"] < 0.1 for game in reports[1].games)
    assert reports[1].precision["csls"][1] < 0.1
    assert align(named(x, "s"), named(y, "s"), Config(rounds=0)).report.precision["csls"][1] > 0.95


def test_one_game_alone_proves_nothing() -> None:
    x, y, _ = clustered(400, 6)
    config, game = Config("adversarial", seeds=1, rounds=0), Game(hidden=8, epochs=1, samples=640)
    with pytest.raises(SerbenchError, match="one game alone can't be judged"):
        align(named(x, "s"), named(y, "t"), config, game)

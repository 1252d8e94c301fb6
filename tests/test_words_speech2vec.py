"""Speech2Vec: cuts against librosa, the network against its equations, pairs and counts against plain loops, resuming,
and what a short training on the demo corpus brings."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.features.core.audio import read_audio
from serbench.features.words.speech2vec import (
    QUICK,
    Config,
    average,
    embed,
    frequent,
    fresh,
    keep_probability,
    pairs_of,
    train,
)
from serbench.features.words.speech2vec_network import Material, Network, pair_loss, squared_error, written_of
from serbench.features.words.spoken_words import CutConfig, Cuts, cut_words, mfcc

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def demo() -> Corpus:
    return load_corpus("demo")


@pytest.fixture(scope="module")
def spoken(demo: Corpus) -> Cuts:
    """Words of some utterances of all training speakers, with the 15 ms hop that so short words need."""
    items = [str(i) for i in demo.utterances.index[demo.utterances["partition"].eq("train")]][::3]
    return cut_words(demo, items, config=CutConfig(hop=320))


def made(count: int = 60, kinds: int = 6, frames: int = 5, coefficients: int = 3) -> Cuts:
    """Words that are noise around a pattern each."""
    rng = np.random.default_rng(1)
    patterns = rng.standard_normal((kinds, frames, coefficients))
    of = rng.integers(kinds, size=count)
    lengths = rng.integers(2, frames + 1, size=count)
    sound = patterns[of] + 0.1 * rng.standard_normal((count, frames, coefficients))
    sound[np.arange(frames) >= lengths[:, None]] = 0
    return Cuts([f"w{k}" for k in of], [f"u{i // 10}" for i in range(count)], sound.astype(np.float32), lengths)


# ---- cuts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [200, 512, 1280, 8003])
@pytest.mark.parametrize("hop", [512, 160])
def test_coefficients_are_librosas(samples: int, hop: int) -> None:
    signal = (0.1 * RNG.standard_normal(samples)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = librosa.feature.mfcc(y=signal, sr=16000, n_mfcc=13, n_fft=512, hop_length=hop)
    np.testing.assert_allclose(mfcc(signal, CutConfig(hop=hop)), expected.T, rtol=1e-4, atol=2e-3)


def test_cuts_are_the_words_of_the_corpus(demo: Corpus) -> None:
    items = [str(i) for i in demo.utterances.index[:5]]
    config = CutConfig(frames=10)
    found = cut_words(demo, items, config=config)
    table = pd.concat([demo.words(i).assign(item=i) for i in items], ignore_index=True)
    assert found.words == table["word"].tolist()
    assert found.items == table["item"].tolist()
    raw = []
    for row in table.itertuples():
        signal, rate = read_audio(demo.audio_path(row.item), 16000)
        raw.append(mfcc(signal[round(row.start * rate) : round(row.end * rate)], config)[:10])
    every = np.concatenate(raw)
    for k, part in enumerate(raw):
        assert found.lengths[k] == len(part)
        np.testing.assert_allclose(found.mfcc[k, : len(part)], (part - every.mean(0)) / every.std(0), atol=1e-4)
        assert not found.mfcc[k, len(part) :].any()


def test_items_without_audio_are_listed(demo: Corpus) -> None:
    table = demo.utterances.copy()
    table.loc[table.index[0], "path"] = "none.wav"
    broken = replace(demo, utterances=table)
    found = cut_words(broken, [str(i) for i in table.index[:2]])
    assert list(found.failed) == [table.index[0]]
    assert set(found.items) == {table.index[1]}
    with pytest.raises(SerbenchError, match=r"no word could be cut out of 1 items.*none\.wav"):
        cut_words(broken, [str(table.index[0])])


def test_words_that_are_too_short_or_behind_the_end_are_counted(demo: Corpus) -> None:
    item = str(demo.utterances.index[0])
    words = demo.words(item)
    wrong = words.copy()
    wrong.loc[0, "end"] = wrong.loc[0, "start"] + 0.001
    wrong.loc[1, ["start", "end"]] = [100.0, 101.0]
    wrong.loc[2, ["start", "end"]] = [1.0, 0.5]
    found = cut_words(demo, [item], words=lambda _: wrong)
    assert found.words == words["word"].tolist()[3:]
    assert found.short == 3


# ---- pairs and counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("across", [True, False])
def test_pairs(across: bool) -> None:
    cuts = made(25)
    config = Config(window=3, across=across)
    expected = {
        (i, j)
        for i in range(25)
        for j in range(25)
        if i != j and abs(i - j) <= 3 and (across or cuts.items[i] == cuts.items[j])
    }
    found = pairs_of(cuts, np.arange(25), config)
    assert len(found) == len(expected)
    assert {(int(i), int(j)) for i, j in found} == expected
    assert {int(i) for i, _ in pairs_of(cuts, np.array([4, 9]), config)} == {4, 9}


def test_frequent_words() -> None:
    cuts = Cuts(list("abacab"), list("uuuvvv"), np.arange(6, dtype=np.float32).reshape(6, 1, 1), np.ones(6, np.int64))
    found = frequent(cuts, 2)
    assert found.words == list("abaab")
    assert found.mfcc.ravel().tolist() == [0, 1, 2, 4, 5]
    with pytest.raises(SerbenchError, match="1 of 3 different words occur 3 times"):
        frequent(cuts, 3)
    kept = keep_probability(cuts.words, 0.1)
    expected = {word: np.sqrt(0.1 / f) + 0.1 / f for word, f in (("a", 3 / 6), ("b", 2 / 6), ("c", 1 / 6))}
    np.testing.assert_allclose(kept, [min(1, expected[word]) for word in cuts.words])


def test_a_words_vector_is_the_mean_of_unit_vectors() -> None:
    states = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], np.float32)
    found = average(["b", "a", "a"], states)
    assert found.words == ["a", "b"]
    np.testing.assert_allclose(found.matrix, [[np.sqrt(0.5), np.sqrt(0.5)], [0.6, 0.8]], atol=1e-6)


# ---- network --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("masked", [True, False])
def test_the_network_is_its_equations(masked: bool, share: float) -> None:
    """Each pair alone, cut to its true length where frames are masked, attention written out."""
    torch.manual_seed(0)
    network = Network(3, 6, masked).double()
    cuts = made(8)
    sound, lengths = torch.from_numpy(cuts.mfcc).double(), torch.from_numpy(cuts.lengths)
    where, target = torch.tensor([0, 3, 3, 7]), sound[[1, 2, 4, 6]]
    told = torch.from_numpy(RNG.random((4, target.shape[1])) < share)
    found = network(sound, lengths, target, where, told=told if share < 1 else None)
    for k, centre in enumerate(where.tolist()):
        word = sound[centre, : lengths[centre]] if masked else sound[centre]
        states, (hidden, cell) = network.encoder(word[None])
        state = torch.cat([hidden[0], hidden[1]], 1)[None], torch.cat([cell[0], cell[1]], 1)[None]
        before = torch.zeros(1, 1, 3, dtype=torch.double)
        for t in range(target.shape[1]):
            h, state = network.writers[0].decoder(before, state)
            weights = torch.softmax(torch.stack([h[0, 0] @ s for s in states[0]]), 0)
            context = sum(a * s for a, s in zip(weights, states[0], strict=True))
            written = network.writers[0].output(torch.tanh(network.writers[0].joined(torch.cat([context, h[0, 0]]))))
            torch.testing.assert_close(found[k, t], written)
            before = target[k, t][None, None] * bool(told[k, min(t + 1, target.shape[1] - 1)])


def test_masked_words_do_not_see_what_is_behind_their_end() -> None:
    torch.manual_seed(0)
    cuts = made(10)
    sound, lengths = torch.from_numpy(cuts.mfcc), torch.from_numpy(cuts.lengths)
    noisy = sound + 9.0 * (torch.arange(5)[None, :, None] >= lengths[:, None, None])
    for masked in (True, False):
        network = Network(3, 6, masked)
        same = np.allclose(embed(network, sound, lengths), embed(network, noisy, lengths))
        assert same is masked


def test_the_loss() -> None:
    written, target = torch.from_numpy(RNG.standard_normal((2, 4, 5, 3)))
    lengths = torch.tensor([5, 1, 3, 2])
    errors = [float((written[k, t, c] - target[k, t, c]) ** 2) for k in range(4) for t in range(5) for c in range(3)]
    assert float(squared_error(written, target)) == pytest.approx(np.mean(errors))
    inside = [e for i, e in enumerate(errors) if (i // 3) % 5 < lengths[i // 15]]
    assert float(squared_error(written, target, lengths)) == pytest.approx(np.mean(inside))
    with pytest.raises(SerbenchError, match="dim=7 is odd"):
        Network(3, 7, True)


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_killed_training_goes_on_to_the_same_numbers(tmp_path: Path, optimiser: str) -> None:
    config = Config(dim=6, optimiser=optimiser, lr=0.01, batch=64, epochs=5, min_count=1, subsample=0.05, held_out=0.2)
    unbroken = train(made(), config)
    state = tmp_path / "state.safetensors"

    def killer(line: str) -> None:
        if line.startswith("epoch 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made(), config, checkpoint=state, progress=killer)
    lines: list[str] = []
    resumed = train(made(), config, checkpoint=state, progress=lines.append)
    assert [line.split(":")[0] for line in lines] == ["epoch 4", "epoch 5"]
    assert resumed.losses == unbroken.losses
    assert resumed.held_out_losses == unbroken.held_out_losses
    np.testing.assert_array_equal(resumed.vectors.matrix, unbroken.vectors.matrix)
    other = train(made(), replace(config, seed=1), checkpoint=state)  # another training does not take it up
    assert len(other.losses) == 5
    assert other.losses[0] != unbroken.losses[0]


def test_states_of_the_first_form_are_taken_up(tmp_path: Path) -> None:
    """Their facts stood in a dictionary of their own, without a schema."""
    config = Config(dim=6, optimiser="adam", lr=0.01, batch=64, epochs=3, min_count=1)
    state, lines = tmp_path / "state.safetensors", list[str]()
    unbroken = train(made(), config, checkpoint=state)
    with safetensors.safe_open(state, framework="np") as content:
        head = json.loads(content.metadata()["serbench"])
        tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
    facts = {key: head[key] for key in ("epoch", "best_epoch", "losses", "held_out")}
    first = {"serbench": json.dumps({"identity": head["identity"], "facts": facts})}
    safetensors.numpy.save_file(tensors, state, metadata=first)
    assert "optimiser.0.exp_avg" in tensors
    again = train(made(), config, checkpoint=state, progress=lines.append)
    assert not lines
    assert again.losses == unbroken.losses
    np.testing.assert_array_equal(again.vectors.matrix, unbroken.vectors.matrix)


def test_it_stops_early_and_keeps_the_best() -> None:
    config = Config(dim=6, optimiser="adam", lr=0.1, batch=16, epochs=60, min_count=1, held_out=0.3, patience=3)
    found = train(made(), config)
    assert len(found.losses) < 60
    assert len(found.losses) == found.best_epoch + 3
    assert min(found.held_out_losses) == found.held_out_losses[found.best_epoch - 1]
    shorter = train(made(), replace(config, epochs=found.best_epoch))
    np.testing.assert_array_equal(found.vectors.matrix, shorter.vectors.matrix)


def test_a_loss_that_is_no_number() -> None:
    cuts = made()
    cuts.mfcc[0] = np.nan
    with pytest.raises(SerbenchError, match="lower learning rate"):
        train(cuts, Config(dim=6, min_count=1, epochs=1))


def test_the_loss_falls_and_vectors_are_in_order(demo: Corpus, spoken: Cuts) -> None:
    """What trained vectors know that untrained ones do not is tested where it is planted: `test_words_judge.py`."""
    assert 300 < len(spoken) < 900
    config = replace(QUICK, dim=16, epochs=3, batch=128, held_out=0.1)
    found = train(spoken, config)
    assert found.losses[-1] < 0.95 * found.losses[0]
    assert found.held_out_losses[-1] < found.held_out_losses[0]
    kept = frequent(spoken, config.min_count)
    assert set(kept.speakers) == {str(demo.row(item)["speaker"]) for item in kept.items}
    assert found.vectors.words[0] == max(set(kept.words), key=kept.words.count)
    np.testing.assert_allclose(np.linalg.norm(found.vectors.matrix, axis=1), 1, atol=1e-5)


def test_what_is_written_by_speaker(spoken: Cuts) -> None:
    written, ends = written_of(spoken, Config(target="speaker"))
    inside = np.arange(written.shape[1]) < ends[:, None]
    for speaker in set(spoken.speakers):
        own = written[inside & (np.array(spoken.speakers) == speaker)[:, None]]
        np.testing.assert_allclose(own.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(own.std(0), 1, atol=1e-4)
    assert not written[~inside].any()
    with pytest.raises(SerbenchError, match="nobody has heard"):
        written_of(spoken, Config(target="whisper"))
    heard = np.random.default_rng(0).standard_normal((len(spoken), 7)).astype(np.float32)
    written, ends = written_of(replace(spoken, heard=heard), Config(target="whisper"))
    assert written.shape == (len(spoken), 1, 7)
    assert set(ends.tolist()) == {1}


def test_each_distance_has_its_writer_and_the_word_itself_is_one_of_them() -> None:
    cuts, config = made(20), Config(dim=6, window=2, decoders="distance", own=True, padding="masked")
    pairs = pairs_of(cuts, np.array([5]), config)
    assert pairs[:, 1].tolist() == [3, 4, 5, 6, 7]
    network, material = fresh(3, config), Material.of(cuts, config, torch.device("cpu"))
    assert len(network.writers) == 5
    drawn = torch.Generator().manual_seed(0)
    for k, pair in enumerate(torch.from_numpy(pairs)):
        network.zero_grad()
        pair_loss(network, material, pair[None], config, drawn).backward()
        used = [
            writer.output.weight.grad is not None and bool(writer.output.weight.grad.any())
            for writer in network.writers
        ]
        assert used == [j == k for j in range(5)]


def test_neighbours_are_chosen_among_words_of_their_speaker() -> None:
    cuts, config = replace(made(20), speakers=list("abcd" * 5)), Config(dim=6, objective="choose", padding="masked")
    network, material = fresh(3, config), Material.of(cuts, config, torch.device("cpu"))
    pairs = torch.tensor([[0, 1], [4, 5], [2, 3], [8, 9]])
    found = pair_loss(network, material, pairs, config, torch.Generator())
    expected = []
    for centre, other in pairs.tolist():
        rivals = [j for j in sorted({1, 5, 3, 9}) if cuts.speakers[j] == cuts.speakers[other]]
        rows = [torch.tensor([centre]), torch.tensor(rivals)]
        (products,) = network.choose(*(x[r] for r in rows for x in (material.sound, material.lengths)))
        expected.append(products.logsumexp(0) - products[rivals.index(other)])
    torch.testing.assert_close(found, torch.stack(expected).mean())

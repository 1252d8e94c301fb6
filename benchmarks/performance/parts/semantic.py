"""What semantic fusion costs: a training step against a plain writing, memory at the paper's batch, prediction.

    python -m serbench.benchmarks.performance.parts.semantic [--out FILE.json] [--only steps memory prediction card]

- A training step of the released network (forward, loss, backward, Adam) on 5 sequences of 100 frames, one half of each
  frame silent, as the network's input is made: as the model does it, and as it is written down with the library's
  layers (`as_written`: convolution, maximum, ReLU, dropout, the LSTM as a loop over frames). The two differ by
  rounding: their largest difference of predictions and gradients, without dropout, stands in the row. So does the part
  of a step that the recurrence takes.
- Peak memory of one step on 25 sequences of 300 frames.
- Prediction of a recording of three minutes, per second of sound.
- Where there is a graphics card: steps per second in float32 and bf16, and the share of what a large matrix product
  reaches on that card.

Each CPU measurement is a process of its own with one thread; plain and own steps alternate.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from ....sermodels.core.speed import as_written
from ....sermodels.semantic_fusion.layers import ConvPool
from ....sermodels.semantic_fusion.network import NetworkConfig, SemanticNetwork, initialise
from ....sermodels.training.losses import ccc_losses
from ..device_speed import matrix_speed, mean_seconds, precision, training_step, with_peak
from ..measure import timed
from ..rows import Facts, Row, apart, main, row, rows_of

HALF, WORD_DIM, TARGETS = 2205, 100, 3
HOP_SECONDS = 0.1
RATIO = 0.45
LSTM_SHARE = 0.15
PEAK_LIMIT = 10e9 / 2**20
ROUNDS = 3
_apart = partial(apart, __spec__.name)


def rows() -> list[Row]:
    """All measurements as rows of the performance page."""
    return rows_of(ROWS)


def step_rows(rounds: int = ROUNDS) -> list[Row]:
    """A training step, own and plain, in alternating processes; the medians."""
    taken: dict[str, list[Facts]] = {"plain": [], "own": []}
    for _ in range(rounds):
        for way, list_of in taken.items():
            list_of.append(_apart("step", way=way))
    plain, own = (_median(taken[way]) for way in ("plain", "own"))
    same, share = _apart("same"), _apart("recurrence")
    ratio, part = own["cpu_seconds"] / plain["cpu_seconds"], share["cpu_seconds"] / own["cpu_seconds"]
    title = "semantic-fusion:released, training step, 5 x 100 frames"
    return [
        row(f"{title}: layers of the library, LSTM as a loop", plain),
        row(
            f"{title}: as it is; predictions differ by {same['predictions']:.0e}, gradients by "
            f"{same['gradients']:.0e} of their norm",
            own,
            ratio=ratio,
            limit=f"at most {RATIO:g} of the plain step",
            met=ratio <= RATIO,
        ),
        row(
            "of which the recurrence",
            {**share, "peak_mib": None},
            ratio=part,
            limit=f"at most {LSTM_SHARE:.0%} of the step",
            met=part <= LSTM_SHARE,
        ),
    ]


def memory_rows() -> list[Row]:
    """Peak memory of one step at the paper's batch size."""
    facts = _apart("step", way="own", batch=25, frames=300, steps=1)
    met = facts["peak_mib"] <= PEAK_LIMIT
    title = "semantic-fusion:paper, training step, 25 x 300 frames"
    return [row(title, facts, limit=f"{PEAK_LIMIT:.0f} MiB", met=met)]


def prediction_rows() -> list[Row]:
    """Prediction of a recording of three minutes, sequence by sequence."""
    facts = _apart("prediction")
    title = f"semantic-fusion:released, prediction of {facts['sound_seconds']:.0f} s of sound: real-time factor"
    return [row(title, facts, ratio=facts["wall_seconds"] / facts["sound_seconds"])]


def card_rows() -> list[Row]:
    """Speed on a graphics card; no rows where there is none."""
    if not torch.cuda.is_available():
        return []
    shown = []
    for amp in (False, True):
        for batch, frames in ((5, 100), (25, 300)):
            facts, peak = with_peak(partial(card_speed, "cuda", amp=amp, batch=batch, frames=frames), "cuda")
            title = (
                f"semantic-fusion on {torch.cuda.get_device_name()}, {'bf16' if amp else 'float32'}, {batch} x "
                f"{frames} frames: {facts['steps_per_second']:.1f} steps/s, {facts['share_of_card']:.0%} of a "
                "large matrix product"
            )
            shown.append(row(title, {"wall_seconds": 1 / facts["steps_per_second"], "peak_mib": peak}))
    return shown


def run_step(way: str, batch: str = "5", frames: str = "100", steps: str = "2") -> Facts:
    """Training steps after one on a single short sequence; the cheapest of them."""
    network = network_of(int(frames))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-4)
    costs = []
    for step in range(int(steps) + 1):
        given = generated(int(batch) if step else 1, int(frames))
        with as_written() if way == "plain" else nullcontext(), timed() as spent:
            loss = training_loss(network, *given)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        costs.append(spent)
    return min(costs[1:], key=lambda one: one["cpu_seconds"])


def run_same() -> Facts:
    """Largest difference of predictions, and of gradients over their norm, without dropout."""
    network, given = network_of(100).eval(), generated(2, 100)
    outputs, gradients = [], []
    for way in (nullcontext(), as_written()):
        with way:
            predictions = network(*given[:2])
            ccc_losses(predictions.flatten(0, 1), given[2].flatten(0, 1)).mean().backward()  # type: ignore[no-untyped-call]
        outputs.append(predictions.detach())
        gradients.append([_gradient(block.weight).clone() for block in blocks_of(network)])
        network.zero_grad()
    apart = [float((a - b).norm() / b.norm()) for a, b in zip(*gradients, strict=True)]
    return {"predictions": float((outputs[0] - outputs[1]).abs().max()), "gradients": max(apart)}


def run_recurrence(batch: str = "5", frames: str = "100", steps: str = "5") -> Facts:
    """The LSTM alone, forth and back."""
    lstm = network_of(int(frames)).lstm
    given = torch.randn(int(batch), int(frames), lstm.inputs, requires_grad=True)
    lstm(given).square().sum().backward()
    with timed() as spent:
        for _ in range(int(steps)):
            lstm(given).square().sum().backward()
    return {key: value / int(steps) for key, value in spent.items()}


def run_prediction(sequences: str = "18") -> Facts:
    """Outputs of so many sequences of 100 frames, four at a time."""
    network = network_of(100).eval()
    audio, words, _ = generated(int(sequences), 100)
    with torch.inference_mode():
        network(audio[:1], words[:1])
        with timed() as spent:
            for first in range(0, len(audio), 4):
                network(audio[first : first + 4], words[first : first + 4])
    return {**spent, "sound_seconds": len(audio) * 100 * HOP_SECONDS}


def card_speed(device: str, *, amp: bool, batch: int, frames: int, steps: int = 10) -> dict[str, float]:
    """Training steps per second on a device, and what that is of a large matrix product's speed there."""
    network = network_of(frames).to(device)
    optimiser = torch.optim.Adam(network.parameters(), fused=device.startswith("cuda"))
    given = [tensor.to(device) for tensor in generated(batch, frames)]
    step = training_step(lambda: training_loss(network, *given), optimiser, device, amp=amp)
    seconds = mean_seconds(step, device, steps, warm=3)
    reached = matrix_speed(device, precision(amp), steps)
    operations = 3 * 2 * batch * frames * products_per_frame(network)
    return {"steps_per_second": 1 / seconds, "share_of_card": operations / seconds / reached}


def training_loss(network: nn.Module, audio: Tensor, words: Tensor, targets: Tensor) -> Tensor:
    """1 - CCC over all frames, averaged over the targets."""
    return ccc_losses(network(audio, words).flatten(0, 1), targets.flatten(0, 1)).mean()


def products_per_frame(network: SemanticNetwork) -> int:
    """Multiplications of one forward pass for a frame."""
    steps, total = 2.0 * HALF, 0.0
    for block in blocks_of(network):
        total += steps * math.prod(block.weight.shape)
        steps /= block.pool
    dense = [p.numel() for name, p in network.named_parameters() if p.dim() == 2 and "peephole" not in name]
    return round(total) + sum(dense)


def blocks_of(network: SemanticNetwork) -> list[ConvPool]:
    """Its convolution blocks."""
    return [block for block in network.blocks if isinstance(block, ConvPool)]


def network_of(frames: int) -> SemanticNetwork:
    """The released network, as it begins."""
    network = SemanticNetwork(2 * HALF, frames, WORD_DIM, TARGETS, NetworkConfig(), bounded=True)
    initialise(network, torch.Generator().manual_seed(1))
    return network


def generated(batch: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise in one half of each frame, word vectors in every other frame, targets."""
    generator = torch.Generator().manual_seed(0)
    own = torch.rand(batch, frames, 1, generator=generator) < 0.5
    noise = 0.1 * torch.randn(batch, frames, HALF, generator=generator)
    audio = torch.cat([noise * own, noise * ~own], dim=2)
    words = torch.randn(batch, frames, WORD_DIM, generator=generator)
    words[:, ::2] = 0
    return audio, words, 0.1 * torch.randn(batch, frames, TARGETS, generator=generator)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _median(taken: Sequence[Facts]) -> Facts:
    return {key: statistics.median(facts[key] for facts in taken) for key in taken[0]}


RUNS: dict[str, Callable[..., Facts]] = {
    "step": run_step,
    "same": run_same,
    "recurrence": run_recurrence,
    "prediction": run_prediction,
}
ROWS: dict[str, Callable[[], list[Row]]] = {
    "steps": step_rows,
    "memory": memory_rows,
    "prediction": prediction_rows,
    "card": card_rows,
}


if __name__ == "__main__":
    main(__doc__, ROWS, RUNS)

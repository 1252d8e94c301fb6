"""What MAEC costs: a training step against the plain path, memory at the paper's batch size, a trial of `small`.

    python -m serbench.benchmarks.performance.parts.maec [--out FILE.json] [--only steps memory trial card]

- A training step of the classification pass (forward, loss, backward, Adam) on 16 generated items of three turns with
  full bags of 70 instances, and on bags as long as IEMOCAP's: the preset as it is, and with `sharing` off, which
  computes every window by itself. Both run the same convolutions' arithmetic on the same weights.
- Peak memory of one step of each pass of `fixed` at its batch size of 32, with full bags.
- `serbench run --model maec:small --dataset demo --trials 1` from nothing, features included.
- Where there is a graphics card: items per second, an epoch of IEMOCAP's size, and the share of what a large matrix
  product reaches on that card, in float32 and bf16.

Each CPU measurement is a process of its own with one thread; the trial takes all cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ....sermodels.maec.config import Config
from ....sermodels.maec.layers import KERNEL
from ....sermodels.maec.model import PRESETS
from ....sermodels.maec.network import MaecNetwork, NetworkConfig, Turn, initialise
from ..device_speed import matrix_speed, mean_seconds, precision, training_step
from ..measure import SERBENCH, measure, timed
from ..rows import Facts, Row, apart, main, row, rows_of

DIM, CLASSES, BATCH = 45, 4, 16
TURNS = 3
RATIO = 2.5
PEAK_LIMIT = 4e9 / 2**20
TRIAL_SECONDS = 90.0
IEMOCAP_ITEMS = 4400
"""Training items of a fold of IEMOCAP's four classes."""
IEMOCAP_BAGS = (12, 18, 24, 29, 34, 42, 55, 70)
"""Instances of eight equally frequent kinds of utterance, close to IEMOCAP's: mean 35.5 of at most 70, median 31.5."""
_apart = partial(apart, __spec__.name)


def rows() -> list[Row]:
    """All measurements as rows of the performance page."""
    return rows_of(ROWS)


def step_rows(batch: int = BATCH) -> list[Row]:
    """A training step, shared and plain, of the released and of the default network."""
    shown = []
    for preset in ("released", "fixed"):
        for bags in ("full", "iemocap"):
            step = partial(_apart, "step", preset=preset, bags=bags, batch=batch)
            plain, shared = (step(sharing=sharing) for sharing in (0, 1))
            title = f"maec:{preset}, training step, {batch} items, {'full' if bags == 'full' else 'IEMOCAP-like'} bags"
            ratio = plain["cpu_seconds"] / shared["cpu_seconds"]
            limit = {"limit": f"ratio {RATIO:g}", "met": ratio >= RATIO} if bags == "full" else {}
            shown.append(row(f"{title}: every window by itself", plain))
            shown.append(row(f"{title}: shared", shared, ratio=ratio, **limit))
    return shown


def memory_rows(batch: int = 32) -> list[Row]:
    """Peak memory of both passes at the batch size of the paper."""
    facts = _apart("passes", preset="fixed", batch=batch)
    title = f"maec:fixed, a step of each pass, {batch} items, full bags"
    return [row(title, facts, limit=f"{PEAK_LIMIT:.0f} MiB", met=facts["peak_mib"] <= PEAK_LIMIT)]


def trial_rows() -> list[Row]:
    """A whole trial of `small` on the demo corpus, from nothing."""
    line = ("run", "--model", "maec:small", "--dataset", "demo", "--trials", "1")
    with tempfile.TemporaryDirectory() as name:
        cost = measure([*SERBENCH, *line], cwd=Path(name), env={"PYTHONSAFEPATH": "1"})
    met = cost.wall_seconds <= TRIAL_SECONDS
    return [row(f"`serbench {' '.join(line)}`", cost, limit=f"{TRIAL_SECONDS:g} wall seconds", met=met)]


def card_rows(batch: int = 64) -> list[Row]:
    """Speed on a graphics card; no rows where there is none."""
    if not torch.cuda.is_available():
        return []
    shown = []
    for amp in (False, True):
        facts = card_speed("fixed", "cuda", amp=amp, batch=batch)
        title = (
            f"maec:fixed on {torch.cuda.get_device_name()}, {'bf16' if amp else 'float32'}: "
            f"{facts['items_per_second']:.0f} items/s, an epoch of {IEMOCAP_ITEMS} items "
            f"{facts['epoch_seconds']:.0f} s, {facts['share_of_card']:.0%} of a large matrix product"
        )
        shown.append(row(title, {"wall_seconds": facts["epoch_seconds"]}))
    return shown


def run_step(preset: str, bags: str, sharing: str, batch: str) -> Facts:
    """One training step of the classification pass, after a warm-up on one item."""
    config = replace(PRESETS[preset], sharing=bool(int(sharing)))
    network = _network(config)
    optimiser = torch.optim.Adam(network.parameters(), eps=config.epsilon)
    for count in (1, int(batch)):
        turns, classes = generated(config, count, bags), torch.arange(count) % CLASSES
        with timed() as spent:
            loss = classification_loss(network, turns, classes)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
    return {**spent, "loss": loss.item()}


def run_passes(preset: str, batch: str) -> Facts:
    """A training of one batch of full bags through the model's own two passes."""
    config = PRESETS[preset]
    network = _network(config)
    parts = {"classification": list(network.parameters()), "regularisation": list(network.encoder.parameters())}
    optimisers = {name: torch.optim.Adam(p) for name, p in parts.items()}
    count = int(batch)
    turns, classes = generated(config, count, "full"), torch.arange(count) % CLASSES
    with timed() as spent:
        latent, _ = network.encode(turns)
        functional.softplus(-network.judge(latent)).mean().backward()  # type: ignore[no-untyped-call]
        optimisers["regularisation"].step()
        network.zero_grad()
        del latent
        classification_loss(network, turns, classes).backward()  # type: ignore[no-untyped-call]
        optimisers["classification"].step()
    return spent


def card_speed(preset: str, device: str, *, amp: bool, batch: int, steps: int = 10) -> dict[str, float]:
    """Items per second of training steps on a device, and what that is of a large matrix product's speed there.

    An epoch has two passes over all items, each a step as measured here.
    """
    config = PRESETS[preset]
    network = _network(config).to(device)
    optimiser = torch.optim.Adam(network.parameters(), fused=device.startswith("cuda"))
    turns = [(frames.to(device), counts.to(device)) for frames, counts in generated(config, batch, "full")]
    classes = (torch.arange(batch) % CLASSES).to(device)
    step = training_step(lambda: classification_loss(network, turns, classes), optimiser, device, amp=amp)
    seconds = mean_seconds(step, device, steps, warm=3)
    operations = 3 * 2 * batch * shared_products(config)  # forward, and twice as much backward
    reached = matrix_speed(device, precision(amp), steps)
    items = batch / seconds
    return {
        "items_per_second": items,
        "epoch_seconds": 2 * IEMOCAP_ITEMS / items,
        "share_of_card": operations / seconds / reached,
    }


def classification_loss(network: MaecNetwork, turns: Sequence[Turn], classes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the emotion head."""
    outputs, _ = network.heads(network.encode(turns)[0])
    return functional.cross_entropy(outputs.float(), classes)


def shared_products(config: NetworkConfig) -> int:
    """Multiplications of one forward pass of an item with three full bags.

    What windows share is computed once: all frames once, and each window's own first frames.
    """
    first, second, last = config.widths
    windows, total, own = config.instances, 0, 0
    frames = (windows - 1) * config.hop + config.window
    for channels, positions in ((DIM, frames), (last, frames // 2)):
        before = channels * (first + last) + KERNEL * first * second
        dilated = config.dilated_kernel * second * last
        own_dilated = own + KERNEL - 1  # a window's own frames after the second convolution
        total += positions * (before + dilated) + windows * (own * before + own_dilated * dilated)
        own = (own_dilated + (config.dilated_kernel - 1) * 2 + 1) // 2
    return TURNS * (total + dense_products(config))


def generated(config: Config, items: int, bags: str) -> list[Turn]:
    """Random frames of three turns; `bags` is "full" or "iemocap"."""
    generator = torch.Generator().manual_seed(0)
    kinds = (config.instances,) if bags == "full" else IEMOCAP_BAGS
    counts = torch.tensor(np.resize(kinds, items))
    frames = int(((counts - 1) * config.hop + config.window).sum())
    return [(torch.randn(frames, DIM, generator=generator), counts) for _ in range(TURNS)]


def dense_products(config: NetworkConfig) -> int:
    """Bottleneck, BiGRU and attention of one full bag."""
    features = config.window // 2 * config.widths[-1]
    gru = 3 * config.width * (features + config.width // 2)
    return config.instances * (features * config.width + gru + 2 * config.instances * config.width)


def _network(config: Config) -> MaecNetwork:
    network = MaecNetwork(DIM, CLASSES, config, context=True, gender=True, discriminator=True)
    initialise(network, torch.Generator().manual_seed(1))
    return network


RUNS: dict[str, Callable[..., Facts]] = {"step": run_step, "passes": run_passes}
ROWS: dict[str, Callable[[], list[Row]]] = {
    "steps": step_rows,
    "memory": memory_rows,
    "trial": trial_rows,
    "card": card_rows,
}


if __name__ == "__main__":
    main(__doc__, ROWS, RUNS)

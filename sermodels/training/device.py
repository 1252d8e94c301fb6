"""The device, its number formats, and a region in which randomness and determinism are under control.

PyTorch keeps its random state and its switch for deterministic algorithms per process. `controlled` sets them for a
training or a prediction and puts back what it found, so a model leaves nothing changed behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.utils.deterministic as filling

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest

AMP = ("off", "bf16", "fp16")
FILL = "fill_uninitialized_memory"


def torch_device(name: str) -> torch.device:
    """The device called "cpu", "cuda", "cuda:1", "mps" or "auto" (a graphics card where there is one).

    Raises
    ------
    SerbenchError
        If it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        usable = ", ".join(k for k, v in there.items() if v)
        raise SerbenchError(f"the device {name!r} can't be used here. Expected auto or one of: {usable} (--device).")
    return torch.device(name)


def derived_seed(*parts: int | str) -> int:
    """A seed of 60 bits made of a seed, an epoch, a purpose ...; different parts give unrelated seeds."""
    return int(digest(list(parts), 15), 16)


def autocast(device: torch.device, amp: str) -> AbstractContextManager[object]:
    """Region in which matrix products and convolutions run in the number format `amp` ("off" = float32).

    Raises
    ------
    SerbenchError
        For "fp16" on anything but a CUDA card: its range needs loss scaling, and the CPU gains nothing by it.
    """
    if amp == "off":
        return nullcontext()
    if amp == "fp16" and device.type != "cuda":
        raise SerbenchError(
            f"train.amp=fp16 needs a CUDA card, the device is {device}. Type --set train.amp=bf16 or off."
        )
    return torch.autocast(device.type, torch.bfloat16 if amp == "bf16" else torch.float16)


@contextmanager
def controlled(device: torch.device, deterministic: bool, seed: int) -> Iterator[None]:
    """Seed every generator of torch, choose deterministic algorithms or not, and put both back at the end."""
    flags = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    fill, benchmark = bool(getattr(filling, FILL)), torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    cards = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        try:
            torch.manual_seed(seed)
            torch.use_deterministic_algorithms(deterministic)
            if deterministic:
                setattr(filling, FILL, False)  # costs time, guards against nothing here
                torch.backends.cudnn.benchmark = False
                if device.type == "cuda":
                    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with it
            yield
        finally:
            torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])
            setattr(filling, FILL, fill)
            torch.backends.cudnn.benchmark = benchmark
            if workspace is None:
                os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors of torch that a user can do something about into messages that say what."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SerbenchError(
            "the graphics card is out of memory. Try a smaller --set train.batch_size=N (training) or "
            f"--set train.micro_batch=N (prediction), or --set train.amp=bf16. ({str(error).splitlines()[0]})"
        ) from error
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        raise SerbenchError(
            "an operation has no deterministic form on this device. Type --set train.deterministic=false to run it "
            f"all the same; two runs may then differ in the last digits. ({str(error).splitlines()[0]})"
        ) from error

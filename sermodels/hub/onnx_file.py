"""A trained model as an ONNX file: from prepared features to predictions, for programs without PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...datasets.core.libraries import library
from ..core.graph import Graph
from ..core.sermodel import SERModel
from ..core.speed import as_written

FLOOR = 1e-300
"""Class scores below this are taken for it, so that their logarithm is a number."""


def to_onnx(model: SERModel, temperature: float | None = None) -> tuple[bytes, str]:
    """The file's bytes, and what goes in and out.

    Parameters
    ----------
    temperature : that class scores are calibrated with, if they are; the file's scores are then calibrated too

    Raises
    ------
    SerbenchError
        For a model that is more than a function of arrays, or that can't be exported.
    LibraryError
        Without the libraries of the extra `onnx`.
    """
    graph = model.graph()
    for name in ("onnx", "onnxscript"):
        library(name, "ONNX files")
    import torch

    module = graph.module if temperature is None else _calibrated(graph, temperature)
    with _quiet(), as_written(), torch.no_grad():
        made = torch.onnx.export(
            module,
            (torch.from_numpy(graph.example),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("utterances")},),
            input_names=[graph.input],
            output_names=["predictions"],
            verbose=False,
        )
    assert made is not None
    data: bytes = made.model_proto.SerializeToString()
    columns = ", ".join(model.task.labels or model.task.targets)
    return data, f"{graph.says} in; predictions (utterance, {model.task.n_outputs}) out: {columns}."


def _calibrated(graph: Graph, temperature: float) -> Any:
    """The module with class scores at a temperature, as `core/temperature.py` scales them."""
    import torch

    class Calibrated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = graph.module

        def forward(self, array: torch.Tensor) -> torch.Tensor:
            """(utterance, ...) -> (utterance, class)."""
            return torch.softmax(torch.log(self.inner(array).clamp(min=FLOOR)) / temperature, 1)

    return Calibrated().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Region in which the exporter does not tell of libraries that it does not find."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

"""TensorBoard: event files below RESULTS/tensorboard, one folder for each training and each record."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...datasets.core.libraries import library
from .tracker import About


def prepare(results: Path) -> None:
    """Load the library that writes event files."""
    library("tensorboard", "--track tensorboard")
    library("torch.utils.tensorboard", "--track tensorboard")


def start(results: Path, about: About) -> Events:
    """Begin the event file of a training, or of a record."""
    own = re.sub(r"[^\w.+=-]+", "-", about.name)
    return Events(results / "tensorboard" / about.run_id / own, about)


class Events:
    """One folder of event files."""

    def __init__(self, folder: Path, about: About) -> None:
        self.folder = folder
        self.writer = library("torch.utils.tensorboard").SummaryWriter(str(folder))
        text = json.dumps(dict(about.config), indent=1, ensure_ascii=False)
        self.writer.add_text("configuration", f"```json\n{text}\n```")
        self.writer.flush()

    def values(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Scalars, at the epoch or without one."""
        for key, value in values.items():
            self.writer.add_scalar(key if step is not None else f"final/{key}", value, step)
        self.writer.flush()

    def file(self, path: Path) -> None:
        """Event files hold no files, so it lies beside them."""
        shutil.copyfile(path, self.folder / path.name)

    def end(self, *, failed: bool) -> None:
        """Close the file."""
        self.writer.close()

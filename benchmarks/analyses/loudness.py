"""The level of a run's test items beside what is known of them, so that fairness can group by it.

Levels are a feature (`features/level.py`), extracted once and cached by content. They are written into the record's
items as `level_db`, and stay there.
"""

from __future__ import annotations

import numpy as np

from ...datasets.core.errors import SerbenchError
from ...features.core.feature_extractor import FeatureRequest
from ...results.groups.grouping import LEVEL
from ...results.record.run import Run
from ..core.progress import Display, Silent
from ..grid.source import extract_features, item_rows
from ..protocol.request import Request
from ..protocol.setting import Corpora


def add_levels(run: Run, display: Display | None = None, jobs: int = 1) -> None:
    """Write the level of each test item into the items of a run; nothing is done where they have it.

    Raises
    ------
    SerbenchError
        For a record without items, and where the corpus on disk is not the recorded one.
    """
    items = run.items()
    if items is None:
        raise SerbenchError(f"{run.path}: the record holds no items. To add them, type: {run.fill_line(5)}")
    if LEVEL in items:
        return
    setting = Corpora().setting(Request.from_dict(run.spec["arguments"]))
    if setting.dataset()["digest"] != run.spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus of {run.run_id} on this disk is not the recorded one, so the level of its test items can't be "
            f"told. Type serbench check {run.spec['arguments']['dataset']} to see what it holds."
        )
    rows = item_rows(setting.tested, setting.asked).loc[list(items.index)]
    wanted = {"level": FeatureRequest("level")}
    table = extract_features(setting.tested, rows, wanted, jobs, display or Silent())["level"]
    levels = [np.nan if i in table.failed else float(table[str(i)][0, 0]) for i in items.index]
    run.write_items(items.assign(**{LEVEL: levels}).reset_index())

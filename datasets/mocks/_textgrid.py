"""Aligned words as a Praat TextGrid, for miniatures that have such files."""

from __future__ import annotations

import numpy as np


def textgrid(text: str, seconds: float) -> str:
    """A TextGrid (long form) with a tier of words spread evenly, silence around them, and an empty tier of phones."""
    words = [w.strip(".,!?") for w in text.split()]
    edges = np.linspace(0.2, seconds - 0.2, len(words) + 1)
    intervals = [(0.0, 0.2, ""), *zip(edges, edges[1:], words, strict=False), (seconds - 0.2, seconds, "")]
    head = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds}",
        "tiers? <exists>",
        "size = 2",
        "item []:",
    ]
    tiers = (("words", intervals), ("phones", [(0.0, seconds, "")]))
    for number, (name, marks) in enumerate(tiers, 1):
        head += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {seconds}",
            f"        intervals: size = {len(marks)}",
        ]
        for k, (start, end, mark) in enumerate(marks, 1):
            head += [
                f"        intervals [{k}]:",
                f"            xmin = {start:.4f}",
                f"            xmax = {end:.4f}",
                f'            text = "{mark}"',
            ]
    return "\n".join(head) + "\n"

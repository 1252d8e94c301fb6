"""`serbench words align-spaces`: one file of word vectors in the space of another, and what is reported of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...datasets.core.config import override, to_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.files import write_json
from ...features.spaces.mapping import Alignment, Config as SpaceConfig, MapReport, align, read_pairs
from ...features.words.vectors import read_vectors, write_vectors
from ..core.machine import versions
from ..core.progress import Display, Silent
from .words import Settings, note_beside, part_of


def align_spaces(
    source: Path,
    target: Path,
    out: Path,
    *,
    mode: str | None = None,
    dictionary: Path | None = None,
    test: Path | None = None,
    preset: str = "default",
    settings: Settings | None = None,
    out_target: Path | None = None,
    device: str = "cpu",
    display: Display | None = None,
) -> Alignment:
    """Map a file of vectors into the space of another one and write the mapped vectors, and the map beside them.

    The JSON file beside `out` holds the report, also that of an adversarial mode that failed; vectors are written only
    where the map was accepted.

    Parameters
    ----------
    mode : "identical", "dictionary" or "adversarial"; default: dictionary where one is given, else identical
    dictionary, test : files of pairs of words, to fit to (or to judge games with) and to test with
    preset : of the adversarial game: "default", or "published" for a graphics card
    settings : KEY=VALUE of the alignment, `game.KEY` of the adversarial game
    out_target : write the target vectors too, as `prepare` has changed them
    """
    from ...features.spaces.adversarial import PRESETS
    from ...features.spaces.map_file import beside, map_of, save_map

    if preset not in PRESETS:
        raise unknown("preset of the adversarial game", preset, PRESETS)
    shown = display or Silent()
    mode = mode or ("identical" if dictionary is None else "dictionary")
    if mode == "dictionary" and dictionary is None:
        raise SerbenchError("--mode dictionary needs pairs of words. Type --dictionary FILE.")
    config = override(SpaceConfig(), {**part_of(settings), "mode": mode})
    game = override(PRESETS[preset], part_of(settings, "game."), "game.")
    if out_target is None and config.prepare != "none":
        raise SerbenchError(f"prepare={config.prepare} changes the target vectors as well. Type --out-target FILE.")
    note = note_beside(out)

    def write(report: MapReport) -> None:
        facts = {
            "made_by": "align-spaces",
            "source": str(source),
            "target": str(target),
            "config": to_dict(config),
            "game": to_dict(game) if mode == "adversarial" else None,
            "versions": versions(),
        }
        write_json(note, {**facts, "report": _plain(asdict(report))})

    given = read_vectors(source)
    aligned = align(
        given,
        read_vectors(target),
        config,
        game,
        device=device,
        progress=shown.message,
        failed=write,
        pairs=None if dictionary is None else read_pairs(dictionary),
        test=None if test is None else read_pairs(test),
    )
    write_vectors(out, aligned.source)
    save_map(beside(out), map_of(given, config.prepare, aligned.map))
    if out_target is not None:
        write_vectors(out_target, aligned.target)
    write(aligned.report)
    return aligned


def report_lines(report: MapReport) -> list[str]:
    """A report for people to read."""
    lines = [
        f"{report.mode}: {'accepted' if report.accepted else 'FAILED'}; {report.reason}",
        f"mean cosine of CSLS pairs: {report.criterion:.4f}",
    ]
    for game in report.games:
        shares = ", ".join(f"{key.replace('_', ' ')} {value:.1%}" for key, value in game.items() if "agree" in key)
        lines.append(f"  seed {game['seed']:.0f}: criterion {game['criterion']:.4f}, {shares}")
    for name, precision in (("before refinement", report.before), ("after refinement", report.precision)):
        for method, at in precision.items():
            shares = "  ".join(f"P@{k} {value:6.1%}" for k, value in at.items())
            lines.append(f"{name:<18} {method:<5} {shares}  ({report.tested} words)")
    if report.precision:
        by_chance = "  ".join(f"P@{k} {min(1, k / report.targets):6.1%}" for k in report.precision["csls"])
        lines.append(f"{'by chance':<24} {by_chance}")
        if not beats_chance(report):
            lines.append(
                "The map translates words that it was not fitted to no better than chance: these two spaces "
                "have no shape in common, and the mapped vectors are of no use."
            )
    return lines


def beats_chance(report: MapReport) -> bool:
    """Whether P@10 by CSLS is more than two standard errors above that of guessing."""
    guess = min(1.0, 10 / report.targets)
    return report.precision["csls"][10] > guess + 2 * math.sqrt(guess * (1 - guess) / report.tested)


def _plain(value: Any) -> Any:
    """JSON-able: keys of tables of P@k are numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value

"""One run packed for others, with its records of perturbed test audio: a zip file without what may not be passed on.

Left out are predictions of dev, gold labels and single raters' answers (unless asked for), and the paths of the
machine that the run was made on. Audio and transcripts are in no record. The same run always gives the same bytes;
`serbench.results.record.sharing.merge` takes such files.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write, write_json
from ..scores.scoring import gold_columns
from .folder import Run
from .identity import REQUIRED
from .storage import DEV_ENTRY, write_parquet
from .stressed import FOLDER, stressed
from .test_items import read_ratings, write_ratings

HIDDEN = "PATH"
"""What stands in an exported record where a path of the machine stood."""
LICENCE_NOTE = """This archive holds a serbench run: its complete configuration, the predictions for every test item and
the scores. {labels}
Put it into a results folder with:  serbench merge THIS.zip --out RESULTS
"""


def export_run(
    run: Run, path: Path, *, labels: bool = False, class_scores: bool = True, scores: pd.DataFrame | None = None
) -> Path:
    """Pack a run, and what `serbench stress` made of it, into a zip file: predictions and scores, labels if asked for.

    Without `class_scores` the predicted classes stay, of which all metrics are made: a quarter of the size.

    Scores are in `scores.csv`, since they can't be computed without the labels. Texts of the record lose the paths of
    this machine. The same run always gives the same bytes. `scores` are those of the run, where they are known.
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        raise SerbenchError(f"{str(path)!r} is no name of a zip file. Type --out {path}.zip")
    note = "Gold labels are included: see to the corpus's licence." if labels else "Gold labels were removed."
    members = {"README.txt": LICENCE_NOTE.format(labels=note).encode()}
    members |= _members(run, "runs", labels=labels, class_scores=class_scores, scores=scores)
    for one in stressed(run):
        members |= _members(one, f"{FOLDER}/runs", labels=labels, class_scores=class_scores)
    atomic_write(path, lambda stream: _pack(stream, members))
    return path


def _members(
    run: Run, under: str, *, labels: bool, class_scores: bool, scores: pd.DataFrame | None = None
) -> dict[str, bytes]:
    """The files of one run as they are passed on: name in the archive -> bytes."""
    place = f"{under}/{run.run_id}"
    spec, units = shareable(run)
    spec["exported"] = {"labels": labels}
    members = {f"{place}/run.json": _json(spec)}
    with tempfile.TemporaryDirectory() as name:
        copy_of = Run(Path(name) / "runs" / run.run_id, spec)
        copy_of.path.mkdir(parents=True)
        for unit in units:
            _export_unit(run, copy_of, unit, labels=labels, class_scores=class_scores)
        if (items := run.items()) is not None:
            copy_of.write_items(items.reset_index())
        if labels and (answered := read_ratings(run.path)) is not None:
            write_ratings(copy_of.path, answered)
        for file in sorted(copy_of.path.iterdir()):
            members[f"{place}/{file.name}"] = file.read_bytes()
    members[f"{place}/scores.csv"] = _csv(run.scores() if scores is None else scores)
    return members


def shareable(run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The specification of a run and the facts of its units, without the paths of the machine that it was made on."""
    hide = _paths(run)
    spec = {k: v if k in REQUIRED else _hidden(v, hide) for k, v in _without_root(run.spec).items()}
    return spec, [_hidden(unit, hide) for unit in run.units()]


def _export_unit(run: Run, copy_of: Run, facts: dict[str, Any], *, labels: bool, class_scores: bool) -> None:
    """Write one unit of an export; what is left out of its parquet gives that a digest of its own."""
    facts_file, data_file = copy_of.unit_files(facts["trial"], facts["fold"])
    facts = {key: value for key, value in facts.items() if key != DEV_ENTRY}
    if facts["status"] == "done":
        table = run.unit_predictions(facts)
        kept = table if labels else table.drop(columns=gold_columns(run.task), errors="ignore")
        if not class_scores and run.task.kind == "classification":
            kept = kept.drop(columns=[f"p_{label}" for label in run.task.labels], errors="ignore")
        facts = {**facts, "predictions": write_parquet(data_file, kept)}
    write_json(facts_file, facts)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _paths(run: Run) -> list[str]:
    """Paths of this machine that texts of the record may hold, the longest first."""
    arguments = run.spec.get("arguments") or {}
    corpora = [arguments, arguments.get("test") or {}, *(arguments.get("also") or ())]
    places = {str(run.results.resolve()), str(Path.home()), str(Path.cwd())}
    for given in (str(corpus["root"]) for corpus in corpora if corpus.get("root")):
        places |= {str(Path(given).expanduser().resolve())} | ({given} if "/" in given else set())  # "emodb" is a name
    places |= {str(Path(file["path"]).expanduser().resolve().parent) for file in arguments.get("weights") or ()}
    splits = (part.get("split") or "" for part in (arguments.get("protocol") or {}, arguments.get("test") or {}))
    places |= {str(Path(named[1]).parent) for split in splits if (named := re.search(r"(?:^|:)(/.+)", split))}
    return sorted((p for p in places if len(p) > 1 and p != "/"), key=len, reverse=True)


def _without_root(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification whose command and arguments name no folder of this machine."""
    out = copy.deepcopy(dict(spec))
    if isinstance(out.get("arguments"), dict) and out["arguments"].get("root"):
        out["arguments"]["root"] = HIDDEN
    words = shlex.split(str(out.get("command") or ""))
    for i, word in enumerate(words[:-1]):
        if word == "--root":
            name, sign, _ = words[i + 1].partition("=")
            words[i + 1] = f"{name}={HIDDEN}" if sign and "/" not in name else HIDDEN
    out["command"] = shlex.join(words)
    return out


def _hidden(value: Any, paths: Sequence[str]) -> Any:
    """Nested values in which no text holds one of the paths."""
    if isinstance(value, str):
        for path in paths:
            value = value.replace(path, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {key: _hidden(item, paths) for key, item in value.items()}
    return [_hidden(item, paths) for item in value] if isinstance(value, list) else value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _pack(stream: Any, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

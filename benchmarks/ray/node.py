"""What a node of a cluster does for the grid: it says what it has, makes features, and trains units.

Plain functions that the launcher's Ray tasks call; nothing here knows of Ray. A *parcel* is an order (a plan with the
runs that it serves) as text, so that every process makes the same plan again from its own copy of the corpora. A unit
is worked through by the code that a local run uses, in a run folder of this node (below the cache), and the files that
it leaves there are the answer: the launcher alone writes records. Unfinished trainings stay in that folder, so a unit
whose process died goes on after its last saved epoch wherever that folder can be seen.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import cache_root, digest, write_text
from ...datasets.reading.load import root_variable
from ...datasets.schema.corpus import Corpus
from ..core.machine import limit_threads, versions
from ..core.printed import printed_into, tail
from ..grid.finished import source_digest
from ..protocol.request import Place, Request
from ..protocol.setting import Corpora

if TYPE_CHECKING:
    import pandas as pd

    from ...results.record.folder import Run
    from ..grid.execution import Order
    from ..grid.source import Source

SMALL_SHARD = 16
"""Fewest files of a shard of feature extraction."""


def place_key(place: Place) -> str:
    """What tells corpora of an order apart."""
    return digest([place.name, place.root, place.release, {k: str(v) for k, v in place.options.items()}])


class NodeCorpora(Corpora):
    """Corpora as they lie on this node, each with the digest that the launcher knows it by.

    A corpus is looked for in the folder that the node was given for it, in the one that the launcher uses, and in the
    one that the node's own environment names; the first with the right digest is taken.

    Parameters
    ----------
    digests : `place_key` -> digest
    roots : dataset -> folder on this node
    folder : the launcher's working directory, which its folders may be relative to
    """

    def __init__(self, digests: Mapping[str, str], roots: Mapping[str, str], folder: str = "") -> None:
        super().__init__()
        self._digests, self._roots, self._folder, self._found = digests, roots, folder, dict[str, Corpus]()

    def get(self, place: Place) -> Corpus:
        """The corpus of a place; SerbenchError where no folder of this node holds it."""
        key = place_key(place)
        if key not in self._found:
            self._found[key] = self._search(place, self._digests[key])
        return self._found[key]

    def _search(self, place: Place, wanted: str) -> Corpus:
        variable = root_variable(place.name)
        there = None if place.root is None else os.path.join(self._folder, Path(place.root).expanduser())
        named = [r for r in (self._roots.get(place.name), there, os.environ.get(variable)) if r is not None]
        seen = []
        for root in dict.fromkeys(named) or (None,):
            try:
                corpus = super().get(replace(place, root=root))
            except (SerbenchError, OSError) as error:
                seen.append(f"{root}: {error}")
                continue
            if corpus.digest() == wanted:
                return corpus
            seen.append(f"{root}: another corpus, digest {corpus.digest()}")
        raise SerbenchError(
            f"{platform.node()} does not have the corpus {place.name} with the digest {wanted}. Looked in: "
            f"{'; '.join(seen)}. Share the folder, set {variable} before 'ray start' on that node, or type "
            f"--root {place.name}@NODE=FOLDER."
        )


def describe_node(places: str, node: Sequence[str]) -> dict[str, Any]:
    """What a node has, for the check before work starts.

    Parameters
    ----------
    places : JSON of `{"places": [...], "digests": {...}, "roots": {...}, "folder": "..."}`
    node : names that the node answers to

    Returns
    -------
    versions of libraries, digest of serbench's sources, id of the cache, problems with corpora
    """
    asked = json.loads(places)
    corpora = NodeCorpora(asked["digests"], roots_of(asked["roots"], node), asked["folder"])
    problems = []
    for place in asked["places"]:
        try:
            corpora.get(Place(**place))
        except SerbenchError as error:
            problems.append(str(error))
    return {
        "versions": versions(),
        "sources": source_digest(),
        "cache": cache_id(),
        "problems": problems,
        "host": platform.node(),
    }


def roots_of(roots: Mapping[str, Mapping[str, str]], node: Sequence[str]) -> dict[str, str]:
    """dataset -> folder, of the node that answers to some names."""
    return {dataset: folder for name in node for dataset, folder in roots.get(name, {}).items()}


def cache_id() -> str:
    """A text that two nodes have in common if they share the cache."""
    file = cache_root() / "cache-id"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        write_text(file, uuid.uuid4().hex)
        return file.read_text(encoding="utf-8").strip()


def shard_of(rows: pd.DataFrame, k: int, count: int, batched: Sequence[Sequence[str]] | None = None) -> pd.DataFrame:
    """The rows of shard k of `count`: a run of whole files or, of an extractor that takes batches, of whole batches."""
    units = batched if batched is not None else [[path] for path in sorted(rows["path"].astype(str).unique())]
    first, stop = len(units) * k // count, len(units) * (k + 1) // count
    paths = {path for unit in units[first:stop] for path in unit}
    return rows[rows["path"].astype(str).isin(paths)]


def shards(files: int, slots: int) -> int:
    """Into how many shards an extraction is cut: some for each slot, so that slow ones don't hold up the others."""
    return max(1, min(files // SMALL_SHARD, 4 * slots))


def make_features(
    parcel: str, node: Sequence[str], threads: int, source: int, role: str, k: int, count: int
) -> dict[str, Any]:
    """Shard k of `count` of the features of one role of a parcel's corpus number `source`, into this node's cache.

    Returns
    -------
    `done` (utterances), `failed` (id -> reason) and `seconds` (of audio that was decoded)
    """
    limit_threads(threads)
    from ...features.core.feature_extractor import build
    from ...features.extraction.extract import extract_from

    plan = _order(parcel, tuple(node)).plan
    corpus, rows, _ = plan.rows()[source]
    extractor = build(plan.features[role])
    batched = _batches(parcel, tuple(node), source, role) if extractor.batch_seconds else None
    seconds = [0.0]

    def note(done: int, total: int, audio_seconds: float) -> None:
        seconds[0] = audio_seconds

    part = shard_of(rows, k, count, batched)
    table = extract_from(corpus, part, extractor, progress=note)
    return {"done": len(part), "failed": dict(table.failed), "seconds": seconds[0]}


@lru_cache(maxsize=4)
def _batches(parcel: str, node: tuple[str, ...], source: int, role: str) -> list[list[str]]:
    """Relative paths of the files of each group that an extractor takes together; shards are runs of whole groups."""
    from ...features.core.feature_extractor import build
    from ...features.extraction.batched import BATCHES, groups
    from ...features.extraction.file_tasks import tasks_of

    plan = _order(parcel, node).plan
    corpus, rows, _ = plan.rows()[source]
    tasks, _ = tasks_of(rows, corpus.root, corpus.audio_source)
    item_path = rows["path"].astype(str)
    made = groups(tasks, tasks, BATCHES * build(plan.features[role]).batch_seconds) if tasks else []
    return [list(dict.fromkeys(str(item_path[s.item]) for m in group for s in m.task.segments)) for group in made]


def work_through(parcel: str, node: Sequence[str], unit: Mapping[str, Any]) -> dict[str, Any]:
    """One unit of a parcel.

    Returns
    -------
    `facts` and `files` (name -> bytes) of each of `Unit.records`, and `log` (the end of what was printed)
    """
    about = json.loads(parcel)
    log = log_file(about["home"], about["run_id"], unit["trials"][0], unit["fold"])
    with printed_into(log):
        limit_threads(about["threads"])
        from ..grid.plan import Unit

        asked = Unit(**unit)
        order = _order(parcel, tuple(node))
        job = order.job(asked, about["device"], about["threads"], save_models=about["save_models"])
        facts = job.run(_sources(parcel, tuple(node)))
        files = [_taken(order.runs[part], trial, asked.fold) for trial, part in asked.records()]
    text = tail(log)
    log.unlink(missing_ok=True)
    return {"facts": facts, "files": files, "log": text}


def log_file(home: str, run_id: str, trial: int, fold: str) -> Path:
    """Where the output of a unit goes while it works; there after a process that died."""
    return _folder(home) / "logs" / digest([run_id, trial, fold])


def left_log(home: str, run_id: str, trial: int, fold: str) -> dict[str, str]:
    """What a unit whose process died has left on this node, as `text`; empty if it was not here."""
    return {"text": tail(log_file(home, run_id, trial, fold))}


def clear(home: str) -> None:
    """Take away what a finished grid has left on this node."""
    shutil.rmtree(_folder(home), ignore_errors=True)


def _folder(home: str) -> Path:
    return cache_root() / "cluster" / home


@lru_cache(maxsize=2)
def _order(parcel: str, node: tuple[str, ...]) -> Order:
    """The order with run folders of this node; SerbenchError where the node can't give the same numbers."""
    from ...results.record.folder import Run
    from ..grid.execution import Order, make_plan

    about = json.loads(parcel)
    check_versions(about["versions"])
    corpora = NodeCorpora(about["digests"], roots_of(about["roots"], node), about["folder"])
    requests, config = json.loads(about["plan"])
    for file in (file for request in requests for file in request["weights"]):
        file["path"] = os.path.join(about["folder"], file["path"])
    plan = make_plan([Request.from_dict(one) for one in requests], corpora, config)
    return Order(plan, tuple(Run.create(_folder(about["home"]), spec) for spec in about["specs"]))


def check_versions(expected: Mapping[str, str]) -> None:
    """Refuse a node that came later with other versions than those that were checked."""
    other = {name: version for name, version in versions().items() if expected and expected.get(name) != version}
    if other:
        raise SerbenchError(
            f"{platform.node()} came later and has other versions: "
            f"{', '.join(f'{name} {version}, not {expected.get(name)}' for name, version in other.items())}. "
            "Install the same ones there, then start Ray on it again."
        )


@lru_cache(maxsize=2)
def _sources(parcel: str, node: tuple[str, ...]) -> list[Source]:
    """Corpora with their features from this node's cache; what is missing there is made now."""
    from ..core.progress import Silent

    return _order(parcel, node).plan.sources(1, Silent())


def _taken(run: Run, trial: int, fold: str) -> dict[str, bytes]:
    """The files of a unit, read and taken away."""
    stem, files = run.unit_files(trial, fold)[0].stem, {}
    for path in sorted(run.path.iterdir()):
        if path.is_file() and path.name.startswith(f"{stem}."):
            files[path.name] = path.read_bytes()
            path.unlink()
    return files

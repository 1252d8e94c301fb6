"""The site: every ranking of some results folders as static pages, a page per ranking and per run, and downloads.

`write_site` reads the runs, whose predictions are checked against their digests, and computes every number from them
as the leaderboard does: nothing that `serbench leaderboard --verify` would object to can stand on a page. The pages
load nothing from elsewhere, so they open from a disk and from any web server.

    OUT/index.html           all rankings, with filters          OUT/rankings/NAME.html, .csv     one ranking
    OUT/runs/RUN.html        one run                             OUT/runs/RUN/                    its downloads
    OUT/site.json            what was written; the next time, files that have no run any more are deleted by it

Predictions of one ranking at a time are in memory. Differences are tested between the best `COMPARED` of a ranking.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_json, write_text
from ...datasets.core.stages import track
from ..display.table import records
from ..record.folder import Runs, load_runs
from ..record.packing import shareable
from ..record.sharing import merge
from ..record.storage import read_json, write_csv
from ..report.data import Ranking, each_ranking
from ..report.page import Filter, Section, asset, fill, slug
from . import ranking_page, run_page
from .downloads import content_digest, downloads, write_downloads

COMPARED = 12
SHOWN = 10
"""Rows of each ranking on the first page."""
LIST = "site.json"


@dataclass
class Site:
    """What was written: the first page, all files, numbers of rankings and runs, what was left out (name -> reason);
    and the digests of the runs' downloads, now and of the site that was there before (run id -> digest)."""

    index: Path
    files: list[Path] = field(default_factory=list)
    rankings: int = 0
    runs: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)


def write_site(sources: Sequence[Path], out: Path, *, title: str = "Leaderboard", labels: bool = False) -> Site:
    """Write the site of results folders, or of zip files of `serbench export`.

    Parameters
    ----------
    out : a new folder, or one that holds a site
    labels : put gold labels into the downloads, where the corpora's licences allow it

    Raises
    ------
    SerbenchError
        Without any run, for records that conflict, and when `out` is a file or holds something else.
    """
    old = _before(out)
    site = Site(out / "index.html", before=old.get("contents", {}))
    previews = []
    with _opened(sources, site) as runs:
        _note(site, old)
        titles = _titles(runs)
        for one in each_ranking(runs, compared=COMPARED):
            previews.append(_ranking(one, titles, site, labels))
            _note(site, old)
    _index(site, previews, title)
    for name in ("style.css", "script.js"):
        _keep(site, out / name, asset(name))
    _clear(site, old.get("files", []))
    return site


@contextmanager
def _opened(sources: Sequence[Path], site: Site) -> Iterator[Runs]:
    """The runs of the sources; several are merged in a folder that lives as long as the region."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sources[0]) if sources else Path(name)
        if len(sources) != 1 or not folder.is_dir():
            site.notes += merge(sources, Path(name)).notes
            folder = Path(name)
        runs = load_runs(folder)
        site.problems = {path.name: _without(reason, [str(folder)]) for path, reason in runs.problems.items()}
        if not runs:
            damaged = "".join(f"\n  {key}: {reason}" for key, reason in site.problems.items())
            given = ", ".join(map(str, sources))
            raise SerbenchError(f"there are no runs in {given}. Type: serbench run --model linear{damaged}")
        yield runs


def _titles(runs: Runs) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(dataset, task, protocol digest) -> (file name, title); a title names the digest where there are several."""
    keys = sorted({(str(run.spec["dataset"]["name"]), run.task.name, run.protocol_digest) for run in runs})
    several = Counter(key[:2] for key in keys)
    found = {}
    for dataset, task, digest in keys:
        mark = f" ({digest[:8]})" if several[dataset, task] > 1 else ""
        found[dataset, task, digest] = slug(f"{dataset}-{task}-{digest[:8]}"), f"{dataset}, {task}{mark}"
    return found


def _ranking(ranking: Ranking, titles: Any, site: Site, labels: bool) -> Section:
    """Write the pages and files of a ranking; returns what stands of it on the first page."""
    stem, title = titles[ranking.dataset, ranking.task.name, ranking.digest]
    folders = {str(run.results) for run in ranking.runs}
    ranking.notes = [_without(note, folders) for note in dict.fromkeys(ranking.notes)]
    site.rankings += 1
    out, rows, shown = site.index.parent, _by_run(ranking), {}
    among = {target: len(ranking.rows(target)) for target in ranking.targets}
    for run in track(ranking.ranked, "pages of runs"):
        spec, units = shareable(run)
        shown[run.run_id] = str(spec.get("command") or "")
        entry = run_page.Entry(ranking, ranking.scored[run.run_id], rows[run.run_id], among, spec, units)
        _run(entry, site, stem, title, labels)
    frame = ranking.frame
    if len(frame):
        site.files.append(write_csv(out / "rankings" / f"{stem}.csv", frame.assign(command=frame["run_id"].map(shown))))
    sections = ranking_page.sections(ranking, stem, "../")
    _page(site, out / "rankings" / f"{stem}.html", title, sections, [("All rankings", "../index.html")])
    return ranking_page.preview(ranking, stem, title, SHOWN)


def _without(text: str, folders: Iterable[str]) -> str:
    """A text that names no results folder of this machine."""
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(folder, "RESULTS")
    return text


def _by_run(ranking: Ranking) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in records(ranking.frame) if len(ranking.frame) else ():
        found.setdefault(str(row["run_id"]), []).append(row)
    return found


def _run(entry: run_page.Entry, site: Site, stem: str, title: str, labels: bool) -> None:
    """Write the page and the downloads of a run."""
    run_id, runs = entry.scored.run.run_id, site.index.parent / "runs"
    site.contents[run_id] = content_digest(entry.spec, entry.units, labels=labels)
    if site.before.get(run_id) == site.contents[run_id] and all(path.is_file() for path in downloads(runs / run_id)):
        site.files += downloads(runs / run_id)
    else:
        site.files += write_downloads(entry.scored, entry.spec, runs / run_id, labels=labels)
    trail = [("All rankings", "../index.html"), (title, f"../rankings/{quote(stem)}.html")]
    _page(site, runs / f"{run_id}.html", entry.title, run_page.sections(entry, quote(run_id)), trail)
    site.runs += 1


def _index(site: Site, previews: Sequence[Section], title: str) -> None:
    """The first page: a line of facts, the filters, the best of each ranking."""
    datasets, tasks = ({one.keys[key]: None for one in previews} for key in ("dataset", "task"))
    filters = [
        Filter("dataset", "Corpus", "every corpus", [(name, name) for name in sorted(datasets)]),
        Filter("task", "Task", "every task", [(name, name) for name in sorted(tasks)]),
    ]
    texts = [
        f"Runs: {site.runs}; rankings: {site.rankings}; corpora: {len(datasets)}. Every number was computed by "
        f"serbench {version('serbench')} from predictions that can be downloaded. Click a column's head to sort by it."
    ]
    problems = [*site.notes, *(f"Left out, {name}: {reason}" for name, reason in site.problems.items())]
    _page(site, site.index, title, previews, (), texts, problems, filters)


def _page(
    site: Site,
    path: Path,
    title: str,
    sections: Sequence[Section],
    trail: Sequence[tuple[str, str]],
    texts: Sequence[str] = (),
    problems: Sequence[str] = (),
    filters: Sequence[Filter] = (),
) -> None:
    """Write a page; those of runs have no search."""
    values = {"title": title, "sections": sections, "trail": trail, "texts": texts, "problems": problems}
    root, search = "" if path == site.index else "../", path.parent.name != "runs"
    _keep(site, path, fill("site.html.jinja", root=root, folder="", search=search, filters=filters, **values))


def _keep(site: Site, path: Path, text: str) -> None:
    write_text(path, text)
    site.files.append(path)


def _before(out: Path) -> dict[str, Any]:
    """The list of the site that a folder holds, empty for a new one; refused where it holds anything else."""
    if out.is_file():
        raise SerbenchError(f"--out {str(out)!r} is a file. Expected a new folder, or one that holds a site.")
    if not out.is_dir() or not any(out.iterdir()):
        return {}
    try:
        return read_json(out / LIST)
    except (OSError, ValueError) as error:
        raise SerbenchError(
            f"--out {str(out)!r} is not empty and no site of serbench (it has no {LIST}). Name a new folder."
        ) from error


def _note(site: Site, old: Mapping[str, Any]) -> None:
    """Note what is there so far, so that a site that was interrupted is known as one, and goes on where it was."""
    names = sorted({*old.get("files", []), *_names(site)})
    _list(site, names, {**old.get("contents", {}), **site.contents})


def _clear(site: Site, before: Sequence[str]) -> None:
    """Delete what an earlier site left, and note what this one consists of."""
    out, names = site.index.parent, _names(site)
    for name in set(before) - set(names):
        old = out / name
        if old.resolve().is_relative_to(out.resolve()):
            old.unlink(missing_ok=True)
    _list(site, names, site.contents)


def _names(site: Site) -> list[str]:
    """The files that were written, relative to the site."""
    return sorted(path.relative_to(site.index.parent).as_posix() for path in site.files)


def _list(site: Site, names: Sequence[str], contents: Mapping[str, str]) -> None:
    held = {"rankings": site.rankings, "runs": site.runs, "files": list(names), "contents": dict(contents)}
    write_json(site.index.parent / LIST, {"serbench": version("serbench"), **held})

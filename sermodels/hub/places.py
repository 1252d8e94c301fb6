"""Where a model that travels comes from and goes to: a folder, an address of one on a web server, a hub repository.

A repository is written `OWNER/NAME` or `hf://OWNER/NAME`. The short form is a folder where there is one, or where
its parent is one; `./OWNER/NAME` is always a folder. Sources are checked before anything is made of them.
"""

from __future__ import annotations

import http.client
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_bytes
from ...datasets.core.libraries import library, raise_library_failure
from .layout import AGAIN, CARD, CONFIG, NUMBERS, ONNX, check, foreign, is_ours, read_config

HUB = "hf://"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MOST_TEXT = 16 * 2**20
"""Bytes that a description or a card may have."""
SECONDS = 60.0
"""How long a web server may be silent."""


def repository(place: str) -> str | None:
    """The hub repository that a text names, `OWNER/NAME`; None where it is a folder or an address."""
    if place.startswith(HUB):
        if not REPOSITORY.fullmatch(place.removeprefix(HUB)):
            raise SerbenchError(f"{place!r} is no repository of the hub. Expected hf://OWNER/NAME.")
        return place.removeprefix(HUB)
    path = Path(place)
    return place if REPOSITORY.fullmatch(place) and not path.exists() and not path.parent.exists() else None


def is_address(place: str) -> bool:
    """Whether a text is an address of a web server."""
    return place.startswith(("http://", "https://"))


def short_name(source: str) -> str:
    """The last part of a source's name, for a folder to pull it to."""
    name = re.split(r"[?#]", source)[0].rstrip("/").rpartition("/")[2]
    if not re.fullmatch(r"[\w+=@][\w.+=@ -]*", name):
        raise SerbenchError(f"{source!r} gives no name for a folder. Type --out FOLDER.")
    return name


@contextmanager
def at_hand(source: str | Path, revision: str | None = None) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Region in which a model that travels lies in a local folder.

    Gives the folder, the checked description, and the source's name with the commit, where it has one. What comes from
    the hub stays in the cache of huggingface_hub, what comes from another server is gone at the end.

    Raises
    ------
    SerbenchError
        For a source that can't be reached, or holds no model, a damaged one or another library's.
    """
    text = str(source)
    address, found = is_address(text), repository(text)
    if revision is not None and found is None:
        raise SerbenchError(
            f"--revision {revision} is for a repository of the hub, and {text!r} is none. Leave it out."
        )
    if address:
        with tempfile.TemporaryDirectory() as name:
            _download(text, Path(name))
            yield Path(name), check(Path(name), text), text
        return
    folder, said = _from_hub(found, revision) if found else (Path(text).expanduser(), repr(text))
    if not folder.is_dir():
        raise SerbenchError(
            f"there is no folder {text!r}. Expected a folder that 'serbench push' wrote, its address (https://...), or "
            "a repository of the Hugging Face hub (OWNER/NAME, or hf://OWNER/NAME)."
        )
    yield folder, check(folder, said), said


def put(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a model into a new folder, or into one that holds such a model, which is replaced.

    Raises
    ------
    SerbenchError
        For a folder that holds anything else.
    """
    if folder.is_file():
        raise SerbenchError(f"{str(folder)!r} is a file. Expected a new folder, or one that holds a model.")
    known = {*NUMBERS, CARD, CONFIG}
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()
    if there - known or (there and not (CONFIG in there and is_ours((folder / CONFIG).read_bytes()))):
        other = ", ".join(sorted(there - known or there)[:3])
        raise SerbenchError(f"{str(folder)!r} holds something else than a model: {other}. Name a new folder.")
    for name in (CONFIG, *(files.keys() - {CONFIG})):  # what was interrupted is known as ours, and fails its check
        write_bytes(folder / name, files[name])
    for name in known - files.keys():
        (folder / name).unlink(missing_ok=True)


def upload(files: Mapping[str, bytes], repo: str, message: str, *, public: bool = False) -> str:
    """Commit the files of a model to a repository of the hub, which is made where there is none; the commit's address.

    Raises
    ------
    SerbenchError
        When the hub can't be reached or does not allow it.
    """
    hub = library("huggingface_hub", "repositories of the hub")
    with _asked(repo, "written"):
        api = hub.HfApi(library_name="serbench")
        api.create_repo(repo, private=not public, exist_ok=True)
        operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
        if ONNX not in files and api.file_exists(repo, ONNX):
            operations.append(hub.CommitOperationDelete(path_in_repo=ONNX))
        done = api.create_commit(repo, operations=operations, commit_message=message)
    return str(done.commit_url)


def _from_hub(repo: str, revision: str | None) -> tuple[Path, str]:
    """The snapshot folder of a repository in the hub's cache, and its name with the commit."""
    said = f"the repository {repo!r}"
    with _asked(repo, "read"):
        if (config := _file_of(repo, CONFIG, revision)) is None:
            raise foreign(said, f"there is no {CONFIG}")
        for name in (*read_config(config.read_text(encoding="utf-8", errors="replace"), said)["files"], CARD):
            _file_of(repo, name, config.parent.name)
    return config.parent, f"{said} at {config.parent.name[:12]}"


def _file_of(repo: str, name: str, revision: str | None) -> Path | None:
    """A file of a repository, in the folder of its commit in the hub's cache; None where there is none."""
    errors = library("huggingface_hub.errors", "repositories of the hub")
    try:
        return Path(library("huggingface_hub").hf_hub_download(repo, name, revision=revision, library_name="serbench"))
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):  # not in the cache, and no network
            raise
        return None


@contextmanager
def _asked(repo: str, done: str) -> Iterator[None]:
    """Region that talks to the hub; what its library raises, of whatever kind, becomes one message."""
    try:
        yield
    except SerbenchError:
        raise
    except Exception as error:  # the library's errors, and those of the two HTTP clients of its versions
        raise_library_failure(error)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise SerbenchError(
            f"the repository {repo!r} can't be {done}: {' '.join(lines[:3])} Expected OWNER/NAME of a repository that "
            f"your token may use (hf auth login, or HF_TOKEN), and a network. For a folder of that name, type ./{repo}."
        ) from error


def _download(address: str, folder: Path) -> None:
    """Bring the files of a model from a web server; the description says which there are, and how long they are."""
    text = _get(address, CONFIG, MOST_TEXT)
    if text is None:
        raise foreign(address, f"there is no {CONFIG}")
    config = read_config(text.decode(errors="replace"), address)
    wanted = {CONFIG: MOST_TEXT, CARD: MOST_TEXT} | {name: facts["bytes"] for name, facts in config["files"].items()}
    for name, most in wanted.items():
        if (data := text if name == CONFIG else _get(address, name, most)) is not None:
            (folder / name).write_bytes(data)


def _get(address: str, name: str, most: int) -> bytes | None:
    """A file of a folder on a web server, of at most so many bytes; None where there is none."""
    url = f"{address.rstrip('/')}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            data: bytes = answer.read(most + 1)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise SerbenchError(
            f"{url} was not given: {error.code} {error.reason}. Expected a folder of a model."
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SerbenchError(
            f"{url} can't be reached: {error}. Expected the address of a folder, and a network."
        ) from error
    if len(data) > most:
        raise SerbenchError(f"{url} is longer than the {most} bytes that were expected. {AGAIN}")
    return data

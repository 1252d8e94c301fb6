"""Reading what was typed: KEY=VALUE pairs, corpus roots, and the corpus that a command names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from ...datasets.core.errors import SerbenchError, unknown

if TYPE_CHECKING:
    from ...datasets.schema.corpus import Corpus
    from ..core.progress import Display
    from ..grid.grid import Launcher
    from ..protocol.protocol import Protocol

LAUNCHERS = ("local", "ray")


def called(arguments: Sequence[str]) -> str:
    """The command that was typed, without its options: "serbench words align demo"."""
    return " ".join(["serbench", *takewhile(lambda text: not text.startswith("-"), arguments)])


def pairs(flag: str, texts: list[str] | None) -> dict[str, str]:
    """`KEY=VALUE` texts as a dictionary."""
    found: dict[str, str] = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise SerbenchError(f"{flag} {text!r}: expected KEY=VALUE.")
        found[key.strip()] = value
    return found


def roots(given: list[str] | None, datasets: list[str], flag: str = "--root") -> dict[str, str]:
    """`--root FOLDER` (one dataset) or `--root DATASET=FOLDER` (several) as dataset -> folder; so for other flags."""
    found: dict[str, str] = {}
    for text in given or []:
        name, sign, folder = text.partition("=")
        if sign and name in datasets:
            found[name] = folder
        elif len(set(datasets)) == 1:
            found[datasets[0]] = text
        else:
            several = f"with several datasets, expected DATASET={flag.split('-')[-1].upper()} for each"
            raise SerbenchError(f"{flag} {text!r}: {several if datasets else 'there is no dataset that it is for'}.")
    return found


def grid_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `grid.run` that say what is asked for, from the options of `serbench run` by name."""
    from ..protocol.protocol import Protocol

    if not given["model"] or not given["dataset"]:
        raise SerbenchError("expected --model and --dataset (or --from-record). 'serbench list' shows both.")
    trained, tested = _datasets(given)
    folders, _ = node_roots(given["root"], [*trained, *tested])
    protocol = Protocol(given["protocol"], given["split"], given["subsets"], given["group"], given["seed"])
    return {
        "model": given["model"],
        "dataset": given["dataset"],
        "test_dataset": tested,
        "root": roots(folders, trained),
        "release": roots(given["release"], trained, "--release"),
        "test_root": roots(given["test_root"], tested, "--test-root"),
        "test_release": roots(given["test_release"], tested, "--test-release"),
        "test_split": given["test_split"],
        "task": given["task"],
        "classes": given["classes"].split(",") if given["classes"] else (),
        "preset": given["preset"],
        "settings": pairs("--set", given["set_"]),
        "protocol": checked(protocol),
        "trials": given["trials"],
        "allow_leak": given["allow_leak"],
        "options": pairs("--option", given["option"]),
    }


def launcher_of(given: Mapping[str, Any]) -> Launcher | None:
    """The launcher that the options of `serbench run` name; None = local processes."""
    name, asked = given["launcher"], {key: given[key] for key in ("address", "cpus_per_trial", "gpus_per_trial")}
    _, elsewhere = node_roots(given["root"], [name for names in _datasets(given) for name in names])
    if name not in LAUNCHERS:
        raise unknown("launcher", name, LAUNCHERS)
    if name == "local":
        for key in [key for key, value in asked.items() if value is not None]:
            raise SerbenchError(f"--{key.replace('_', '-')} is for a cluster. Type --launcher ray with it.")
        if elsewhere:
            raise SerbenchError("--root DATASET@NODE=FOLDER is for a cluster. Type --launcher ray with it.")
        return None
    if given["jobs"] != 1:
        raise SerbenchError("--jobs is for local processes. With --launcher ray, the cluster's processors decide.")
    from ..ray.launcher import RayLauncher
    from ..ray.slots import Options

    return RayLauncher(Options(**{key: value for key, value in asked.items() if value is not None}), elsewhere)


def node_roots(given: list[str] | None, datasets: Sequence[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """`DATASET@NODE=FOLDER` among the texts of --root, as node -> dataset -> folder, and the other texts."""
    rest: list[str] = []
    found: dict[str, dict[str, str]] = {}
    for text in given or []:
        name, sign, folder = text.partition("=")
        dataset, at, node = name.partition("@")
        if sign and at and node and dataset in datasets:
            found.setdefault(node, {})[dataset] = folder
        else:
            rest.append(text)
    return rest, found


def _datasets(given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the corpora that are trained on, and of those that are tested."""
    return [name for text in given["dataset"] or () for name in text.split("+")], list(given["test_dataset"] or ())


def without_training(given: Mapping[str, object]) -> None:
    """Refuse options that a training alone knows: flag -> what was given for it."""
    for flag, value in given.items():
        if value:
            raise SerbenchError(f"--weights are scored as they are, nothing is trained: leave {flag} out.")


def checked(protocol: Protocol) -> Protocol:
    """The protocol, with its settings in range."""
    from ...datasets.core.config import validate

    return validate(protocol)


def open_dataset(name: str, root: str | None, release: str | None = None, option: list[str] | None = None) -> Corpus:
    """The corpus that a command names."""
    from ...datasets.reading.load import load_corpus

    return load_corpus(name, root, release, pairs("--option", option))


@contextmanager
def resumable(shown: Display) -> Iterator[None]:
    """Region that a Ctrl-C ends with a line on how to go on, and with exit status 130."""
    import typer

    try:
        yield
    except KeyboardInterrupt:
        shown.message("Stopped. What is finished is kept; the same command goes on where this one was.")
        raise typer.Exit(130) from None

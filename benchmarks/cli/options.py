"""The options of commands, each declared once, and what was typed after them as the values that Python's side takes.

A command takes groups of options as one argument each: `command` spreads the fields of such dataclasses out into the
command's signature, and gathers what was typed into them again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ...datasets.core.errors import SerbenchError, unknown

if TYPE_CHECKING:
    from ...datasets.schema.corpus import Corpus
    from ..core.progress import Display
    from ..grid.execution import Execution, Launcher
    from ..protocol.protocol import Protocol
    from ..protocol.request import Grid

LAUNCHERS = ("local", "ray")
Texts = list[str] | None
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, typer.Option(help="Threads of each process; default: OMP_NUM_THREADS or cores / jobs.")]
Results = Annotated[Path, typer.Option(help="Folder that holds runs/ and the leaderboard.")]
Dataset = Annotated[str, typer.Option(help="Registered dataset.")]
DatasetArgument = Annotated[str, typer.Argument(help="Registered dataset.")]
Task = Annotated[
    str | None, typer.Option(help="Task of the dataset, or a shared label set (emotion-4); default: its first.")
]
Release = Annotated[str | None, typer.Option(help="Release of the corpus; default: detected.")]
RunName = Annotated[str, typer.Argument(help="MODEL, MODEL:PRESET, a run id or a run folder.")]
RunWithWeights = Annotated[
    str, typer.Argument(help="MODEL, MODEL:PRESET, a run id or a run folder; with saved weights.")
]
RunDataset = Annotated[str | None, typer.Option(help="Dataset, where the name fits several runs.")]
RunTask = Annotated[str | None, typer.Option(help="Task, likewise.")]
Trial = Annotated[int, typer.Option(help="Trial whose weights are used.")]
SplitOut = Annotated[
    Path | None, typer.Option(help="Write the folds to this file (csv, jsonl, parquet), as --split reads them.")
]
StudyFolder = Annotated[Path | None, typer.Option(help="Folder of tables and plots; default: RESULTS/studies.")]


@dataclass(frozen=True)
class CorpusOptions:
    """Where one corpus lies, and how it is read."""

    root: Annotated[str | None, typer.Option(help="Folder of the corpus.")] = None
    release: Release = None
    option: Annotated[Texts, typer.Option(help="KEY=VALUE for the dataset.")] = None

    def open(self, dataset: str) -> Corpus:
        """The corpus that a command names."""
        from ...datasets.reading.load import load_corpus

        return load_corpus(dataset, self.root, self.release, pairs("--option", self.option))


CAREFUL = "careful"
"""Protocol 4x5 with all that `analyses.beyond.careful` adds."""
PROTOCOLS = {"4x5": "4x5", CAREFUL: "4x5"}
"""What may be typed -> the protocol that scores follow."""


@dataclass(frozen=True)
class ProtocolOptions:
    """How test items are cut."""

    protocol: Annotated[
        str, typer.Option(help="4x5; or careful: 4x5, then 'run' adds stress, fairness, calibration and raters.")
    ] = "4x5"
    split: Annotated[
        str | None,
        typer.Option(help="Split: a name (default: the first), loso, FILE (csv, jsonl, parquet), emobox:DIR."),
    ] = None
    dev: Annotated[str, typer.Option(help="Share of train + dev drawn as dev (0.2); default: the split's own dev.")] = (
        ""
    )
    share: Annotated[str, typer.Option(help="Share of train, whole speakers first (0.2); default: all.")] = ""
    subsets: Annotated[int, typer.Option(help="Parts that the test items are cut into.")] = 4
    group: Annotated[str, typer.Option(help="Column that subsets may not cut: auto, none or a column.")] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of the subsets and base of the trials' seeds.")] = 0

    def cut(self) -> Protocol:
        """The protocol, with its settings in range."""
        from ...datasets.core.config import validate
        from ..protocol.protocol import Protocol

        if self.protocol not in PROTOCOLS:
            raise unknown("protocol", self.protocol, PROTOCOLS)
        if self.dev:
            from ..protocol.dev_part import check_rule

            check_rule(self.dev)
        if self.share:
            from ..protocol.train_share import share_of_train

            share_of_train(self.share)
        name = PROTOCOLS[self.protocol]
        return validate(Protocol(name, self.split, self.subsets, self.group, self.seed, self.dev, self.share))


@dataclass(frozen=True)
class SourcesOptions:
    """Where several corpora lie, and how they are read."""

    root: Annotated[Texts, typer.Option(help="Folder of the corpus, or DATASET=FOLDER for several.")] = None
    release: Annotated[Texts, typer.Option(help="Release, or DATASET=RELEASE; default: detected.")] = None
    option: Annotated[
        Texts,
        typer.Option(help="KEY=VALUE for the dataset, such as test_clips=plain; DATASET.KEY=VALUE for one of several."),
    ] = None

    def on_nodes(self, dataset: Sequence[str], test: Sequence[str] = ()) -> dict[str, dict[str, str]]:
        """Node -> dataset -> folder, of a cluster whose nodes have corpora in other folders."""
        return self._roots(_names(dataset), test)[1]

    def _roots(self, names: Sequence[str], test: Sequence[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
        """`DATASET@NODE=FOLDER` among the texts of --root, as node -> dataset -> folder, after the other texts."""
        rest: list[str] = []
        nodes: dict[str, dict[str, str]] = {}
        for text in self.root or []:
            name, sign, folder = text.partition("=")
            dataset, at, node = name.partition("@")
            if sign and at and node and dataset in (*names, *test):
                nodes.setdefault(node, {})[dataset] = folder
            else:
                rest.append(text)
        return rest, nodes


@dataclass(frozen=True)
class RecipeOptions(ProtocolOptions, SourcesOptions):
    """What a grid needs beside the names of models and corpora."""

    classes: Annotated[str | None, typer.Option(help="Classes of the task to keep, with commas between.")] = None
    preset: Annotated[str | None, typer.Option(help="Named configuration of the models.")] = None
    set_: Annotated[Texts, typer.Option("--set", help="model.KEY=VALUE, train.KEY=VALUE or feature.KEY=VALUE.")] = None
    trials: Annotated[int, typer.Option(help="Trainings with different seeds.")] = 5
    allow_leak: Annotated[bool, typer.Option(help="Accept a split that leaks; the score is labelled.")] = False
    calibrate: Annotated[str, typer.Option(help="temperature: scale class scores by one fitted on dev.")] = ""
    refit: Annotated[bool, typer.Option("--refit", help="After the choice on dev, fit again on train + dev.")] = False
    train_with: Annotated[
        Texts, typer.Option(help="Learn training audio perturbed too: noise:10,reverb:0.6 (see 'serbench stress').")
    ] = None

    def grid(self, model: Sequence[str], dataset: Sequence[str], test: Sequence[str] = (), **more: Any) -> Grid:
        """The grid of some models and corpora."""
        from ..protocol.request import Grid

        names = _names(dataset)
        return Grid(
            model,
            dataset,
            roots(self._roots(names, test)[0], names),
            roots(self.release, names, "--release"),
            pairs("--option", self.option),
            test,
            classes=self.classes.split(",") if self.classes else (),
            preset=self.preset,
            settings=pairs("--set", self.set_),
            protocol=self.cut(),
            trials=self.trials,
            allow_leak=self.allow_leak,
            refit=self.refit,
            calibrate=self.calibrate,
            train_with=self.train_with or (),
            **more,
        )


@dataclass(frozen=True)
class TestedOptions:
    """Corpora that are tested beside or instead of the one that is trained on."""

    test_dataset: Annotated[
        Texts, typer.Option(help="Test on this corpus too or instead; may be repeated, one training serves all.")
    ] = None
    test_root: Annotated[Texts, typer.Option(help="Folder of it, or DATASET=FOLDER for several.")] = None
    test_release: Annotated[Texts, typer.Option(help="Release of it, or DATASET=RELEASE.")] = None
    test_split: Annotated[str | None, typer.Option(help="Split of it whose test items are tested.")] = None

    def tested(self) -> dict[str, Any]:
        """As fields of a `Grid`."""
        tests = self.test_dataset or []
        return {
            "test": tests,
            "test_root": roots(self.test_root, tests, "--test-root"),
            "test_release": roots(self.test_release, tests, "--test-release"),
            "test_split": self.test_split,
        }


@dataclass(frozen=True)
class NamedOptions:
    """What is trained on what."""

    model: Annotated[Texts, typer.Option(help="Registered model; may be repeated.")] = None
    dataset: Annotated[Texts, typer.Option(help="Registered dataset; may be repeated. A+B: trained on together.")] = (
        None
    )
    task: Task = None


@dataclass(frozen=True)
class GridOptions(TestedOptions, RecipeOptions, NamedOptions):
    """What `serbench run` is asked for."""

    weights: Annotated[
        list[Path] | None, typer.Option(help="Score these trained weights as they are, without training; repeatable.")
    ] = None
    from_record: Annotated[Path | None, typer.Option(help="Repeat the run of this run folder or run.json.")] = None
    split_out: SplitOut = None

    def asked(self) -> Grid:
        """The grid; its split is written where that is asked for."""
        more = {**self.tested(), "task": self.task, "weights": self.weights or ()}
        grid = self.grid(self.model or [], self.dataset or [], **more)
        if self.split_out is not None:
            from ..protocol.setting import Corpora
            from ..protocol.split_files import rows_of, write

            request, *others = grid.requests()
            if any((one.dataset, one.also, one.test) != (request.dataset, (), None) for one in (request, *others)):
                raise SerbenchError(
                    "--split-out writes the split of one corpus: name one --dataset, no --test-dataset."
                )
            write(self.split_out, rows_of(Corpora().setting(request).divisions))
        return grid

    def trained(self, command: str) -> Grid:
        """The grid of a command that only trains."""
        if self.from_record is not None or self.weights:
            raise SerbenchError(f"{command} takes --model and --dataset; leave --from-record and --weights out.")
        return self.asked()

    @property
    def nodes(self) -> dict[str, dict[str, str]]:
        """Node -> dataset -> folder."""
        return self.on_nodes(self.dataset or [], self.test_dataset or [])


@dataclass(frozen=True)
class ExecutionOptions:
    """How a grid is worked through."""

    device: Device = "auto"
    jobs: Annotated[int, typer.Option(help="Processes that work on trials at the same time.")] = 1
    threads: Threads = None
    results: Results = Path("results")
    save_models: Annotated[bool, typer.Option(help="Keep the weights of every trial beside its record.")] = False
    track: Annotated[str, typer.Option(help="tensorboard, mlflow or wandb: told of epochs and scores.")] = ""
    launcher: Annotated[str, typer.Option(help="What works on trials: local processes, or ray.")] = "local"
    address: Annotated[str | None, typer.Option(help="HOST:PORT of the Ray head; default: this machine alone.")] = None
    cpus_per_trial: Annotated[int | None, typer.Option(help="Processors and threads of a trial on Ray.")] = None
    gpus_per_trial: Annotated[float | None, typer.Option(help="Graphics cards of a trial on Ray (0.5: half).")] = None

    def execution(self, nodes: dict[str, dict[str, str]]) -> Execution:
        """With the user's terminal as display; `nodes` are those of `--root DATASET@NODE=FOLDER`."""
        from ..core.progress import Terminal
        from ..grid.execution import Execution

        return Execution(
            self.results,
            self.device,
            self.jobs,
            self.threads,
            self.save_models,
            Terminal(),
            self._launcher(nodes),
            self.track,
        )

    def _launcher(self, nodes: dict[str, dict[str, str]]) -> Launcher | None:
        """The launcher that is named; None = this machine."""
        given = {key: getattr(self, key) for key in ("address", "cpus_per_trial", "gpus_per_trial")}
        given = {key: value for key, value in given.items() if value is not None}
        if self.launcher not in LAUNCHERS:
            raise unknown("launcher", self.launcher, LAUNCHERS)
        if self.launcher == "local":
            for key in given:
                raise SerbenchError(f"--{key.replace('_', '-')} is for a cluster. Type --launcher ray with it.")
            if nodes:
                raise SerbenchError("--root DATASET@NODE=FOLDER is for a cluster. Type --launcher ray with it.")
            return None
        if self.jobs != 1:
            raise SerbenchError("--jobs is for local processes. With --launcher ray, the cluster's processors decide.")
        from ..ray.launcher import RayLauncher
        from ..ray.slots import RayOptions

        return RayLauncher(RayOptions(**given), nodes)


def command(body: Callable[..., None]) -> Callable[..., None]:
    """A function as typer takes it: groups of options among its parameters are spread out into their fields."""
    hints = get_type_hints(body, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    spread: list[inspect.Parameter] = []
    for own in inspect.signature(body).parameters.values():
        if (group := groups.get(own.name)) is None:
            spread.append(own.replace(kind=own.KEYWORD_ONLY, annotation=hints[own.name]))
            continue
        types = get_type_hints(group, include_extras=True)
        for one in fields(group):
            default = own.empty if one.default is MISSING else one.default
            spread.append(inspect.Parameter(one.name, own.KEYWORD_ONLY, default=default, annotation=types[one.name]))

    def spread_out(**given: Any) -> None:
        gathered = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        body(**gathered, **given)

    spread_out.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    spread_out.__annotations__ = {p.name: p.annotation for p in spread}
    spread_out.__name__, spread_out.__doc__ = body.__name__, body.__doc__
    return spread_out


def pairs(flag: str, texts: Texts) -> dict[str, str]:
    """`KEY=VALUE` texts as a dictionary."""
    values: dict[str, str] = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise SerbenchError(f"{flag} {text!r}: expected KEY=VALUE.")
        values[key.strip()] = value
    return values


def roots(given: Texts, datasets: Sequence[str], flag: str = "--root") -> dict[str, str]:
    """`--root FOLDER` (one dataset) or `--root DATASET=FOLDER` (several) as dataset -> folder; so for other flags."""
    folders: dict[str, str] = {}
    for text in given or []:
        name, sign, folder = text.partition("=")
        if sign and name in datasets:
            folders[name] = folder
        elif len(set(datasets)) == 1:
            folders[datasets[0]] = text
        else:
            several = f"with several datasets, expected DATASET={flag.split('-')[-1].upper()} for each"
            raise SerbenchError(f"{flag} {text!r}: {several if datasets else 'there is no dataset that it is for'}.")
    return folders


def _names(datasets: Sequence[str]) -> list[str]:
    """Names of the corpora in `A` and `A+B`."""
    return [name for text in datasets for name in text.split("+")]


@contextmanager
def resumable(shown: Display) -> Iterator[None]:
    """Region that a Ctrl-C, a signal or a limit of time ends with a line on how to go on, and with its exit status."""
    from ..core.ending import Ended, status_of

    try:
        yield
    except KeyboardInterrupt as error:
        why = error.reason if isinstance(error, Ended) else ""
        shown.message(f"Stopped{why}. What is finished is kept; the same command goes on where this one was.")
        raise typer.Exit(status_of(error)) from None

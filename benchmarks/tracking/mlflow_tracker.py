"""MLflow: the server or store that MLFLOW_TRACKING_URI names, else a database in RESULTS/mlflow.

mlflow ui --backend-store-uri sqlite:///results/mlflow/mlflow.db
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library
from .tracker import About

EXPERIMENT = "serbench"
LONGEST = 500
"""Characters of a parameter that every store takes."""


def prepare(results: Path) -> None:
    """Load the library, and make the experiment before several processes want it."""
    client = _client(results)
    if client.get_experiment_by_name(EXPERIMENT) is None:
        own = os.environ.get("MLFLOW_TRACKING_URI") is None
        place = {"artifact_location": (results / "mlflow" / "files").resolve().as_uri()} if own else {}
        client.create_experiment(EXPERIMENT, **place)


def start(results: Path, about: About) -> Logged:
    """Begin a run of the experiment."""
    return Logged(_client(results), about)


def _client(results: Path) -> Any:
    """The client of the store that is meant."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is told to anyone who was not named
    library("mlflow", "--track mlflow")
    tracking = library("mlflow.tracking", "--track mlflow")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        (results / "mlflow").mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{(results / 'mlflow' / 'mlflow.db').resolve()}"
    try:
        client = tracking.MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # whatever a store raises
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise SerbenchError(
            f"--track mlflow can't use {uri!r}: {said[0]}. Expected "
            "a server or store that runs: set MLFLOW_TRACKING_URI, or unset it for a database in the results folder."
        ) from error
    return client


class Logged:
    """One run of MLflow's."""

    def __init__(self, client: Any, about: About) -> None:
        self.client = client
        experiment = client.get_experiment_by_name(EXPERIMENT)
        tags = {"mlflow.runName": about.name, "run_id": about.run_id}
        self.run = client.create_run(experiment.experiment_id, tags=tags).info.run_id
        entities = library("mlflow.entities")
        params = [entities.Param(key, str(value)[:LONGEST]) for key, value in about.config.items()]
        client.log_batch(self.run, params=params)

    def values(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Metrics, at the epoch or final."""
        for key, value in values.items():
            self.client.log_metric(self.run, key if step is not None else f"final/{key}", value, step=step)

    def file(self, path: Path) -> None:
        """Keep it as an artefact."""
        self.client.log_artifact(self.run, str(path))

    def end(self, *, failed: bool) -> None:
        """Finished or failed."""
        self.client.set_terminated(self.run, status="FAILED" if failed else "FINISHED")

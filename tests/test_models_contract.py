"""What every registered model must do, by the public checks of `serbench conformance`."""

from __future__ import annotations

from typing import Any

import pytest

from serbench.benchmarks.conformance import models as checks
from serbench.benchmarks.conformance.material import TASKS, taken
from serbench.sermodels import registry

MODELS = registry.names()


def pairs() -> list[Any]:
    """(model, kind of task) for every kind; tests skip nothing, kinds not taken have a test of their own."""
    return [pytest.param(name, kind, id=f"{name}-{kind}") for name in MODELS for kind in TASKS if kind in taken(name)]


@pytest.mark.parametrize("name", MODELS)
def test_module_offers_what_the_registry_needs(name: str) -> None:
    assert not list(checks.offers_what_a_model_needs(name))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_requests_name_known_features(name: str, kind: str) -> None:
    assert not list(checks.requests_known_features(name, kind))


@pytest.mark.parametrize("name", [name for name in MODELS if taken(name) != frozenset(TASKS)])
def test_a_kind_that_is_not_taken_is_refused_in_words(name: str) -> None:
    assert not list(checks.refuses_other_kinds_of_task_in_words(name))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_shapes(name: str, kind: str) -> None:
    assert not list(checks.shapes(name, kind))


@pytest.mark.parametrize("name", [name for name in MODELS if "classification" in taken(name)])
def test_class_scores_sum_to_one(name: str) -> None:
    assert not list(checks.class_scores_sum_to_one(name))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_one_seed_gives_one_model_and_the_data_stay_as_they_were(name: str, kind: str) -> None:
    assert not list(checks.one_seed_gives_one_model(name, kind))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_deterministic_models_take_no_seed(name: str, kind: str) -> None:
    assert not list(checks.a_model_that_is_deterministic_takes_no_seed(name, kind))


def test_a_model_that_is_not_as_deterministic_as_it_says_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.load("chance").Model
    monkeypatch.setattr(model, "deterministic", classmethod(lambda cls, config: True))
    (problem,) = checks.a_model_that_is_deterministic_takes_no_seed("chance", "classification")
    assert problem.startswith("random trained with another seed: up to 1 apart")


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_saved_and_loaded_it_predicts_the_same(name: str, kind: str) -> None:
    assert not list(checks.saved_and_loaded_it_predicts_the_same(name, kind))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_order_and_company_change_no_prediction(name: str, kind: str) -> None:
    assert not list(checks.order_and_company_change_no_prediction(name, kind))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_labels_of_the_predicted_data_decide_nothing(name: str, kind: str) -> None:
    assert not list(checks.labels_of_predicted_data_decide_nothing(name, kind))


@pytest.mark.parametrize(("name", "kind"), [p for p in pairs() if p.values[0] != "chance"])
def test_eight_utterances_are_learnt_by_heart(name: str, kind: str) -> None:
    assert not list(checks.eight_utterances_are_learnt_by_heart(name, kind))

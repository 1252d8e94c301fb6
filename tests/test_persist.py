"""Model files: what they hold, and what is said of files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.sermodels import chance
from serbench.sermodels.core.persist import expect, load_model, save_model
from serbench.sermodels.core.sermodel import Data

TASK = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})


@pytest.fixture
def model() -> chance.Model:
    data = Data(TASK, pd.DataFrame(index=["a", "b"]), {}, np.array([[1.0], [4.0]]))
    fitted = chance.Model(chance.PRESETS["random"], TASK)
    fitted.fit(data, data, lambda gold, predicted: 0.0)
    return fitted


def rewrite(path: Path, **changes: object) -> None:
    """The same file with another description; a value of None takes the key out."""
    with safetensors.safe_open(path, framework="np") as content:
        arrays = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
        head = json.loads(content.metadata()["serbench"]) | changes
        head.pop("checksum")  # as files of before have none
    head = {key: value for key, value in head.items() if value is not None}
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"serbench": json.dumps(head)}))


def test_the_file_is_plain_safetensors_with_a_description(model: chance.Model, tmp_path: Path) -> None:
    path = save_model(model, tmp_path / "deep" / "here.safetensors")
    assert path == tmp_path / "deep" / "here.safetensors"
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file stays"
    with safetensors.safe_open(path, framework="np") as content:
        head = json.loads(content.metadata()["serbench"])
        np.testing.assert_array_equal(content.get_tensor("constant"), [2.5])
    assert head["model"] == "chance"
    assert head["config"] == {"strategy": "random"}
    assert head["task"] == TASK.to_dict()
    assert head["facts"] == {"seed": 0}
    assert set(head) == {"schema", "serbench", "model", "config", "task", "facts", "checksum"}


def test_a_folder_may_be_given_and_saving_again_replaces(model: chance.Model, tmp_path: Path) -> None:
    assert save_model(model, tmp_path) == save_model(model, str(tmp_path)) == tmp_path / "model.safetensors"
    assert isinstance(load_model(tmp_path), chance.Model)
    assert isinstance(load_model(str(tmp_path / "model.safetensors")), chance.Model)


def test_arrays_of_any_layout_come_back_as_they_were(model: chance.Model, tmp_path: Path) -> None:
    class Odd(chance.Model):
        def state(self):  # type: ignore[no-untyped-def]
            kept, facts = super().state()
            odd = {"turned": np.arange(6.0).reshape(2, 3).T, "none": np.empty((0, 3)), "one": np.array(2)}
            return {**kept, **odd}, facts

    odd = Odd(model.config, TASK)
    odd.restore(*model.state())
    arrays = safetensors.numpy.load_file(save_model(odd, tmp_path))
    np.testing.assert_array_equal(arrays["turned"], [[0, 3], [1, 4], [2, 5]])
    assert (arrays["none"].shape, arrays["one"].shape) == ((0, 3), ())


def test_what_is_no_model_file_is_said_in_words(model: chance.Model, tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"there is no file .*model\.safetensors"):
        load_model(tmp_path)
    text = tmp_path / "text.safetensors"
    text.write_text("these are no weights")
    with pytest.raises(SerbenchError, match="not a readable safetensors file"):
        load_model(text)
    text.write_bytes(safetensors.numpy.save({"a": np.ones(2)}))
    with pytest.raises(SerbenchError, match="not of a serbench model"):
        load_model(text)
    text.write_bytes(safetensors.numpy.save({"a": np.ones(2)}, metadata={"serbench": "{"}))
    with pytest.raises(SerbenchError, match=r"description .* can't be read"):
        load_model(text)
    text.write_bytes(safetensors.numpy.save({"a": np.ones(2)}, metadata={"serbench": "[1]"}))
    with pytest.raises(SerbenchError, match=r"description .* can't be read"):
        load_model(text)
    whole = save_model(model, tmp_path).read_bytes()
    text.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SerbenchError, match="not a readable safetensors file"):
        load_model(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 99}, "has schema 99"),
        ({"facts": None}, "lacks facts"),
        ({"model": "chanse"}, "unknown model 'chanse'. Did you mean 'chance'"),
        ({"config": {"strategi": "random"}}, "unknown setting .*'strategi'"),
        ({"config": {"strategy": "best"}}, "'best' is not allowed"),
        ({"facts": {}}, "does not fit the model 'chance': there is no 'seed'"),
        ({"task": {"name": "arousal"}}, "does not fit the model 'chance': there is no 'kind'"),
        (
            {
                "task": TASK.to_dict()
                | {"targets": ["arousal", "valence"], "scales": {"arousal": [1, 7], "valence": [1, 7]}}
            },
            r"'constant' has shape \(1,\), expected \(2\)",
        ),
    ],
)
def test_a_description_that_does_not_fit_is_said_in_words(
    model: chance.Model, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = save_model(model, tmp_path)
    rewrite(path, **changes)
    with pytest.raises(SerbenchError, match=said):
        load_model(path)


def test_expect_checks_name_and_shape() -> None:
    arrays = {"a": np.ones((2, 3))}
    assert expect(arrays, "a", (None, 3)) is arrays["a"]
    for key, shape in [("b", (2, 3)), ("a", (2,)), ("a", (2, 4))]:
        with pytest.raises(ValueError, match=r"expected|no array"):
            expect(arrays, key, shape)


def test_a_bit_that_a_disk_has_changed_is_found(model: chance.Model, tmp_path: Path) -> None:
    path = save_model(model, tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of the constant
    path.write_bytes(data)
    with pytest.raises(SerbenchError, match="its checksum is wrong"):
        load_model(path)

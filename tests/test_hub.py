"""Models that travel: `serbench push` and `pull` to a folder, a web server and a hub, and the same predictions there.

The hub is a stub of its HTTP interface, as huggingface_hub talks to it: repositories, LFS, commits, files of commits.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from serbench.benchmarks import pull, push, run
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.weights.predict import predict
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.files import checksum
from serbench.datasets.reading.load import load_corpus
from serbench.results.record.folder import Run
from serbench.results.tables.pair_tests import Resampling, score_intervals
from serbench.sermodels import from_pretrained
from serbench.sermodels.hub.layout import check

TOKEN = "hf_only_for_this_test"


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one user: repositories as lists of commits, each a dictionary of files."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, list[dict[str, bytes]]]
    private: dict[str, bool]
    large: dict[str, bytes]
    calls: list[str]

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while length := int(self.rfile.readline(), 16):
            data += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.calls.append(f"{self.command} {self.path}")
        if found := re.fullmatch(r"/api/models/(.+)/revision/main\?expand=xetEnabled", self.path):  # before 1.0
            return self.answer(200, {"id": found[1], "xetEnabled": False})
        if self.path.startswith("/api/"):  # what the library asks for by itself
            return self.answer(404)
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^/?]+)", self.path)
        assert found, self.path
        repository, revision, name = found.groups()
        commits = self.repositories.get(repository)
        if commits is None or (self.private[repository] and not self.allowed()):
            return self.answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        numbered = {commit_of(i): files for i, files in enumerate(commits)} | {"main": commits[-1]}
        if revision not in numbered:
            return self.answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
        commit = commit_of(len(commits) - 1) if revision == "main" else revision
        if (data := numbered[revision].get(name)) is None:
            return self.answer(
                404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=commit
            )
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return self.answer(200, data, ETag=etag, X_Repo_Commit=commit, X_Linked_Size=str(len(data)), X_Linked_Etag=etag)

    def do_PUT(self) -> None:
        data, name = self.read(), self.path.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == name
        self.large[name] = data
        self.answer(200)

    def do_POST(self) -> None:
        self.calls.append(f"POST {self.path}")
        given = self.read()
        if self.path == "/api/validate-yaml":
            yaml.safe_load(json.loads(given)["content"].split("---")[1])
            return self.answer(200, {"errors": [], "warnings": []})
        if not self.allowed():
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            return self.create(json.loads(given))
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", self.path):
            return self.answer(200, self.places(json.loads(given)), Content_Type="application/vnd.git-lfs+json")
        found = re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", self.path)
        assert found, self.path
        return self.ways(json.loads(given)) if found[2] == "preupload" else self.commit(found[1], given)

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        body = {"url": f"http://{self.headers['Host']}/{name}", "name": name}
        if name in self.repositories:
            return self.answer(409, {**body, "error": "You already created this model repo"})
        private = asked.get("private") or asked.get("visibility") == "private"  # as old and new clients say it
        self.repositories[name], self.private[name] = [{}], bool(private)
        return self.answer(200, body)

    def ways(self, asked: dict[str, Any]) -> None:
        large = (".safetensors", ".onnx")
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(large) else "regular",
                "shouldIgnore": False,
            }
            for one in asked["files"]
        ]
        self.answer(200, {"files": files})

    def places(self, asked: dict[str, Any]) -> dict[str, Any]:
        host = f"http://{self.headers['Host']}"
        upload = [{**one, "actions": {"upload": {"href": f"{host}/lfs/{one['oid']}"}}} for one in asked["objects"]]
        return {"transfer": "basic", "objects": upload}

    def commit(self, name: str, given: bytes) -> None:
        files = dict(self.repositories[name][-1])
        for line in map(json.loads, given.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.repositories[name].append(files)
        oid = commit_of(len(self.repositories[name]) - 1)
        self.answer(
            200, {"success": True, "commitOid": oid, "commitUrl": f"http://{self.headers['Host']}/{name}/commit/{oid}"}
        )


def commit_of(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def serving(handler: Any) -> Iterator[str]:
    """The address of a server in a thread of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """The stub, which huggingface_hub of this process talks to."""
    import huggingface_hub.constants as constants
    import huggingface_hub.file_download as file_download

    kind = type("Hub", (Hub,), {"repositories": {}, "private": {}, "large": {}, "calls": []})
    for address in serving(kind):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):  # before 1.0 the latter has a name of its own for it
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        kind.address = address
        yield kind


@pytest.fixture(scope="module")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    return toy_corpus(seconds=0.6, classes=4, columns=("emotion", "arousal"), scale="1..7")


@pytest.fixture(scope="module")
def trained(
    corpus_file: Path, tmp_path_factory: pytest.TempPathFactory, tiny_chunked: dict[str, str]
) -> dict[str, Run]:
    """A network for an attribute and a network for classes, calibrated, with their weights kept."""
    given: dict[str, Any] = {
        "root": corpus_file,
        "trials": 1,
        "protocol": Protocol(subsets=2),
        "results": tmp_path_factory.mktemp("trained"),
        "threads": 1,
        "save_models": True,
        "settings": {**tiny_chunked, "feature.bands": "40", "feature.fmax": "4000"},
    }
    classes = run("cnn-regressor", "table", task="emotion", calibrate="temperature", **given)
    return {"arousal": run("cnn-regressor", "table", task="arousal", **given)[0], "emotion": classes[0]}


@pytest.fixture(scope="module")
def pushed(trained: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pushed")
    for task, one in trained.items():
        push(one, folder / task, licence="cc-by-4.0", resamples=200)
    return {task: folder / task for task in trained}


@pytest.fixture
def copy(pushed: dict[str, Path], tmp_path: Path) -> Path:
    """A pushed folder to spoil."""
    return Path(shutil.copytree(pushed["emotion"], tmp_path / "copy"))


def weights_of(one: Run) -> Path:
    (file,) = one.path.glob("unit-0-*.safetensors")
    return file


def predicted(weights: Path, corpus_file: Path) -> Any:
    return predict([weights], load_corpus("table", corpus_file), device="cpu").table


def expect_same(weights: Path, one: Run, corpus_file: Path) -> None:
    """Predictions are those of the weights that the run kept, number for number."""
    before, after = predicted(weights_of(one), corpus_file), predicted(weights, corpus_file)
    assert len(before) == 40
    assert before.select_dtypes("number").nunique().min() > 20
    assert after.equals(before)


# What a folder holds


def test_a_folder_has_the_weights_as_they_are_with_their_description(
    trained: dict[str, Run], pushed: dict[str, Path]
) -> None:
    one, folder = trained["emotion"], pushed["emotion"]
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    data = weights_of(one).read_bytes()
    assert (folder / "model.safetensors").read_bytes() == data
    config = json.loads((folder / "config.json").read_text())
    assert config["files"] == {"model.safetensors": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
    assert (config["model"], config["preset"], config["fold"]) == ("cnn-regressor", "default", "official")
    assert config["labels"] == list(one.task.labels)
    assert config["configuration"] == one.spec["model"]["config"]
    assert config["features"]["input"]["name"] == "mel"
    assert config["features"]["input"]["signature"] == one.spec["features"]["input"]["signature"]
    assert config["signature"] == one.signature
    assert config["temperature"] == pytest.approx(one.units()[0]["facts"]["temperature"])
    assert str(one.results) not in (folder / "config.json").read_text() + (folder / "README.md").read_text()


def test_the_card_says_what_the_record_says(trained: dict[str, Run], pushed: dict[str, Path]) -> None:
    one, text = trained["arousal"], (pushed["arousal"] / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    metadata = yaml.safe_load(front)
    interval = score_intervals(one, options=Resampling(bootstrap=200))[0]["arousal"]
    assert (metadata["license"], metadata["library_name"]) == ("cc-by-4.0", "serbench")
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"]["type"] == "table"
    assert result["metrics"][0] == {"type": "ccc", "name": "CCC (arousal)", "value": round(interval.estimate, 4)}
    row = f"| arousal | CCC | {interval.estimate:.3f} | {interval.low:.3f} to {interval.high:.3f} |"
    assert row in body.splitlines()
    assert f"`{one.signature}`" in body
    for heading in ("Trained on", "Scores", "Use it", "Limits", "Licence"):
        assert f"## {heading}" in body
    assert "{" not in body


# Journeys


@pytest.mark.parametrize("task", ["arousal", "emotion"])
def test_a_folder_predicts_as_the_run_did(
    task: str, trained: dict[str, Run], pushed: dict[str, Path], corpus_file: Path, tmp_path: Path
) -> None:
    done = pull(pushed[task], tmp_path / "pulled")
    assert done.run_id == trained[task].run_id
    expect_same(tmp_path / "pulled", trained[task], corpus_file)


def test_an_address_of_a_folder_is_pulled(
    trained: dict[str, Run], pushed: dict[str, Path], corpus_file: Path, tmp_path: Path
) -> None:
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *words: None})
    for address in serving(partial(quiet, directory=str(pushed["arousal"].parent))):
        pull(f"{address}/arousal/", tmp_path / "pulled")
        expect_same(tmp_path / "pulled", trained["arousal"], corpus_file)
        with pytest.raises(SerbenchError, match=r"there is no config\.json"):
            pull(f"{address}/nothing", tmp_path / "other")
    with pytest.raises(SerbenchError, match="can't be reached"):
        pull(f"{address}/arousal", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_repository_of_the_hub_goes_there_and_comes_back(
    hub: type[Hub], trained: dict[str, Run], corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = push(trained["emotion"], "lab/emotions", resamples=200)
    assert done.place == f"{hub.address}/lab/emotions/commit/{commit_of(1)}"
    assert sorted(hub.repositories["lab/emotions"][-1]) == ["README.md", "config.json", "model.safetensors"]
    assert hub.private["lab/emotions"]
    assert len(hub.large) == 1
    back = pull("lab/emotions", tmp_path / "pulled")
    assert commit_of(1)[:12] in back.notes[0]
    expect_same(tmp_path / "pulled", trained["emotion"], corpus_file)
    push(trained["arousal"], "hf://lab/emotions", resamples=200)
    expect_same(Path(pull("lab/emotions").place), trained["arousal"], corpus_file)
    pull("hf://lab/emotions", tmp_path / "old", revision=commit_of(1))
    assert (tmp_path / "old" / "model.safetensors").read_bytes() == weights_of(trained["emotion"]).read_bytes()


def test_a_model_is_loaded_from_a_folder_and_from_the_hub_in_python(
    hub: type[Hub], trained: dict[str, Run], pushed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    push(trained["arousal"], "lab/arousal", public=True, resamples=200)
    assert not hub.private["lab/arousal"]
    here, there = from_pretrained(pushed["arousal"]), from_pretrained("lab/arousal")
    arrays = here.state()[0]
    assert (there.name, there.task, there.config) == (here.name, here.task, here.config)
    assert all(np.array_equal(arrays[key], value) for key, value in there.state()[0].items())
    calls = len(hub.calls)
    from_pretrained("lab/arousal", revision=commit_of(1))
    assert not any(call.startswith("GET") for call in hub.calls[calls:])  # the cache has it


def test_the_commands_talk_to_the_endpoint_of_the_environment(
    hub: type[Hub], trained: dict[str, Run], tmp_path: Path
) -> None:
    """As users do it: another process, HF_ENDPOINT and HF_TOKEN; `--json` and `--quiet` say what they should."""
    given = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()"]
    words = ["push", str(trained["arousal"].path), "lab/own", "--resamples", "100", "--json"]
    done = subprocess.run([*command, *words], env=given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["config"]["run"] == trained["arousal"].run_id
    words = ["pull", "lab/own", "--quiet"]
    done = subprocess.run([*command, *words], env=given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert check(tmp_path / "own", "own")["run"] == trained["arousal"].run_id


# What is refused


def damaged(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))


def shortened(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-40])


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def edited(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"cnn-regressor"', '"linear"'))


def rewritten(folder: Path) -> None:
    """Another description with a checksum that fits, and the same weights."""
    head = json.loads((folder / "config.json").read_text())
    head.pop("checksum")
    head["configuration"] = {}
    (folder / "config.json").write_text(json.dumps({**head, "checksum": checksum(head, {})}))


def of_the_future(folder: Path) -> None:
    head = {**json.loads((folder / "config.json").read_text()), "schema": 9}
    (folder / "config.json").write_text(json.dumps(head))


def climbing(folder: Path) -> None:
    """A description whose files lie elsewhere."""
    head = json.loads((folder / "config.json").read_text())
    head.pop("checksum")
    head["files"]["../../secret"] = head["files"]["model.safetensors"]
    (folder / "config.json").write_text(json.dumps({**head, "checksum": checksum(head, {})}))


def of_transformers(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "wav2vec2"}')
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def no_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe{")


SPOILT = {
    damaged: r"model\.safetensors of '.*' is damaged: it has SHA-256",
    shortened: r"model\.safetensors of '.*' is damaged: it has \d+ bytes, expected \d+",
    without_weights: r"lacks model\.safetensors",
    edited: "was changed: its checksum is wrong",
    rewritten: "are of another model than its config.json says",
    of_the_future: "has schema 9. Expected schema 1",
    climbing: "was changed",
    of_transformers: "its config.json is of another library.*Pickle files .* are never read",
    no_text: "can't be read",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda one: one.__name__)
def test_a_damaged_or_foreign_folder_is_refused(spoil: Callable[[Path], None], copy: Path, tmp_path: Path) -> None:
    spoil(copy)
    for take in (partial(pull, copy, tmp_path / "out"), partial(from_pretrained, copy)):
        with pytest.raises(SerbenchError, match=SPOILT[spoil]):
            take()
    assert not (tmp_path / "out").exists()


def test_a_changed_card_is_anybodys_right(copy: Path, tmp_path: Path) -> None:
    (copy / "README.md").write_text("mine")
    pull(copy, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["README.md", "thesis.tex", "config.json"])
def test_a_folder_of_something_else_is_not_written_into(name: str, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("{}")
    with pytest.raises(SerbenchError, match=f"holds something else than a model: {name}"):
        pull(copy, tmp_path / "other")
    assert (tmp_path / "other" / name).read_text() == "{}"


def test_a_folder_of_a_model_is_replaced(pushed: dict[str, Path], copy: Path) -> None:
    damaged(copy)
    pull(pushed["arousal"], copy)
    assert check(copy, "copy")["task"]["name"] == "arousal"


def refused(*words: Any) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, SerbenchError), done.output
    return str(done.exception)


def test_what_can_not_be_pushed(trained: dict[str, Run], corpus_file: Path, tmp_path: Path) -> None:
    one = trained["arousal"]
    assert "has no weights of trial 3" in refused("push", one.path, tmp_path / "m", "--trial", 3)
    assert "has no such fold. Expected one of: official" in refused("push", one.path, tmp_path / "m", "--fold", "x")
    assert "a web server takes no files" in refused("push", one.path, "https://example.org/model")
    assert "is no repository of the hub. Expected hf://OWNER/NAME" in refused("push", one.path, "hf://model")
    scored = run(dataset="table", weights=[weights_of(one)], root=corpus_file, results=tmp_path, threads=1, trials=1)
    assert "scores given weights" in refused("push", scored[0].path, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_what_can_not_be_pulled(hub: type[Hub], pushed: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no folder '/nowhere'" in refused("pull", "/nowhere", "--out", "m")
    assert "is for a repository of the hub" in refused("pull", pushed["arousal"], "--revision", "main", "--out", "m")
    assert "is the source itself" in refused("pull", pushed["arousal"], "--out", pushed["arousal"])
    assert "the repository 'lab/none' can't be read" in refused("pull", "lab/none")
    hub.repositories["lab/bert"], hub.private["lab/bert"] = [{"config.json": b'{"model_type": "bert"}'}], False
    assert "the repository 'lab/bert' holds no model of serbench" in refused("pull", "lab/bert")
    hub.repositories["lab/empty"], hub.private["lab/empty"] = [{"pytorch_model.bin": b"\x80\x04."}], False
    assert "there is no config.json" in refused("pull", "lab/empty")
    assert "can't be read" in refused("pull", "lab/bert", "--revision", "v9")
    assert not any("pytorch_model.bin" in call for call in hub.calls)
    assert {path.name for path in tmp_path.iterdir()} <= {"hub-cache"}


def test_a_hub_that_does_not_allow_it_says_so(
    hub: type[Hub], trained: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    message = refused("push", trained["arousal"].path, "lab/arousal", "--resamples", 50)
    assert "the repository 'lab/arousal' can't be written" in message
    assert "type ./lab/arousal" in message
    assert "Traceback" not in message

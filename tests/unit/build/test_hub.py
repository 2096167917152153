"""Models of the hub, from a stub of it on this machine: asked for by name only, pinned to a commit, cached."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from assay import catalog
from assay.build import hub
from assay.build.families import build_model
from assay.cli import main
from assay.core.errors import CheckpointError, MissingDependencyError

REPO = "someone/tiny"
OLD, NEW = "a" * 40, "b" * 40
CONFIG = {
    "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip


class Stub(ThreadingHTTPServer):
    """The part of the hub that huggingface_hub asks: commits of revisions, lists of files, files."""

    def __init__(self, commits, revisions):
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits, self.revisions, self.asked = commits, revisions, []

    def commit(self, revision):
        return self.revisions.get(revision, revision if revision in self.commits else None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and "/".join(parts[2:4]) == REPO:
            commit = self.server.commit(parts[5])
            if commit is None:
                return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            files = self.server.commits[commit]
            if parts[4] == "tree":
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
                return self.answer(200, json.dumps(entries).encode())
            about = {"id": REPO, "modelId": REPO, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            return self.answer(200, json.dumps(about).encode())
        if "/".join(parts[:2]) == REPO and parts[2] == "resolve":
            commit = self.server.commit(parts[3])
            data = self.server.commits.get(commit, {}).get("/".join(parts[4:]))
            if commit is None:
                return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            if data is None:
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            return self.answer(200, data, {"X-Repo-Commit": commit, "ETag": etag})
        return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def weights(seed):
    from assay.build.families import tensor_shapes

    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in tensor_shapes(CONFIG).items()}


def move_hub_to(monkeypatch, port):
    from huggingface_hub import constants
    from huggingface_hub.hf_api import api

    address = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(api, "endpoint", address)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A hub with one repository of two commits; `main` is the newer one."""
    commits = {}
    for commit, seed in ((OLD, 1), (NEW, 2)):
        save_file(weights(seed), tmp_path / "w.safetensors")
        commits[commit] = {
            "config.json": json.dumps(CONFIG).encode(),
            "model.safetensors": (tmp_path / "w.safetensors").read_bytes(),
            "pytorch_model.bin": b"a pickle that nobody fetches",
        }
    server = Stub(commits, {"main": NEW, "v1": OLD})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    from huggingface_hub import constants

    move_hub_to(monkeypatch, server.server_address[1])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_branch_is_pinned_to_its_commit_and_cached(stub):
    checkpoint = catalog.open_checkpoint(f"hub:{REPO}")
    assert checkpoint.source.revision == NEW
    assert checkpoint.source.location == f"hub:{REPO}@{NEW}"
    model = build_model(checkpoint)
    assert torch.equal(model.model.norm.weight, weights(2)["model.norm.weight"])
    assert not any("pytorch_model.bin" in path for path in stub.asked), "pickles are not fetched"
    stub.asked.clear()
    again = catalog.open_checkpoint(checkpoint.source.location)
    assert again.source == checkpoint.source
    assert not stub.asked, "a commit that is in the cache asks nobody"


def test_a_tag_and_a_commit_give_that_revision(stub):
    for revision in ("v1", OLD):
        checkpoint = catalog.open_checkpoint(f"hub:{REPO}@{revision}")
        assert checkpoint.source.revision == OLD
        assert torch.equal(checkpoint.tensor("model.norm.weight"), weights(1)["model.norm.weight"])


def test_one_file_is_fetched_alone(stub):
    fetched = hub.fetch(f"hub:{REPO}/model.safetensors@v1")
    assert fetched.path.name == "model.safetensors"
    assert fetched.commit == OLD
    assert fetched.pinned == f"hub:{REPO}/model.safetensors@{OLD}"
    assert not any("config.json" in path for path in stub.asked)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"hub:{REPO}@v9", "no revision 'v9'"),
        ("hub:someone/else", "no repository 'someone/else'"),
        (f"hub:{REPO}/no.gguf", "no file 'no.gguf'"),
        ("hub:tiny", "no hub id"),
        (f"hub:{REPO}/../../x", "no hub id"),
        ("hub:", "no hub id"),
    ],
)
def test_what_the_hub_does_not_have_is_named(stub, name, said):
    with pytest.raises(CheckpointError, match=said):
        hub.fetch(name)


def test_without_a_network_what_was_fetched_is_found_and_the_rest_is_told_of(stub, monkeypatch):
    hub.fetch(f"hub:{REPO}")
    move_hub_to(monkeypatch, 9)  # nobody listens there
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between huggingface_hub's attempts
    assert hub.fetch(f"hub:{REPO}@{NEW}").commit == NEW
    for name in (f"hub:{REPO}@{OLD}", "hub:someone/else", f"hub:{REPO}/x.gguf"):
        with pytest.raises(CheckpointError, match="not in the cache, and the hub cannot be reached"):
            hub.fetch(name)


def test_a_hub_id_without_the_prefix_is_never_fetched(stub):
    with pytest.raises(CheckpointError, match=f"write hub:{REPO}"):
        catalog.open_checkpoint(REPO)
    assert not stub.asked


def test_without_the_extra_the_command_to_install_it_is_said(monkeypatch):
    found = catalog.importlib.util.find_spec
    hidden = lambda name: None if name == "huggingface_hub" else found(name)  # noqa: E731
    monkeypatch.setattr(catalog.importlib.util, "find_spec", hidden)
    with pytest.raises(MissingDependencyError, match=r"assay\[hub\]"):
        catalog.open_checkpoint(f"hub:{REPO}")


def test_a_build_from_the_hub_records_the_commit(stub, tmp_path):
    arguments = ["--store", str(tmp_path / "store"), "build", f"hub:{REPO}@v1", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    source = json.loads((tmp_path / "out" / "artifact.json").read_text())["source"]
    assert (source["revision"], source["location"]) == (OLD, f"hub:{REPO}@{OLD}")

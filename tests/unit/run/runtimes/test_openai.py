"""A server is asked by its address: a real one on loopback, and one that misbehaves in each way that servers do."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from assay.core.errors import EngineError, InputError, UnsupportedError
from assay.core.records import Absent
from assay.run.event_stream import Server
from assay.run.runtimes.openai import OpenAiServer

PROMPT = list(range(10, 30))


class Handler(BaseHTTPRequestHandler):
    """A server with OpenAI's completions; `fault` of its server says how it misbehaves."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._json({"data": [{"id": "fake"}]})

    def do_POST(self):
        fault = self.server.fault
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if fault == "strict" and "ignore_eos" in body:
            return self._json({"error": {"message": "unknown field ignore_eos"}}, 400)
        if fault == "text-only":
            return self._json({"error": {"message": "prompt must be a string"}}, 400)
        n = body["max_tokens"]
        if not body.get("stream"):
            ids = {} if fault == "no-ids" else {"token_ids": list(range(n))}
            return self._json({"choices": [{"text": "x" * n, **ids}]})
        if fault == "busy":
            return self._json({"error": {"message": "no slot is free"}}, 503)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if fault == "silent":
            self.wfile.flush()
            time.sleep(3)
            return None
        said = n - 1 if fault == "short" else n
        pieces = 2 if fault in ("burst", "burst-uncounted") else said
        for index in range(pieces):
            if fault == "garbage" and index == 1:
                self.wfile.write(b"data: <html>\n\n")
                return None
            if fault == "cut" and index == 1:
                return None
            time.sleep(0.002)
            self._event({"choices": [{"text": "x"}]})
        usage = {
            "completion_tokens": said,
            "prompt_tokens": len(body["prompt"]) + (fault == "miscount"),
            "prompt_tokens_details": {"cached_tokens": len(body["prompt"]) - 1 if fault == "cached" else 0},
        }
        if fault != "burst-uncounted":
            self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        return None

    def _event(self, content):
        self.wfile.write(b"data: " + json.dumps(content).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def serve():
    started = []

    def make(fault="", patience_s=10.0):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.fault, server.requests = fault, []
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return OpenAiServer(Server(f"http://127.0.0.1:{server.server_port}/v1", patience_s), 512), server

    yield make
    for server in started:
        server.shutdown()
        server.server_close()


def test_an_honest_server_is_believed(serve):
    engine, server = serve()
    made = engine.generate(PROMPT, 6)
    assert made.tokens == tuple(range(6))
    assert list(made.times_ns) == sorted(set(made.times_ns))
    assert (made.prompt_tokens, made.cached_tokens) == (20, 0)
    assert engine.facts["token_times"] == "each"
    assert engine.facts["prefix_cache"] == "not used"
    assert engine.facts["server_model"] == "fake"
    streamed = [body for body in server.requests if body.get("stream")]
    assert streamed[0]["prompt"] == PROMPT
    assert streamed[0]["temperature"] == 0
    assert not engine.loaded_here


@pytest.mark.parametrize(
    ("fault", "outcome", "words"),
    [
        ("short", "wrong_answer", "6 new tokens were asked for and the server counted 5"),
        ("miscount", "wrong_answer", "the prompt has 20 tokens and the engine counted 21"),
        ("garbage", "wrong_answer", "no JSON object"),
        ("cut", "wrong_answer", "pieces came for 6 tokens"),
        ("burst-uncounted", "wrong_answer", "2 pieces came for 6 tokens"),
        ("busy", "crashed", "no slot is free"),
    ],
)
def test_a_server_that_misbehaves_is_told_in_its_own_words(serve, fault, outcome, words):
    engine, _ = serve(fault)
    with pytest.raises(EngineError) as caught:
        engine.generate(PROMPT, 6)
    assert caught.value.outcome == outcome
    assert words in caught.value.found


def test_a_stream_that_stalls_times_out(serve):
    engine, _ = serve("silent", patience_s=0.3)
    with pytest.raises(EngineError) as caught:
        engine.generate(PROMPT, 6)
    assert caught.value.outcome == "timed_out"


def test_a_cached_prompt_is_told(serve):
    engine, _ = serve("cached")
    made = engine.generate(PROMPT, 6)
    assert made.cached_tokens == 19
    assert engine.facts["cached_prompt_tokens"] == 19
    assert engine.facts["prefix_cache"] == "19 of 20 prompt tokens came from it"


def test_a_burst_keeps_the_first_and_the_last_time_alone(serve):
    engine, _ = serve("burst")
    made = engine.generate(PROMPT, 6)
    assert len(set(made.times_ns)) == 2
    assert engine.facts["token_times"] == "first and last only"


def test_a_server_without_ids_has_no_tokens(serve):
    engine, _ = serve("no-ids")
    assert isinstance(engine.generate(PROMPT, 6).tokens, Absent)


def test_a_strict_server_is_asked_without_the_extras(serve):
    engine, server = serve("strict")
    assert engine.facts["server_options"] == "none beyond OpenAI's"
    engine.generate(PROMPT, 3)
    assert "ignore_eos" not in server.requests[-1]


def test_a_server_that_takes_no_token_ids_is_unsupported(serve):
    with pytest.raises(UnsupportedError, match="prompt must be a string"):
        serve("text-only")


def test_what_is_no_address_and_what_does_not_answer():
    with pytest.raises(InputError, match="no address"):
        Server("localhost:80", 1.0)
    with pytest.raises(EngineError, match="connection failed"):
        OpenAiServer(Server("http://127.0.0.1:1/v1", 1.0), 512)


def test_a_real_server_on_loopback(tmp_path):
    xllamacpp = pytest.importorskip("xllamacpp")
    from assay import api

    config = {
        "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    api.build_to(str(tmp_path / "config.json"), "fp32", tmp_path / "built", format_name="gguf", store=tmp_path / "s")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tmp_path / "built" / "model.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers, parameters.verbosity = 256, 1, 0, 1
    running = xllamacpp.Server(parameters)
    engine = OpenAiServer(Server(f"{running.listening_address}/v1", 60.0), 512)
    first, again = engine.generate(PROMPT, 12), engine.generate(PROMPT, 12)
    assert first.prompt_tokens == len(PROMPT)
    assert again.cached_tokens == 0  # cache_prompt was turned off
    assert len(first.times_ns) == 12
    assert first.tokens == again.tokens

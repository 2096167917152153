"""The runtime `openai`: any server with OpenAI's completions, by its address: vLLM, llama.cpp, ollama, llamafile.

The times are those of a client: from the request to each event of the stream. It refuses batches, answers of another
length than asked, and a prompt that the server counts otherwise; a prompt that comes from a cache is told in the facts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.build.artifact_files import read_artifact
from assay.core.errors import UnsupportedError
from assay.core.records import Absent, Decoding, Measured, Scalar, Target
from assay.run.answers import believed, lied, quoted, whole_numbers
from assay.run.event_stream import Server
from assay.run.probe import Probe
from assay.run.session import Generation

if TYPE_CHECKING:
    from assay.run.session import Generator

RUNTIME = "openai"
PATIENCE_S = 300.0
_PROBE = (1, 2, 3, 4)
"""Tokens of the request by which it is found out what the server takes."""


def probe() -> Probe:
    """Always usable: whether a server answers is told by its row."""
    return Probe(
        usable=True,
        version=Absent(reason="part of Assay"),
        devices=("cpu",),
        facts={"use": "openai:http://127.0.0.1:8080/v1, or --server URL"},
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Generator:
    """Find out what the server of `target.runtime` (`openai:URL`) can do.

    Args:
        directory: an artifact of the format `torch`, for its vocabulary; the server's weights are its own.
        target: its `runtime` holds the address.
        decoding: must be the default: a server decodes as it was started.
        capacity: is left to the server.
        batch: 1.

    Raises:
        UnsupportedError: a batch, or the server takes no token ids.
        EngineError: it cannot be reached, or fails.
    """
    url = target.runtime.partition(":")[2]
    asked = f"ask the server {url}"
    if batch != 1:
        raise UnsupportedError(asked, f"a batch of {batch} was asked for", "Use batch = 1")
    if decoding != Decoding():
        raise UnsupportedError(asked, "a server decodes as it was started", "Leave `decoding` out for it")
    return OpenAiServer(Server(url, PATIENCE_S), read_artifact(directory).contract.vocab_size)


class OpenAiServer:
    """One server, as a `Generator`.

    Args:
        server: with its base address, which ends in `/v1`.
        vocab_size: of the model that it is held against.

    Raises:
        UnsupportedError, EngineError: as `open_session`.
    """

    elsewhere = "the server is a process of its own, perhaps on another machine"
    loaded_here = False
    kv_cache_bytes: Measured = Absent(reason="the server does not tell")

    def __init__(self, server: Server, vocab_size: int) -> None:
        self._server = server
        self._vocab_size = vocab_size
        self._known: dict[tuple[tuple[int, ...], int], tuple[int, ...] | Absent] = {}
        models = server.get("/models").get("data") or [{}]
        named = models[0].get("id") if isinstance(models[0], dict) else None
        self._model = named if isinstance(named, str) else "default"
        self._extras: dict[str, Any] = dict(_EXTRAS)
        extras = self._probe()
        self._facts: dict[str, Scalar] = {
            "loop": "the server's own",
            "runner_weights": "own",
            "server_model": self._model,
            "server_options": extras,
            "prefix_cache": "not seen",
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened; `prefix_cache` says how much of a prompt came from a cache, where the server tells."""
        return self._facts

    def generate(self, tokens: Sequence[int], new_tokens: int) -> Generation:
        """Continue a prompt; see `session.Generator`. Raises EngineError, UnsupportedError."""
        asked = f"{new_tokens} tokens after a prompt of {len(tokens)} from {self._server.url}"
        started_ns = time.perf_counter_ns()
        arrivals: list[tuple[int, int | None]] = []
        usage: Mapping[str, Any] = {}
        for event in self._server.stream("/completions", self._request(tokens, new_tokens, stream=True)):
            usage = event.content.get("usage") or usage
            if _text(event.content):
                arrivals.append((event.arrived_ns, _count_so_far(event.content)))
        elapsed_ns = time.perf_counter_ns() - started_ns
        if not arrivals:
            raise lied(asked, "the stream ended without a token")
        told = usage.get("completion_tokens")
        if isinstance(told, int) and told != new_tokens:
            raise lied(asked, f"{new_tokens} new tokens were asked for and the server counted {told}", _LENGTH)
        times_ns, how = _times(arrivals, new_tokens)
        if not isinstance(told, int) and how != "each":
            raise lied(
                asked, f"{len(arrivals)} pieces came for {new_tokens} tokens, and the server counts none", _LENGTH
            )
        made = Generation(
            tokens=self._ids(tokens, new_tokens, asked),
            times_ns=times_ns,
            prompt_tokens=_told(usage, "prompt_tokens", asked),
            cached_tokens=_told(usage.get("prompt_tokens_details") or {}, "cached_tokens", asked),
        )
        made = believed(made, len(tokens), new_tokens, self._vocab_size, elapsed_ns, asked)
        self._note(made, how, len(tokens))
        return made

    def close(self) -> None:
        """The server goes on: it was there before."""

    def _note(self, made: Generation, how: str, prompt: int) -> None:
        told: dict[str, Scalar] = {"token_times": how}
        if isinstance(made.cached_tokens, Absent):
            told["prefix_cache"] = "the server does not tell"
        elif made.cached_tokens:
            told["prefix_cache"] = f"{made.cached_tokens} of {prompt} prompt tokens came from it"
            told["cached_prompt_tokens"] = made.cached_tokens
        else:
            told["prefix_cache"] = "not used"
        if "cached_prompt_tokens" in self._facts:  # once seen, the row says so
            told.pop("prefix_cache")
        self._facts = {**self._facts, **told}

    def _probe(self) -> str:
        """Ask for two tokens, first with the options that some servers know, then without; which of them it takes."""
        try:
            self._server.post("/completions", self._request(_PROBE, 2, stream=False))
        except UnsupportedError:
            self._extras = {}
            self._server.post("/completions", self._request(_PROBE, 2, stream=False))
            return "none beyond OpenAI's"
        return ", ".join(_EXTRAS)

    def _ids(self, tokens: Sequence[int], new_tokens: int, asked: str) -> tuple[int, ...] | Absent:
        """Ids of the answer, asked for once more and not timed: a stream tells texts."""
        key = (tuple(tokens), new_tokens)
        if key not in self._known:
            request = {**self._request(tokens, new_tokens, stream=False), "logprobs": 1}
            try:
                told = self._server.post("/completions", request)
            except UnsupportedError:
                self._known[key] = Absent(reason="the server names no token ids")
            else:
                self._known[key] = _ids_of(told, new_tokens, asked)
        return self._known[key]

    def _request(self, tokens: Sequence[int], new_tokens: int, *, stream: bool) -> dict[str, Any]:
        streaming = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        return {
            "model": self._model,
            "prompt": list(tokens),
            "max_tokens": new_tokens,
            "temperature": 0,
            **self._extras,
            **streaming,
        }


_LENGTH = "Start it with a context that is long enough, and with a model that does not end by itself"
_EXTRAS = {"ignore_eos": True, "cache_prompt": False, "timings_per_token": True, "return_token_ids": True}
"""Beyond OpenAI's: of llama.cpp and vLLM."""


def _text(content: Mapping[str, Any]) -> str:
    choices = content.get("choices") or [{}]
    text = choices[0].get("text") if isinstance(choices[0], dict) else None
    return text if isinstance(text, str) else ""


def _count_so_far(content: Mapping[str, Any]) -> int | None:
    """Tokens up to this event, where the server counts along; None where it does not."""
    count = (content.get("timings") or {}).get("predicted_n")
    return count if isinstance(count, int) else None


def _times(arrivals: Sequence[tuple[int, int | None]], new_tokens: int) -> tuple[tuple[int, ...], str]:
    """A time for each token, and how it is known.

    A piece of text may hold several tokens, which came at once. Where nobody counts them, only the first and the last
    time are known, and the mean between them is all that is measured.
    """
    counts = [count for _, count in arrivals]
    if all(count is not None for count in counts):
        times: list[int] = []
        for arrived_ns, count in arrivals:
            times += [arrived_ns] * max(0, (count or 0) - len(times))
        times += [arrivals[-1][0]] * (new_tokens - len(times))  # its text was never whole
        return tuple(times[:new_tokens]), "each" if len(arrivals) == new_tokens else "some at once"
    if len(arrivals) == new_tokens:
        return tuple(arrived_ns for arrived_ns, _ in arrivals), "each"
    return (arrivals[0][0], *[arrivals[-1][0]] * (new_tokens - 1)), "first and last only"


def _told(content: Mapping[str, Any], name: str, asked: str) -> int | Absent:
    if content.get(name) is None:
        return Absent(reason=f"the server does not tell {name}")
    [number] = whole_numbers([content[name]], name, asked)
    return number


def _ids_of(told: Mapping[str, Any], new_tokens: int, asked: str) -> tuple[int, ...] | Absent:
    """Token ids in an answer: vLLM's `token_ids`, or llama.cpp's `logprobs.content[i].id`."""
    choice = (told.get("choices") or [{}])[0]
    if not isinstance(choice, dict):
        raise lied(asked, f"its first choice is {quoted(choice)}")
    if choice.get("token_ids") is not None:
        return whole_numbers(choice["token_ids"], "token_ids", asked)
    listed = (choice.get("logprobs") or {}).get("content")
    if isinstance(listed, list) and all(isinstance(item, dict) and "id" in item for item in listed):
        ids = whole_numbers([item["id"] for item in listed], "ids", asked)
        if len(ids) == new_tokens:
            return ids
    return Absent(reason="the server names no token ids")

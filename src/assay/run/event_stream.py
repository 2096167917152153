"""Requests to a server that answers with a stream of events, each with its arrival; patience ends.

It refuses what is no JSON, and every status but 200: with the server's own words.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assay.core.errors import EngineError, InputError, UnsupportedError
from assay.run.answers import lied, quoted

_DATA = b"data:"
_END = b"[DONE]"
_LONGEST_LINE = 64 << 20
_LONGEST_ANSWER = 256 << 20
_REFUSALS = range(400, 500)


@dataclass(frozen=True)
class Event:
    """One event of an answer."""

    arrived_ns: int
    """Since the request was begun, on our clock."""
    content: Mapping[str, Any]


class Server:
    """An HTTP server by its base address. Each request has a connection of its own.

    Args:
        url: `http://host:port/path`, or https.
        patience_s: longest silence.

    Raises:
        InputError: no such address.
    """

    def __init__(self, url: str, patience_s: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"The server {url!r} was asked for", "it is no address", "Write http://host:port/v1")
        self.url = url.rstrip("/")
        self._https = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._patience_s = patience_s

    def get(self, path: str) -> Mapping[str, Any]:
        """A JSON object. Raises EngineError or UnsupportedError."""
        asked = f"GET {self.url}{path}"
        connection, response = self._open("GET", path, None, asked)
        try:
            return _object(response.read(_LONGEST_ANSWER), asked)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(asked, error) from None
        finally:
            connection.close()

    def wait_for(self, path: str) -> None:
        """Wait for an answer, whatever it holds. Raises EngineError or UnsupportedError."""
        asked = f"GET {self.url}{path}"
        connection, response = self._open("GET", path, None, asked)
        try:
            response.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(asked, error) from None
        finally:
            connection.close()

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The JSON object that answers a request. Raises EngineError or UnsupportedError."""
        asked = f"POST {self.url}{path}"
        connection, response = self._open("POST", path, body, asked)
        try:
            return _object(response.read(_LONGEST_ANSWER), asked)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(asked, error) from None
        finally:
            connection.close()

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Event]:
        """The events of an answer as they come. The clock starts before the connection is made.

        Raises:
            UnsupportedError: the server refuses the request (status 4xx).
            EngineError: it cannot be reached, fails, falls silent, or sends what is no event.
        """
        asked = f"POST {self.url}{path}"
        started_ns = time.perf_counter_ns()
        connection, response = self._open("POST", path, body, asked)
        try:
            while line := response.readline(_LONGEST_LINE):
                arrived_ns = time.perf_counter_ns() - started_ns
                if not line.startswith(_DATA):
                    continue
                payload = line[len(_DATA) :].strip()
                if payload == _END:
                    return
                yield Event(arrived_ns, _object(payload, asked))
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(asked, error) from None
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, asked: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._patience_s)
        text = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if text is not None else {}
        try:
            connection.request(method, f"{self._path}{path}", text, headers)
            response = connection.getresponse()
            if response.status == http.client.OK:
                return connection, response
            words = response.read(1 << 16).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._broken(asked, error) from None
        connection.close()
        found = f"the server answered with status {response.status}: {quoted(_words(words))}"
        if response.status in _REFUSALS:
            raise UnsupportedError(asked, found, "Ask it for what it can do")
        raise EngineError(asked, found, "See the server's own log", "crashed")

    def _broken(self, asked: str, error: Exception) -> EngineError:
        if isinstance(error, TimeoutError):
            found = f"the server said nothing for {self._patience_s:.0f} s"
            return EngineError(asked, found, "Look at what it waits for", "timed_out")
        said = str(error) or type(error).__name__
        return EngineError(
            asked, f"the connection failed: {said}", "Start the server, and check its address", "crashed"
        )


def _words(text: str) -> str:
    """The message of an error as servers of this kind write it, or the text itself."""
    try:
        content = json.loads(text)
    except ValueError:
        return text
    error = content.get("error", content) if isinstance(content, dict) else content
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _object(text: bytes, asked: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise lied(
            asked, f"the server sent {quoted(text.decode(errors='replace'))}, no JSON object", "Check its address"
        )
    if "error" in content and "choices" not in content:
        said = quoted(_words(json.dumps(content)))
        raise EngineError(asked, f"the server says {said}", "See its own log", "crashed")
    return content

"""Stands in for the xllamacpp package: it starts at once and answers like llama-server, a word at a time.

A file ``fault`` beside it says what is wrong with this build, by name.
A file ``pace`` in the home says how many seconds it takes to load and how many an answer takes; while there is a file
``hold``, no answer ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WORDS = 10
HOLD, PACE = (Path(__file__).parents[3] / name for name in ("hold", "pace"))
FAULT = Path(__file__).with_name("fault")


def fault() -> str:
    return FAULT.read_text() if FAULT.exists() else ""


def CommonParams() -> SimpleNamespace:  # noqa: N802  # the package's name
    return SimpleNamespace(model=SimpleNamespace(path=""), cpuparams=SimpleNamespace(n_threads=1), n_ctx=0)


def pace() -> tuple[float, float]:
    load_s, answer_s = PACE.read_text().split() if PACE.exists() else ("0", "0")
    return float(load_s), float(answer_s)


class Answers(BaseHTTPRequestHandler):
    """Answers as the server whose facts a subclass holds."""

    protocol_version = "HTTP/1.1"
    key: str
    alias: str
    context: int
    answer_s: float
    busy: list[int]

    def do_GET(self) -> None:
        pages: dict[str, object] = {
            "/props": {"model_alias": self.alias, "default_generation_settings": {"n_ctx": self.context}},
            "/slots": [{"is_processing": bool(self.busy)}],
        }
        if self.path == "/health":
            self.say(200, {"status": "ok"})
        elif self.headers.get("Authorization") != f"Bearer {self.key}":
            self.say(401, {})
        else:
            self.say(200, pages.get(self.path, {"data": [{"id": self.alias}]}))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {self.key}":
            self.say(401, {})
        elif asked.get("stream"):
            self.busy.append(1)
            self.stream()
            self.busy.pop()
        else:
            told = {"role": "assistant", "content": "@" * 12 if fault() == "nonsense" else "Hi"}
            self.say(200, {"choices": [{"message": told}], "usage": {"completion_tokens": 1}})

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(WORDS):
            time.sleep(self.answer_s / WORDS)
            while number == WORDS - 1 and HOLD.exists():
                time.sleep(0.02)
            ends = "stop" if number == WORDS - 1 else None
            self.event({"choices": [{"index": 0, "delta": {"content": f"{number} "}, "finish_reason": ends}]})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, document: object) -> None:
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()

    def say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server:
    def __init__(self, parameters: Any) -> None:
        load_s, answer_s = pace()
        time.sleep(load_s)
        if fault() == "illegal":
            os.kill(os.getpid(), signal.SIGILL)
        if fault() == "library":
            sys.exit("libcublas.so.13: cannot open shared object file: No such file or directory")
        if fault() == "model":
            sys.exit("unknown model architecture")
        facts = {
            "key": parameters.api_keys[0],
            "alias": next(iter(parameters.model_alias)),
            "context": 256 if fault() == "short" else parameters.n_ctx,
            "answer_s": answer_s,
            "busy": [],
        }
        server = ThreadingHTTPServer(("127.0.0.1", parameters.port), type("Handler", (Answers,), facts))
        threading.Thread(target=server.serve_forever, daemon=True).start()

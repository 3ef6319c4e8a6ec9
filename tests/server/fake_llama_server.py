"""A stand-in for ``llama-server``: the same flags and routes, and a fault when its model file asks for one.

The model file is a JSON object: ``fault`` names what goes wrong, ``ready_when`` a file without which it is loading.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VALUED = ("--host", "--port", "--model", "--alias", "--ctx-size", "--parallel", "--cors-origins", "--gpu-layers")
SWITCHES = ("--offline", "--no-webui")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    if "--help" in sys.argv:
        say(" ".join((*VALUED, *SWITCHES)))
        return
    parser = argparse.ArgumentParser()
    for flag in VALUED:
        parser.add_argument(flag)
    for flag in SWITCHES:
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    plan = json.loads(Path(options.model).read_text(encoding="utf-8"))
    say(f"fake: model {options.model}")
    misbehave(plan.get("fault"))
    serve(options, plan)


def misbehave(fault: str | None) -> None:
    if fault == "dies":
        say(f"fake: cannot load, my key is {os.environ['LLAMA_API_KEY']}")
        sys.exit(3)
    if fault == "deaf":
        threading.Event().wait()
    if fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("fake: stubborn")
    if fault == "forks" and os.fork() == 0:
        os.setsid()
        threading.Event().wait()


def compute(fault: str | None) -> None:
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def serve(options: argparse.Namespace, plan: dict[str, Any]) -> None:
    fault, ready_when = plan.get("fault"), plan.get("ready_when")
    key = os.environ["LLAMA_API_KEY"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if ready_when and not Path(ready_when).exists():
                self.say(503, {"error": {"message": "Loading model"}})
            elif self.path == "/health":
                self.say(200, {"status": "ok"})
            elif fault != "open" and self.headers.get("Authorization") != f"Bearer {key}":
                self.say(401, {"error": {"message": "Invalid API Key"}})
            elif self.path == "/props":
                context = int(options.ctx_size)
                self.say(200, {"default_generation_settings": {"n_ctx": context}, "model_alias": options.alias})
            else:
                self.say(200, [] if self.path == "/slots" else {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            compute(fault)
            if fault == "mute":
                self.say(500, {"error": {"message": "cannot decode"}})
            else:
                self.say(200, {"choices": [{"message": {"content": "Hi"}}], "usage": {"completion_tokens": 1}})

        def say(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer((options.host, int(options.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()

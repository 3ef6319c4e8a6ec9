"""What the two units run, run: the LLM's command, its readiness, the API's command, its readiness, and an answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix
FAKE = Path(__file__).parents[1] / "server" / "fake_llama_server.py"
STREAMED = """        def streamed(self, document):
            if self.command != "POST" or "choices" not in document:
                return json.dumps(document).encode()
            event = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}
            return b"data: " + json.dumps(event).encode() + b"\\n\\ndata: [DONE]\\n\\n"

        def log_message("""
# The model is a file of the store, the flags are the module's, the key comes in a file, and an answer is streamed.
CHANGES = {
    'json.loads(Path(options.model).read_text(encoding="utf-8"))': "{}",
    "parser.parse_args()": "parser.parse_known_args()[0]",
    "body = json.dumps(document).encode()": "body = self.streamed(document)",
    "        def log_message(": STREAMED,
    'os.environ["LLAMA_API_KEY"]': 'Path(sys.argv[sys.argv.index("--api-key-file") + 1]).read_text().strip()',
}

PARTS = """(import (project + "/nix/modules/parts.nix") rec {
  inherit (pkgs) lib;
  inherit pkgs;
  scope = import (project + "/nix/modules/scope.nix") { inherit pkgs; flake = "/f"; };
  cfg = {
    engine = "llama-cpp"; model = pkgs.writeText "tiny.gguf" "weights"; models = [ ]; context = 1024;
    host = "127.0.0.1"; port = PORT; llmPort = LLM; stateDir = "STATE"; environment = { }; extraArguments = [ ];
    package = scope.concierge; enginePackage = scope.engines.llama-cpp.cpu; settings = { };
  };
})"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def serving(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Nix:
    """Return Nix with a stub whose llama-server answers."""
    if nix.real or not nix.value('builtins.match ".*-linux" builtins.currentSystem != null'):
        pytest.skip("the stand-in for the engine is the stub's, and systemd is Linux's")
    folder = tmp_path_factory.mktemp("units")
    program = FAKE.read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        assert old in program
        program = program.replace(old, new)
    server = folder / "llama-server"
    server.write_text(f"#!{sys.executable} -IS\n{program}", encoding="utf-8")
    server.chmod(0o755)
    stub = folder / "nixpkgs"
    shutil.copytree(nix.nixpkgs, stub)
    host = f"{{ python = {json.dumps(sys.executable)}; server = {json.dumps(str(server))}; }}\n"
    (stub / "host.nix").write_text(host, encoding="utf-8")
    return dataclasses.replace(nix, nixpkgs=stub)


@contextlib.contextmanager
def unit(*words: str | Path, environ: dict[str, str], ready: list[str | Path]) -> Iterator[None]:
    """Start a command as systemd does, and wait for what says that it is ready."""
    with subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as main:
        try:
            waiting = {**environ, "MAINPID": str(main.pid)}
            done = subprocess.run(ready, env=waiting, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:
                main.kill()
                pytest.fail(f"{words[0]} did not get ready: {main.communicate(timeout=10)[1]}{done.stderr}")
            yield
        finally:
            main.terminate()
            main.communicate(timeout=20)


def asked(url: str, token: str, body: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, json.load(answer)


def test_the_api_reaches_the_llm_with_the_key_that_both_units_share(serving: Nix, tmp_path: Path) -> None:
    port, llm = free_ports(2)
    text = PARTS.replace("PORT", str(port)).replace("LLM", str(llm)).replace("STATE", str(tmp_path / "state"))
    part = {name: serving.built(f"{text}.{name}") for name in ("makeSecret", "llm", "llmReady", "api", "apiReady")}
    config = serving.built(f"{text}.config")
    client = serving.built(f'({text}.client "{tmp_path / "llm" / "key"}")')
    key, token = tmp_path / "llm" / "key", tmp_path / "api" / "token"
    for secret in (key, token):
        subprocess.run([part["makeSecret"], secret], check=True, timeout=10)
        assert secret.stat().st_mode & 0o777 == 0o640
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    api = {**environ, "CONCIERGE_HOME": str(tmp_path / "home"), "CONCIERGE_CONFIG_PATH": str(config)}
    with (
        unit(part["llm"], key, environ=environ, ready=[part["llmReady"], key]),
        unit(part["api"], token, key, environ=api, ready=[part["apiReady"]]),
    ):
        url = f"http://127.0.0.1:{port}"
        status, run = asked(f"{url}/runs?wait=true", token.read_text(encoding="utf-8"), {"task": "Say hi."})
        # Somebody else on this machine, who has nothing but the machine's own file.
        person = {**environ, "HOME": str(tmp_path / "ada"), "CONCIERGE_SYSTEM_CONFIG_PATH": str(client)}
        (tmp_path / "ada").mkdir()
        theirs = subprocess.run(
            [serving.build("concierge") / "bin" / "concierge", "run", "Say hi."],
            env=person, cwd=tmp_path / "ada", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (theirs.returncode, theirs.stdout.strip()) == (0, "Hi"), theirs.stderr
    assert (status, run["status"], run["text"]) == (200, "done", "Hi"), run
    assert (tmp_path / "state" / "workspace" / "runs" / str(run["id"])).is_dir()

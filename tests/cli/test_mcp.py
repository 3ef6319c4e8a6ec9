"""The tools of a real MCP server through the command line, with a server of the model that is scripted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.peer import peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.peer import Peer, Said

PROGRAM = str(Path(__file__).parents[1] / "agent" / "mcp" / "server.py")


def whole(**message: Any) -> Said:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return 200, {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


def call(name: str, arguments: dict[str, Any]) -> Said:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return whole(content=None, tool_calls=[{"id": "c", "type": "function", "function": function}])


@pytest.fixture
def model() -> Iterator[Peer]:
    """A model that adds with the server's tool, then answers."""
    asked_how = call("read", {"path": "notes.txt"})
    talk = [asked_how, call("add", {"a": 20, "b": 22}), whole(content="It is 42.")]
    models: Said = (200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
    with peer(lambda line, _: talk if line.startswith("POST") else models) as made:
        made.headers["Content-Type"] = "application/json"
        yield made


def run(model: Peer, tmp_path: Path, *flags: str, servers: str) -> subprocess.CompletedProcess[str]:
    own = tmp_path / ".config" / "concierge"
    own.mkdir(parents=True, exist_ok=True)
    (own / "concierge.toml").write_text(servers, encoding="utf-8")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environ = {"HOME": str(tmp_path), "CONCIERGE_HOME": str(tmp_path / "state"), "CONCIERGE_LLM_MODEL": "m"}
    return subprocess.run(
        [sys.executable, "-m", "concierge", "run", *flags, "What is 20 + 22?"],
        env={**kept, **environ, "CONCIERGE_LLM_BASE_URL": model.base_url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_run_calls_the_tools_of_a_server_beside_its_own(model: Peer, tmp_path: Path) -> None:
    servers = f"[mcp.servers.things]\ncommand = [{sys.executable!r}, {PROGRAM!r}]\ntools = ['add']\n"
    done = run(model, tmp_path, servers=servers)
    assert (done.returncode, done.stdout) == (0, "It is 42.\n"), done.stderr
    assert "  add 20  (14 characters" in done.stderr
    offered = [tool["function"]["name"] for tool in model.bodies[1]["tools"]]
    assert offered[-1] == "add"
    assert "read" in offered
    assert model.bodies[2]["messages"][-1]["content"] == "The sum is 42."


def test_a_model_that_nobody_measured_is_asked_once_how_it_acts(model: Peer, tmp_path: Path) -> None:
    first = run(model, tmp_path, servers="")
    assert "m is asked once how it acts.\nIt acts by tool calls" in first.stderr
    asked = len(model.bodies)
    again = run(model, tmp_path, servers="")
    assert "asked once" not in again.stderr
    assert len(model.bodies) == asked + 1


def test_a_run_without_tools_starts_no_server(model: Peer, tmp_path: Path) -> None:
    started = tmp_path / "started"
    done = run(model, tmp_path, "--no-tools", servers=f"[mcp.servers.things]\ncommand = ['touch', '{started}']\n")
    assert "MCP" not in done.stderr
    assert not started.exists()


def test_what_speaks_to_servers_is_named_where_it_is_not_installed(model: Peer, tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')\n")
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n")
    done = subprocess.run(
        [sys.executable, "-m", "concierge", "run", "hello"],
        env={
            **{name: os.environ[name] for name in ("PATH",) if name in os.environ},
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
            "HOME": str(tmp_path),
            "CONCIERGE_HOME": str(tmp_path / "state"),
            "CONCIERGE_TRUST": "true",
            "CONCIERGE_LLM_MODEL": "m",
            "CONCIERGE_LLM_BASE_URL": model.base_url,
            "CONCIERGE_CONFIG_PATH": str(servers_file(tmp_path)),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "`mcp.servers` is set, and mcp is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def servers_file(folder: Path) -> Path:
    file = folder / "servers.toml"
    file.write_text("[mcp.servers.x]\ncommand = ['x']\n", encoding="utf-8")
    return file

"""The fabric's contracts: what keeps it free of any one backend, and its traces in one place."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import concierge
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.client import OllamaChatClient, OpenAICompatibleChatClient
from concierge.chat.fake import FakeChat
from concierge.chat.port import ChatClient, Reply
from concierge.config.keys import Config, known_keys
from concierge.config.sources import load
from concierge.river.river import River

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


SOURCE = Path(concierge.__file__).parent
AGENT = sorted((SOURCE / "agent").rglob("*.py"))
BACKENDS = ("ollama", "llama", "vllm", "openai", "litellm", "azure")


class OnlyChat:
    """A client that has ``chat`` and nothing else, not even the port's options by name."""

    def __init__(self) -> None:
        self.calls: list[tuple[Sequence[Mapping[str, Any]], str]] = []

    async def chat(self, messages: Sequence[Mapping[str, Any]], model: str, **options: Any) -> Reply:
        self.calls.append((messages, model))
        return Reply("Paris.")


@pytest.mark.parametrize("module", AGENT, ids=lambda path: path.name)
def test_the_agent_knows_the_port_and_no_client(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in imported if name.startswith("concierge.chat")} <= {"concierge.chat.port"}
    # The launcher of the sandbox brings the loopback of its own namespace up, and speaks with nobody.
    sockets = set() if "launcher" in module.parts else {"socket"}
    assert not {"httpx", "urllib.request", "http.client", *sockets} & imported


def test_the_agent_uses_chat_and_nothing_else_of_its_client() -> None:
    used = {
        node.attr
        for module in AGENT
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id == "chat")
            or (isinstance(node.value, ast.Attribute) and node.value.attr == "_chat")
        )
    }
    assert used == {"chat"}


def test_a_client_that_has_only_chat_runs_a_task(tmp_path: Path) -> None:
    client = OnlyChat()
    chat: ChatClient = client
    result = asyncio.run(run_task(chat, Task("Capital of France?", "any name"), workspace_root=tmp_path))
    assert (result.status, result.text) == ("done", "Paris.")
    ((messages, model),) = client.calls
    assert {"role": "user", "content": "Capital of France?"} in messages
    assert model == "any name"


def test_the_seeds_client_is_the_one_client() -> None:
    assert OllamaChatClient is OpenAICompatibleChatClient


def test_ensuring_the_llm_is_on_by_default() -> None:
    assert Config().llm.local_llm_ensure_available is True


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        ("http://localhost:11434/v1", "qwen3:4b"),
        ("http://127.0.0.1:8080/v1", "any.gguf"),
        ("http://gpu.local:8000/v1", "Qwen/Qwen3-4B"),
        ("https://api.example.com/v1", "large"),
    ],
)
def test_two_keys_name_any_backend_and_the_request_is_the_same(tmp_path: Path, base_url: str, model: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"base_url": base_url, "model": model}))
    llm = load(environ={"CONCIERGE_CONFIG_PATH": str(tmp_path / "c.json"), "HOME": str(tmp_path)}).llm
    endpoint = llm.endpoint(model=llm.model, environ={})
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]})

    async def ask() -> str:
        async with OpenAICompatibleChatClient(endpoint, transport=httpx.MockTransport(answer)) as chat:
            return await chat.chat([{"role": "user", "content": "?"}], endpoint.model)

    assert asyncio.run(ask()) == "Yes."
    (request,) = asked
    assert str(request.url) == f"{base_url}/chat/completions"
    assert json.loads(request.content)["model"] == model


def test_no_key_of_the_configuration_belongs_to_one_backend() -> None:
    keys = [key[-1] for key in known_keys()]
    assert "base_url" in keys
    assert [key for key in keys if any(backend in key for backend in BACKENDS)] == []


def test_where_ensuring_the_llm_is_off_the_configured_server_is_named_and_nothing_is_asked(tmp_path: Path) -> None:
    settings = {"local_llm_ensure_available": False, "model": "any name", "base_url": "http://127.0.0.1:1/v1"}
    environ = {"HOME": str(tmp_path), "CONCIERGE_HOME": str(tmp_path / "home")}
    river = River.open(tmp_path, {f"llm.{name}": value for name, value in settings.items()}, environ=environ)
    for model in (None, "another"):
        endpoint = river.endpoint(model)
        assert (endpoint.base_url, endpoint.model) == (settings["base_url"], model or "any name")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("script", [["Yes."], [""], [OSError("gone")]], ids=["done", "stopped", "crashed"])
def test_a_run_leaves_its_directory_below_runs_and_nothing_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: list[str | Exception]
) -> None:
    root = tmp_path / "root"
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    try:
        asyncio.run(run_task(FakeChat(script), Task("t", "m"), workspace_root=root))
    except OSError:
        assert len(script) == 1
    (run,) = (root / "runs").iterdir()
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    inside = {run / "events.jsonl", run / "result.json", run / "workspace"}
    assert made == {path.relative_to(tmp_path) for path in {root, root / "runs", run} | inside}

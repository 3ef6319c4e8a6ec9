from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concierge.agent.mcp.trimmed import ARGUMENT_CHARS, DESCRIPTION_CHARS, NAME_CHARS, identifier, trimmed
from concierge.agent.protocols.forced_json import ForcedJson
from concierge.agent.protocols.port import OWN
from concierge.agent.protocols.shell_block import ShellBlock
from concierge.agent.tools import TOOLS
from concierge.chat.port import Reply

NOTE = {
    "type": "object",
    "title": "createArguments",
    "$defs": {"Author": {"type": "object", "properties": {"name": {"type": "string"}}, "description": "Who wrote it."}},
    "properties": {
        "text": {"type": "string", "title": "Text", "description": f"What it says. {'More. ' * 60}"},
        "author": {"anyOf": [{"$ref": "#/$defs/Author"}, {"type": "null"}], "default": None},
        "tags": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "level": {"type": ["integer", "null"], "default": 3},
        "kind": {"enum": ["a", "b"]},
    },
    "required": ["text", "gone"],
    "additionalProperties": False,
}


def test_a_schema_keeps_types_and_the_first_words_and_loses_the_rest() -> None:
    function = trimmed("create", f"Create a note.\n\n{'Prose. ' * 200}", NOTE)["function"]
    assert function["description"] == "Create a note."
    properties = function["parameters"]["properties"]
    assert properties.pop("text")["description"].endswith(" …")
    assert properties == {
        "author": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "description": "Who wrote it.",
        },
        "tags": {"type": "array", "items": {"type": "string"}},
        "level": {"type": "integer"},
        "kind": {"type": "string", "enum": ["a", "b"]},
    }
    assert function["parameters"]["required"] == ["text"]


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}}
    parameters = trimmed("plant", None, {"$defs": {"Tree": tree}, **tree})["function"]["parameters"]
    assert len(json.dumps(parameters)) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "$ref", "anyOf", "enum", "required", "description", "$defs"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["properties", "required", "$defs", "type"]), JSON))
def test_any_schema_becomes_one_that_every_protocol_can_teach(schema: dict[str, Any]) -> None:
    tool = trimmed("name", "Do it.", schema)
    assert ForcedJson().options([tool])["response_format"]
    for protocol in (ForcedJson(), ShellBlock()):
        assert any("- name {" in str(message["content"]) for message in protocol.taught([tool]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.text(max_size=10), st.integers(0, 5))
def test_any_name_becomes_an_identifier_that_is_free(name: str, server: str, others: int) -> None:
    taken: set[str] = set()
    for _ in range(others + 1):
        made = identifier(name, server=server, taken=taken)
        assert made not in taken
        assert len(made) <= NAME_CHARS
        assert made.isascii()
        taken.add(made)


def test_what_a_run_has_of_its_own_is_what_the_protocols_take_for_its_own() -> None:
    assert set(TOOLS) == OWN


@pytest.mark.parametrize(
    "block",
    [
        'json\n{"name": "add", "arguments": {"a": 1, "b": 2}}',
        'bash\nadd {"a": 1, "b": 2}',
        'bash\n{"name": "add", "arguments": {"a": 1, "b": 2}}',
    ],
)
def test_a_model_that_writes_shell_commands_calls_the_tools_of_others_in_a_block(block: str) -> None:
    tool = trimmed("add", "Add two numbers.", {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}})
    reading = ShellBlock().read(Reply(f"I add them.\n\n```{block}\n```"), [tool], last="")
    assert [(call.name, json.loads(call.arguments)) for call in reading.calls] == [("add", {"a": 1, "b": 2})]


def test_descriptions_are_short() -> None:
    long = trimmed("x", "word " * 500, {"properties": {"a": {"description": "word " * 500}}})["function"]
    assert len(long["description"]) <= DESCRIPTION_CHARS + 2
    assert len(long["parameters"]["properties"]["a"]["description"]) <= ARGUMENT_CHARS + 2

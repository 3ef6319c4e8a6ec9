"""The world outside is input: commands under surroundings that nobody planned for say the cause, in one sentence.

No cell may show a fault of concierge or a traceback; one that fails ends with a documented code and names its cause.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec

pytestmark = [pytest.mark.field, pytest.mark.skipif(sys.platform != "linux", reason="surroundings of Linux")]

CODES = {0, 1, 2, 3, 4, 5, 130}

COMMANDS = {
    name: words.split()
    for name, words in {
        "status": "status",
        "plan": "plan --model smollm2-135m",
        "config show": "config show",
        "runs list": "runs list",
        "doctor": "doctor",
        "lock": f"lock --model hf:o/r/m.gguf@{'0' * 40}",
        "up": "up --base-url http://127.0.0.1:9/v1 --model m",
    }.items()
}


class World:
    """A folder, a home and an environment that a test spoils."""

    def __init__(self, root: Path) -> None:
        self.folder, self.home = root / "project", root / "home"
        self.state = self.home / ".local" / "share" / "concierge"
        for place in (self.folder, self.state):
            place.mkdir(parents=True)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "OLLAMA_HOST": "127.0.0.1:9",
            # Nothing leaves this machine, and whoever tries is told so at once.
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }
        self.handles: int | None = None

    def __call__(self, *words: str) -> tuple[int, str]:
        def bounded() -> None:
            if self.handles is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.handles, self.handles))

        command = [sys.executable, "-m", "concierge", *words]
        done = subprocess.run(
            command, env=self.environ, cwd=self.folder, capture_output=True, timeout=60, check=False, preexec_fn=bounded
        )
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def must(self, name: str, *causes: str) -> None:
        """Run a command; where it fails, one of the causes is in what it says."""
        code, told = self(*COMMANDS[name])
        assert "has a bug" not in told, told
        assert "Traceback" not in told, told
        assert code in CODES, told
        if code and causes:
            assert any(cause in told for cause in causes), told


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


SURROUNDINGS: dict[str, tuple[dict[str, str | None], str]] = {
    "a SOCKS proxy": ({"ALL_PROXY": "socks5://127.0.0.1:9", "HTTPS_PROXY": None}, "ALL_PROXY"),
    "an unknown proxy": ({"HTTPS_PROXY": "gopher://x"}, "HTTPS_PROXY"),
    "a dead proxy": ({}, "HTTPS_PROXY"),
    "a proxy with a password": ({"HTTPS_PROXY": "http://me:word@127.0.0.1:9"}, "HTTPS_PROXY"),
    "a certificate file that is not there": ({"SSL_CERT_FILE": "/nosuch.pem"}, "SSL_CERT_FILE"),
    "a certificate file that is none": ({"SSL_CERT_FILE": "/etc/hostname"}, "SSL_CERT_FILE"),
    "a mirror that is no address": ({"HF_ENDPOINT": "nonsense"}, "HF_ENDPOINT"),
    "a mirror over http": ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "HF_ENDPOINT"),
    "no HOME": ({"HOME": None}, "HTTPS_PROXY"),
    "a HOME that is not there": ({"HOME": "/nosuch/home"}, "HTTPS_PROXY"),
    "a relative HOME": ({"HOME": "somewhere"}, "HTTPS_PROXY"),
    "a home of nobody": ({"CONCIERGE_HOME": "~nosuchuser/x"}, "CONCIERGE_HOME"),
    "a relative home": ({"CONCIERGE_HOME": "here"}, "CONCIERGE_HOME"),
    "a home that is a file": ({"CONCIERGE_HOME": "/etc/hostname"}, "HTTPS_PROXY"),
    "a home in /proc": ({"CONCIERGE_HOME": "/proc/concierge"}, "HTTPS_PROXY"),
    "a configuration of nobody": ({"CONCIERGE_CONFIG_PATH": "~nosuchuser/x.toml"}, "CONCIERGE_CONFIG_PATH"),
    "a configuration that is not there": ({"CONCIERGE_CONFIG_PATH": "/nosuch.toml"}, "CONCIERGE_CONFIG_PATH"),
    "a configuration that is a folder": ({"CONCIERGE_CONFIG_PATH": "/etc"}, "/etc"),
    "plain C": ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "HTTPS_PROXY"),
    "latin-1": ({"PYTHONIOENCODING": "latin-1"}, "HTTPS_PROXY"),
    "cp1252": ({"PYTHONIOENCODING": "cp1252"}, "HTTPS_PROXY"),
    "ascii": ({"PYTHONIOENCODING": "ascii"}, "HTTPS_PROXY"),
    "an empty PATH": ({"PATH": ""}, "HTTPS_PROXY"),
    "a temporary folder that is not there": ({"TMPDIR": "/nosuch"}, "HTTPS_PROXY"),
    "a flake of nobody": ({"CONCIERGE_LLM_FLAKE": "nosuch"}, "HTTPS_PROXY"),
    "an OLLAMA_HOST that is none": ({"OLLAMA_HOST": "::::"}, "HTTPS_PROXY"),
    "a wrong number": ({"CONCIERGE_LLM_CONTEXT": "many"}, "CONCIERGE_LLM_CONTEXT"),
    "an unknown variable": ({"CONCIERGE_LLM_MODLE": "m"}, "CONCIERGE_LLM_MODLE"),
}
"""What is changed, and what the error of a lock that asks the hub must name."""


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_every_command_in_strange_surroundings_names_the_cause(world: World, surrounding: str) -> None:
    changes, cause = SURROUNDINGS[surrounding]
    for name, value in changes.items():
        if value is None:
            world.environ.pop(name, None)
        else:
            world.environ[name] = value
    for command in COMMANDS:
        world.must(command, *([cause] if command == "lock" else []))


FILES = {
    "project": lambda world: world.folder / "concierge.toml",
    "lock": lambda world: world.folder / "concierge.lock",
    "own": lambda world: world.home / ".config" / "concierge" / "concierge.toml",
    "current": lambda world: world.state / "current",
    "generation": lambda world: world.state / "generations" / "1.json",
    "journal": lambda world: world.folder / ".concierge" / "runs" / "20261126-000000-000000-abcdef" / "events.jsonl",
    "result": lambda world: world.folder / ".concierge" / "runs" / "20261126-000000-000000-abcdef" / "result.json",
    "run folder": lambda world: world.state / "run",
    "store": lambda world: world.state / "store",
    "trust": lambda world: world.state / "trust",
}
CONTENTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(bytes(range(256)) * 9),
    "half": lambda file: file.write_bytes(b'{"schema": 1, "llm": {'),
    "another schema": lambda file: file.write_bytes(b'{"schema": 99}'),
    "a list": lambda file: file.write_bytes(b"[1, 2]"),
    "deep": lambda file: file.write_bytes(b"[" * 20000),
    "folder": lambda file: file.mkdir(),
    "dangling link": lambda file: file.symlink_to("/nosuch/target"),
    "circular link": lambda file: file.symlink_to(file),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("file", FILES)
def test_a_spoilt_file_is_named_or_made_again(world: World, file: str, content: str) -> None:
    place = FILES[file](world)
    place.parent.mkdir(parents=True, exist_ok=True)
    CONTENTS[content](place)
    for command in ("status", "plan", "runs list"):
        world.must(command)


WRONG = {"text": '"x"', "number": "1.5", "flag": "true", "list": "[1]", "table": "{}", "negative": "-1", "empty": '""'}


@pytest.mark.parametrize("value", WRONG)
def test_every_key_with_every_wrong_type_is_named_with_its_file_or_holds(world: World, value: str) -> None:
    from concierge.config.keys import known_keys

    for key in known_keys():
        table = f"[{key[0]}]\n" if len(key) > 1 else ""
        (world.folder / "concierge.toml").write_text(f"{table}{key[-1]} = {WRONG[value]}\n")
        code, told = world("config", "show")
        assert "has a bug" not in told
        assert code in (0, 2)
        assert code == 0 or ("concierge.toml" in told and key[-1] in told), told


@pytest.mark.parametrize("handles", [8, 12, 20, 40])
def test_few_file_handles_are_a_sentence(world: World, handles: int) -> None:
    world.handles = handles
    for command in ("status", "plan", "runs list", "config show"):
        code, told = world(*COMMANDS[command])
        assert "has a bug" not in told
        if code not in (0, 5) and "Fatal Python error" not in told and "ImportError" not in told:
            assert "open files" in told, told


MOUNTS = {
    "a home that is read-only": ("mount -t tmpfs -o ro tmpfs {home}", "Read-only file system"),
    "a home without programs": ("mount -t tmpfs -o noexec tmpfs {home}", "noexec"),
    "a home without space": ("mount -t tmpfs -o size=64k tmpfs {home}", "free"),
    "a /proc that hides others": ("mount -t proc -o hidepid=invisible proc /proc", ""),
    "a /proc of processes only": ("mount -t proc -o subset=pid proc /proc", ""),
    "no /proc": ("umount -l /proc", "Mount /proc"),
}
"""What a namespace of its own mounts, and what the error of ``up`` must name; nothing where it must work."""

NO_ROOM = {"a home that is read-only", "a home without space"}


def mounted(world: World, *lines: str) -> tuple[int, str]:
    """Run lines of shell, each only if the one before succeeded, where what they mount is there for them alone."""
    command = ["unshare", "--mount", "sh", "-c", " && ".join(lines).format(home=world.home)]
    done = subprocess.run(command, env=world.environ, cwd=world.folder, capture_output=True, timeout=90, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def may_mount() -> bool:
    words = ["unshare", "--mount", "mount", "-t", "proc", "proc", "/proc"]
    return (
        shutil.which("unshare") is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not may_mount(), reason="nothing may be mounted here")
@pytest.mark.parametrize("name", MOUNTS)
def test_every_command_on_strange_mounts_names_the_cause(world: World, name: str, real_spec: ServerSpec) -> None:
    mount, cause = MOUNTS[name]
    concierge = f"{sys.executable} -m concierge"
    for command in ("status", "plan", "runs list", "config show", "doctor"):
        code, told = mounted(world, mount, f"{concierge} {' '.join(COMMANDS[command])}")
        assert "has a bug" not in told
        assert "Traceback" not in told
        assert code in CODES, told
    store, state = real_spec.engine_root.parent, world.state
    brought = [] if name in NO_ROOM else [f"mkdir -p {state}", f"cp -r {store} {state}/store"]
    first = [mount, *brought] if "{home}" in mount else [*brought, mount]
    code, told = mounted(world, *first, f"{concierge} up --model smollm2-135m", f"{concierge} down")
    assert "has a bug" not in told
    assert (code != 0) is bool(cause), told
    assert cause in told

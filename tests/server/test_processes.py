from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge.server.processes import identity, ps, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

BACKENDS = [pytest.param(ps, id="psutil")]
if sys.platform == "linux":
    from concierge.server.processes import procfs

    BACKENDS.append(pytest.param(procfs, id="proc"))

LISTENER = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A marked process in its own session that listens, and its port."""
    with subprocess.Popen(
        [sys.executable, "-ISc", LISTENER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, identity.LAUNCH: "mark", identity.BORN: "born"},
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_is_told_apart_found_by_its_mark_and_measured(
    backend: ModuleType, child: tuple[subprocess.Popen[str], int]
) -> None:
    process, _ = child
    found = backend.identify(process.pid)
    assert found.pid == process.pid
    assert found == backend.identify(process.pid)
    assert [(one.identity.pid, one.born) for one in backend.marked() if one.launch == "mark"] == [(process.pid, "born")]
    assert [member.pid for member in backend.family(process.pid)] == [process.pid]
    assert backend.usage([found]).cpu_s >= 0
    assert 0 <= backend.age_s(found) < 60


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_sockets_are_known(backend: ModuleType, child: tuple[subprocess.Popen[str], int]) -> None:
    process, port = child
    found = backend.identify(process.pid)
    listener = identity.Listener("127.0.0.1", port)
    assert backend.listening([found]) == [listener]
    assert backend.sole_listener(listener, [found])
    assert not backend.sole_listener(listener, [table.myself()])


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_very_process_is_signalled(backend: ModuleType, child: tuple[subprocess.Popen[str], int]) -> None:
    process, _ = child
    found = backend.identify(process.pid)
    for other in (replace(found, start=found.start + 1), replace(found, exe="0:0"), replace(found, boot="x")):
        assert not backend.send(other, signal.SIGKILL)
    assert process.poll() is None
    assert backend.send(found, signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    assert backend.identify(process.pid) is None
    assert not backend.remains(found)
    assert not backend.send(found, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_the_kernel_and_its_table_name_the_same_listeners() -> None:
    with socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
        asked = {found for family in (socket.AF_INET, socket.AF_INET6) for found in procfs._ask(family)}
        table = {found for name in ("tcp", "tcp6") for found in procfs._table(Path("/proc/self/net") / name)}
    assert {"127.0.0.1", "::1"} <= {listener.host for _, listener in asked & table}


def test_an_identity_survives_being_written_down() -> None:
    me = table.myself()
    assert identity.parse(asdict(me)) == me


@pytest.mark.parametrize("damage", [{"pid": "1234"}, {"start": None}, {"pid": True}, {"extra": 1}])
def test_a_damaged_identity_proves_nothing(damage: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not "):
        identity.parse({**asdict(table.myself()), **damage})

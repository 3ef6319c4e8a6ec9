from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.wait import PATIENCE_S, gone, until

REPOSITORY = Path(__file__).parent.parent

SUITE = """
import os, pathlib, threading

def test_that_a_signal_ends(place, fake):
    place.ensure(fake())
    pids = " ".join(str(identity.pid) for identity in place.running())
    pathlib.Path("pids.new").write_text(pids)
    os.replace("pids.new", "pids")
    threading.Event().wait(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process can ask another to end there")
def test_a_suite_that_is_told_to_end_leaves_no_server_behind(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(SUITE, encoding="utf-8")
    plugins = ("no:cacheprovider", "tests.conftest", "tests.server.conftest")
    options = ["-q", *(word for plugin in plugins for word in ("-p", plugin)), "-c", str(REPOSITORY / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path / "test_one.py")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY), os.environ.get("PYTHONPATH", "")))}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as suite:
        until(lambda: suite.poll() is not None or (tmp_path / "pids").exists())
        servers = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
        suite.send_signal(signal.SIGTERM)
        words, _ = suite.communicate(timeout=PATIENCE_S)
    left = [server for server in servers if not gone(server)]
    for server in left:
        server.kill()
    assert left == [], words
    assert suite.returncode == pytest.ExitCode.INTERRUPTED, words
    assert len(servers) == 1

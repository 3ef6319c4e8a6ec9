"""Asks this computer everything at once, and never fails as a whole."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import threading
import time
from typing import TYPE_CHECKING

from concierge.files import replace
from concierge.machine.bundle import Bundle, dumps
from concierge.machine.capture.gather import Host, Part, joined
from concierge.machine.read.machine import read
from concierge.machine.redact import redacted
from concierge.paths import user_home
from concierge.processes import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from concierge.machine.types import Machine

_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION",
    "GGML_VK_VISIBLE_DEVICES", "GGML_VK_DISABLE_F16", "container",
)  # fmt: skip
_MARKERS = ("SNAP", "KUBERNETES_SERVICE_HOST")
"""Variables of which only the presence counts; their values name paths and addresses."""


def probe() -> Machine:
    """Return the facts of this computer."""
    return read(capture())


def capture(parts: Sequence[Part] | None = None, *, host: Host | None = None) -> Bundle:
    """Return what this computer says; a part that fails or takes too long is named in ``failures``."""
    asked = host or Host(run=run, environ=os.environ)
    results: dict[str, Bundle] = {}
    threads = [(part, _started(part, asked, results)) for part in (_own_parts() if parts is None else parts)]
    begun = time.monotonic()
    for part, thread in threads:
        thread.join(max(0.0, begun + part.seconds - time.monotonic()))
    late = {part.name: f"no answer within {part.seconds:g} s" for part, _ in threads if part.name not in results}
    first = Bundle(platform=_platform(), environment=_environment(asked.environ), failures=late)
    return joined([first, *(results[part.name] for part, _ in threads if part.name in results)])


def save(bundle: Bundle, path: Path) -> None:
    """Write a bundle that names nobody: fit to attach to a report, and to drop into ``tests/machines``."""
    names = [platform.node(), platform.node().split(".", 1)[0]]
    if (home := user_home()) is not None:
        names.append(home.name)
    with contextlib.suppress(OSError, KeyError, ImportError):
        names.append(getpass.getuser())
    data = dumps(redacted(bundle, names=tuple(dict.fromkeys(names)))).encode()
    if path.exists() and not path.is_file():  # a pipe or a terminal is written to, never replaced
        path.write_bytes(data)
    else:
        replace(path.resolve(), data)


def _started(part: Part, host: Host, results: dict[str, Bundle]) -> threading.Thread:
    def collect() -> None:
        try:
            results[part.name] = part.collect(host)
        except Exception as error:  # noqa: BLE001  # a part may meet anything in a driver's files; the rest must go on
            results[part.name] = Bundle(failures={part.name: f"{type(error).__name__}: {error}"})

    # A read that hangs in a sleeping device's driver cannot be stopped: as a daemon it holds up nothing.
    thread = threading.Thread(target=collect, name=f"probe-{part.name}", daemon=True)
    thread.start()
    return thread


def _own_parts() -> list[Part]:
    system = platform.system()
    if system == "Linux":
        from concierge.machine.capture.gather_linux import parts
    elif system == "Darwin":
        from concierge.machine.capture.gather_macos import parts
    elif system == "Windows":
        from concierge.machine.capture.gather_windows import parts
    else:
        return []
    return parts()


def _platform() -> dict[str, str]:
    told = platform.uname()
    return {"system": told.system.lower(), "machine": told.machine, "release": told.release, "version": told.version}


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: environ[name] for name in _VARIABLES if name in environ}
    return kept | {name: "set" for name in _MARKERS if name in environ}

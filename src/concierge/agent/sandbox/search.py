"""Find what really confines a command on this machine, by confining one."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from concierge.agent.sandbox.shell import Limits, Sandbox
from concierge.errors import SandboxError

_PROGRAMS = "/usr/bin:/usr/local/bin:/bin:/run/wrappers/bin:/run/current-system/sw/bin"
"""Where a system's administrator puts programs; what a project brings along does not confine it."""
_SEATBELT = "/usr/bin/sandbox-exec"
_PROBE = Limits(seconds=20)

_answer: tuple[Sandbox | None, str] | None = None


async def find() -> Sandbox | None:
    """Return what confines commands here, None where nothing does; tried out once in the life of this process."""
    global _answer
    if _answer is None:
        _answer = await first_that_works(candidates())
    return _answer[0]


def why_not() -> str:
    """Return why ``find`` found nothing, in sentences; nothing if it found something or was not asked."""
    return _answer[1] if _answer is not None and _answer[0] is None else ""


def candidates() -> list[Sandbox]:
    """Return what could confine commands on such a system, the best first."""
    if sys.platform == "linux":
        program = shutil.which("bwrap", path=_PROGRAMS)
        return [*([Sandbox("bubblewrap", program)] if program else []), Sandbox("namespaces")]
    return [Sandbox("seatbelt", _SEATBELT)] if sys.platform == "darwin" else []


async def first_that_works(offered: list[Sandbox]) -> tuple[Sandbox | None, str]:
    """Return the first that confines a command, or the reasons of them all."""
    reasons: list[str] = []
    for sandbox in offered:
        reason = await fault(sandbox)
        if reason is None:
            return sandbox, ""
        reasons.append(f"{sandbox.layer}: {reason}")
    return None, "\n".join(reasons) or f"Nothing is known that confines a command on {sys.platform}."


async def fault(sandbox: Sandbox) -> str | None:
    """Confine a command, and return what is wrong with that."""
    place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="concierge-"))
    secret = secrets.token_hex(16)
    folder, outside = place / "folder", place / "outside"
    try:
        await asyncio.to_thread(folder.mkdir)
        await asyncio.to_thread(outside.write_text, secret)
        outcome = await sandbox.run("cat ../outside; echo made > made && cat made", folder=folder, limits=_PROBE)
    except SandboxError as error:
        return error.what
    except OSError as error:
        return f"It could not be tried: {error}."
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    if secret in outcome.output:
        return "A command could read outside of its folder."
    if outcome.exit != 0 or not outcome.output.endswith("made\n"):
        return f"A command could not work in its folder: {outcome.output.strip() or outcome.ended}."
    return None

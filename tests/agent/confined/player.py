"""Play all escapes in one layer, as whoever runs this, and print what came of each. Needs the standard library only.

``player.py LAYER PLACE [outside]`` makes a world below PLACE, which is an empty folder. ``outside`` has the same tried
without a sandbox, where that does no harm.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), os.environ.get("CONCIERGE_SOURCE", "")]

from escapes import ATTEMPT, ESCAPES, Escape  # type: ignore[import-not-found]  # noqa: E402  # it stands beside this

from concierge.agent.sandbox.launcher import seccomp  # noqa: E402  # wherever that is
from concierge.agent.sandbox.search import candidates  # noqa: E402  # the same
from concierge.agent.sandbox.shell import Limits, Sandbox  # noqa: E402  # the same

AT_ONCE = 3


@dataclass
class World:
    """What lies outside of the sandbox, and would be found by who comes through."""

    secret: str
    home: Path
    other: Path
    shm: str
    abstract: str
    pid: int
    fd: int
    tcp: int
    udp: int


@dataclass
class Played:
    """What an escape printed inside, and without a sandbox (None where it was not tried)."""

    inside: str
    exit: int | None
    outside: str | None


def answer(listening: socket.socket, secret: str) -> None:
    """Say the secret to whoever asks."""

    def serve() -> None:
        while True:
            if listening.type == socket.SOCK_DGRAM:
                listening.sendto(secret.encode(), listening.recvfrom(100)[1])
                continue
            accepted, _ = listening.accept()
            with accepted:
                accepted.sendall(secret.encode())

    threading.Thread(target=serve, daemon=True).start()


def make(place: Path) -> World:
    secret = "sesame" + secrets.token_hex(8)
    other, home = place / "other", place / "home"
    for path in (other / "secret", home / ".ssh" / "id_ed25519", Path("/dev/shm", f"shm{secrets.token_hex(8)}")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secret)
    opened = os.open(other / "secret", os.O_RDONLY)
    os.set_inheritable(opened, True)
    os.environ |= {"SECRET_WORD": secret, "SECRET_HOME": str(home)}
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    near, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    near.bind(str(other / "socket"))
    name = f"abstract{secrets.token_hex(8)}"
    abstract.bind(f"\0{name}")
    for listening in (near, abstract):
        listening.listen()
    for listening in (tcp, udp, near, abstract):
        answer(listening, secret)
    # Its own environment is that of its start, so somebody else must carry the word.
    sleeper = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, pass_fds=[opened], cwd=other)
    ports = tcp.getsockname()[1], udp.getsockname()[1]
    return World(secret, home, other, path.name, name, sleeper.pid, opened, *ports)


def folder(place: Path, world: World, name: str) -> Path:
    made = place / name
    made.mkdir()
    numbers = {**seccomp.REFUSED, **seccomp.ABSENT, "clone": seccomp._CLONE, "fchmodat2": (452, 452)}
    table = {called: both[os.uname().machine != "x86_64"] for called, both in numbers.items()}
    (made / "attempt.py").write_text(f"NUMBERS = {table!r}\n{ATTEMPT}")
    (made / "link").symlink_to(world.other / "secret")
    (made / "linked").symlink_to(world.other)
    return made


def written(escape: Escape, world: World, own: Path) -> str:
    command = escape.command.replace("@folder@", str(own)).replace("@name@", "id_ed25519")
    for name, value in asdict(world).items():
        command = command.replace(f"@{name}@", str(value))
    return str(command)


async def play(escape: Escape, number: int, sandbox: Sandbox, place: Path, world: World) -> Played:
    own = folder(place, world, f"inside{number}")
    limits = Limits(seconds=escape.seconds, memory_bytes=1 << 29, processes=32, file_bytes=4 << 20)
    outcome = await sandbox.run(written(escape, world, own), folder=own, limits=limits)
    left = [path.name for path in own.iterdir() if not path.is_symlink() and path.stat().st_mode & 0o6000]
    if left or (world.other / "made").exists() or (world.home / "made").exists():
        outcome_text = outcome.output + f"\nESCAPED: left behind {left}"
    else:
        outcome_text = outcome.output
    return Played(outcome_text, outcome.exit, None)


def unconfined(escape: Escape, number: int, place: Path, world: World) -> str | None:
    """Try the same without a sandbox, where that does no harm and should succeed."""
    if escape.outside == "nobody" or (escape.outside == "root" and os.getuid() != 0):
        return None
    own = folder(place, world, f"outside{number}")
    done = subprocess.run(
        ["/bin/sh", "-c", written(escape, world, own)],
        cwd=own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,
        timeout=60,
        check=False,
    )
    (own / "big").unlink(missing_ok=True)
    for made in (world.other / "made", world.home / "made"):
        made.unlink(missing_ok=True)
    return done.stdout.decode("utf-8", "replace")


async def played(sandbox: Sandbox, place: Path, world: World, *, outside: bool) -> dict[str, Any]:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, escape: Escape) -> Played:
        async with free:
            return await play(escape, number, sandbox, place, world)

    results = await asyncio.gather(*(one(number, escape) for number, escape in enumerate(ESCAPES)))
    for number, (escape, result) in enumerate(zip(ESCAPES, results, strict=True) if outside else ()):
        result.outside = await asyncio.to_thread(unconfined, escape, number, place, world)
    return {escape.name: asdict(result) for escape, result in zip(ESCAPES, results, strict=True)}


def main(layer: str, place: Path, *, outside: bool) -> None:
    sandbox = next(offered for offered in candidates() if offered.layer == layer)
    world = make(place)
    try:
        said = asyncio.run(played(sandbox, place, world, outside=outside))
    finally:
        os.kill(world.pid, signal.SIGKILL)
        Path("/dev/shm", world.shm).unlink()
    print(json.dumps({"secret": world.secret, "played": said}))  # noqa: T201  # its product


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), outside="outside" in sys.argv[3:])

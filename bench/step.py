"""Our own CPU time for one step of a run: asking, reading, acting, journalling; the model answers at once.

    python -m bench.step [--steps N]

The base is what the journal alone costs: the same lines, appended to a file and handed to the system one by one. A
command's own process is not counted: ``shell`` runs ``true`` where something here confines it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.agent.confined import shell_in
from concierge.agent.sandbox import search
from concierge.agent.session import run_task
from concierge.agent.task import Limits, Task
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from concierge.agent.place import Shell

FOLDERS = {"3 files": 3, "300 files": 300}
TEXT = "a line of some forty characters, or so\n" * 50


def replies(protocol: str, steps: int) -> Iterator[Reply]:
    """Return answers of which each acts in another way, and the one that ends."""
    for number in range(steps):
        path, text = f"made-{number % 7}.txt", f"{number}\n"
        if protocol == "native":
            call = ToolCall("", "write", json.dumps({"path": path, "content": text}))
            yield Reply("", tool_calls=(call,))
        elif protocol == "json":
            yield Reply(json.dumps({"thought": "t", "action": "write", "path": path, "content": text}))
        else:
            yield Reply(f"```bash\ntrue {number}\n```")
    yield Reply('{"thought": "t", "action": "answer", "text": "Done."}' if protocol == "json" else "Done.")


def measure(protocol: str, files: int, steps: int, shell: Callable[[Path], Shell | None]) -> tuple[float, float]:
    """Return seconds of CPU for a step, ours and the base's."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "work")
        folder.mkdir()
        for number in range(files):
            (folder / f"file-{number}.txt").write_text(TEXT)
        chat = FakeChat(list(replies(protocol, steps)))
        task = Task("Do it.", "m", protocol=protocol, limits=Limits(max_steps=steps + 1, max_tokens=10**9))
        began = time.process_time()
        result = asyncio.run(run_task(chat, task, workspace_root=Path(place), inside=folder, shell_in=shell))
        ours = time.process_time() - began
        if result.status != "done" or result.steps != steps + 1:
            raise SystemExit(f"The run did not go as it should: {result.status}, {result.reason}, {result.steps} steps")
        lines = Path(place, "runs", result.id, "events.jsonl").read_bytes().splitlines(keepends=True)
        return ours / steps, _written(lines, Path(place, "again.jsonl")) / steps


def _written(lines: list[bytes], path: Path) -> float:
    began = time.process_time()
    with path.open("ab", buffering=0) as file:
        for line in lines:
            file.write(json.dumps(json.loads(line)).encode())
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="steps of a run")
    steps = parser.parse_args().steps
    sandbox = asyncio.run(search.find())

    def shell(folder: Path) -> Shell | None:
        return None if sandbox is None else shell_in(sandbox, folder, invisible=(), network=False, say=print)

    print(f"{'':<22}{'a step':>10}{'its lines alone':>18}")
    measure("json", 3, 5, shell)  # what is imported once is no step's
    for protocol in ("native", "json", *(("shell",) if sandbox else ())):
        for name, files in FOLDERS.items():
            ours, base = measure(protocol, files, steps, shell)
            print(f"{protocol + ', ' + name:<22}{ours * 1e3:>7.2f} ms{base * 1e3:>15.2f} ms")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"Of commands and what confines them, all together: {children.ru_utime + children.ru_stime:.1f} s")


if __name__ == "__main__":
    main()

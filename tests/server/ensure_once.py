"""One ``ensure`` in a process of its own, so that a test can run two at once or end one.

Argument: a JSON object with ``home``, ``environ``, ``llm``, ``spec`` and optionally ``at``, a moment and the signal
that the process sends itself there. It prints the endpoint, or nothing but its narration when it ends before.

A moment is ``before`` or ``after`` and a state of the record: nothing of the program is asked for it, since the
interpreter announces each file that takes another one's place.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from concierge.config.keys import Llm
from concierge.deploy.spec import ServerSpec
from concierge.paths import Home
from concierge.server.ensure import ensure


def tell(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class End:
    """Ends this process when a record of the given state is about to be there, or at the first thing done after."""

    def __init__(self, moment: str, number: int) -> None:
        self._when, self._state = moment.split()
        self._number = number
        self._written = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._written or (event == "os.rename" and self._comes(*map(str, arguments[:2]))):
            number, self._number = self._number, 0
            if number:
                os.kill(os.getpid(), number)

    def _comes(self, draft: str, file: str) -> bool:
        found = file.endswith(".json") and json.loads(Path(draft).read_bytes())["state"] == self._state
        self._written = found and self._when == "after"
        return found and self._when == "before"


def main() -> None:
    task = json.loads(sys.argv[1])
    paths = {name: Path(task["spec"][name]) for name in ("engine_root", "model_path")}
    spec = ServerSpec(**{**task["spec"], **paths, "parameters": ()})
    if task.get("at"):
        sys.addaudithook(End(*task["at"]))
    endpoint = ensure(
        Llm(**task["llm"]),
        model=spec.model,
        prepare=lambda: spec,
        home=Home(Path(task["home"])),
        say=partial(tell, "say"),
        environ=task["environ"],
    )
    tell("endpoint", endpoint.base_url)


if __name__ == "__main__":
    main()

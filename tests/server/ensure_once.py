"""One ``ensure`` in a process of its own, so that a test can run two at once or kill one.

Argument: a JSON object with ``home``, ``environ``, ``llm``, ``spec`` and optionally ``at``, a step and the signal
that the process sends itself there. It prints the endpoint, or nothing but its narration when it ends before.
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


def main() -> None:
    task = json.loads(sys.argv[1])
    paths = {name: Path(task["spec"][name]) for name in ("engine_root", "model_path")}
    spec = ServerSpec(**{**task["spec"], **paths, "parameters": ()})
    step, number = task.get("at") or ("", 0)

    def checkpoint(name: str) -> None:
        tell("step", name)
        if name == step:
            os.kill(os.getpid(), number)

    endpoint = ensure(
        Llm(**task["llm"]),
        model=spec.model,
        prepare=lambda: spec,
        home=Home(Path(task["home"])),
        say=partial(tell, "say"),
        environ=task["environ"],
        checkpoint=checkpoint,
    )
    tell("endpoint", endpoint.base_url)


if __name__ == "__main__":
    main()

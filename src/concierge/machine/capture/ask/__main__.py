"""Asks a vendor's library in a process of its own, since drivers crash and hang: ``python ask vulkan PATH``.

Prints one JSON object for each library, so that what one said before another crashed is kept. The programs beside
this one say what to ask; nothing here imports concierge.
"""

from __future__ import annotations

import importlib
import json
import sys


def main(program: str, *arguments: str) -> None:
    for name, ask in importlib.import_module(program).questions(*arguments).items():
        try:
            answer = ask()
        except (OSError, ImportError, AttributeError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps({name: answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

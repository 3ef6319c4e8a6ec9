"""The process edge: ``python -m concierge`` and the ``concierge`` script."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; ``--version`` alone never pays for it."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from concierge import __version__

        try:
            # Past the buffer, which would keep what an output does not take.
            os.write(sys.stdout.fileno(), f"concierge {__version__}\n".encode())
        except (OSError, AttributeError):
            pass  # closed or full: the command line has a sentence for that
        else:
            return
    from concierge.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()

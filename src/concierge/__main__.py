"""The process edge: ``python -m concierge`` and the ``concierge`` script."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ``--version`` alone never pays for it."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from concierge import __version__

        sys.stdout.write(f"concierge {__version__}\n")
        return
    from concierge.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()

"""The command line: one module per group of commands, each imported when it is used."""

from __future__ import annotations


def run() -> int:
    """Run the command that ``sys.argv`` names and return the exit code."""
    return 0

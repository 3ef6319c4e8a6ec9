"""Write concierge(1) from what the program says about itself: `--help` of every command, in troff."""

import re
import subprocess
import sys


def main() -> None:
    """Print the page for the program ``argv[1]`` at version ``argv[2]``."""
    program, version = sys.argv[1:3]
    write(f'.TH CONCIERGE 1 "" "concierge {version}" "User Commands"')
    write(".SH NAME\nconcierge \\- the same local LLM agent stack on every machine, with one command")
    write(".SH SYNOPSIS\n.B concierge\n.RI [ command ]\n.RI [ options ]")
    top = help_of(program)
    write(".SH DESCRIPTION\n" + verbatim(top))
    for command in commands(top):
        text = help_of(program, command)
        write(f'.SH "{command.upper()}"\n' + verbatim(text))


def help_of(program: str, *words: str) -> str:
    """Return the help text without frames or colours."""
    environment = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "90", "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True, env=environment)
    lines = (re.sub(r"[╭╮╰╯│─]+", " ", line).rstrip() for line in done.stdout.splitlines())
    return "\n".join(lines).strip("\n")


def commands(text: str) -> list[str]:
    """Return the commands that the top help lists."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if re.match(r"\s*Commands:?\s*$", line):
            inside = True
        elif inside and (match := re.match(r"\s{1,3}([a-z][a-z-]*)(\s{2,}|$)", line)):
            found.append(match[1])
        elif inside and line and not line.startswith(" "):
            inside = False
    return found


def verbatim(text: str) -> str:
    """Return ``text`` as a block that troff leaves alone."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return ".nf\n" + "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in safe.splitlines()) + "\n.fi"


def write(text: str) -> None:
    """Put ``text`` on standard output."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()

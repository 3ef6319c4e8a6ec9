"""The table of docs/configuration.md: ``python -m tools.configuration_page`` prints it."""

from __future__ import annotations

import json
import sys

from concierge.cli.reference import plain
from concierge.config import keys, sources


def markdown() -> str:
    """Return the table of docs/configuration.md."""
    lines = ["| Key | Type | Default | Variable | Meaning |", "|---|---|---|---|---|"]
    servers = {(*keys.MCP, "NAME", name): field for name, field in keys.server_keys().items()}
    for key, field in (keys.known_keys() | servers).items():
        default = plain(field.default)
        shown = "unset" if default in (None, []) else f"`{json.dumps(default)}`"
        kind = field.kind.name.replace("|", "\\|")
        variable = "none" if key in servers else f"`{sources.variable(key)}`"
        lines.append(f"| `{'.'.join(key)}` | {kind} | {shown} | {variable} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())

"""The rules for macOS's sandbox-exec."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concierge.agent.sandbox.view import View

_READ = ("/usr", "/bin", "/sbin", "/System", "/Library/Apple", "/Library/Developer/CommandLineTools", "/private/etc",
         "/private/var/db/timezone", "/private/var/select", "/opt/homebrew", "/dev")  # fmt: skip
_NEVER = ("/private/etc/master.passwd", "/private/etc/sudoers", "/private/etc/ssh", "/System/Volumes/Data")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")


def profile(view: View, *, network: bool) -> str:
    """Return rules by which a command reads the system, writes its folder, and reaches nothing else; later ones win."""
    rules = [
        "(version 1)",
        "(deny default)",
        "(allow process-exec process-fork)",
        "(allow signal process-info* (target same-sandbox))",
        "(allow sysctl-read)",
        "(allow file-read-metadata)",
        '(allow file-read* (literal "/"))',
        _rule("allow file-read* file-test-existence file-map-executable", _READ),
        _rule("deny file-read*", (*_NEVER, *view.hidden)),
        _rule("allow file-read* file-write* file-map-executable", [view.folder]),
        "(deny file-write-setugid)",
        _rule("allow file-write-data file-ioctl", _DEVICES),
    ]
    if network:
        rules += ["(allow network-outbound (remote ip))", "(allow network-inbound (local ip))", "(allow system-socket)"]
        rules.append('(allow mach-lookup (global-name "com.apple.dnssd.service"))')
    if view.covered:
        rules.append(_rule("deny file-read* file-write*", view.covered))
    # A folder that must keep its name, or what is hidden in it would be found under another.
    rules += [f"(deny file-write-unlink (literal {json.dumps(path)}))" for path in view.guards]
    return "\n".join(rules)


def _rule(action: str, paths: Iterable[str]) -> str:
    # The language quotes as JSON does.
    return f"({action} {' '.join(f'(subpath {json.dumps(path, ensure_ascii=False)})' for path in paths)})"

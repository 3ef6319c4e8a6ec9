"""Every error that concierge raises on purpose, in one tree.

::

    ConciergeError                     exit code
    ├── UsageError                     2    the command line or the configuration is wrong
    │   ├── ConfigError                2    a key, a value or a configuration file is wrong
    │   └── TrustError                 2    a project asks for what only its user may allow
    ├── NothingSuitableError           3    no engine or model suits this machine
    ├── ArtefactError                  4    bytes could not be had
    │   ├── FetchError                 4    no source delivered them
    │   ├── VerifyError                4    they are not the bytes that were pinned
    │   └── StoreError                 4    the store could not take them (disk, permissions)
    ├── ServerError                    5    the LLM server is not usable
    │   ├── StartError                 5    ours died or never became ready
    │   │   └── UnfitError             5    this build of the engine does not serve here; another one may
    │   └── EndpointError              5    the configured one is unreachable or serves something else
    ├── ChatError                      1    a chat request failed
    │   ├── TransportError             5    no answer arrived: refused, reset, timed out
    │   ├── StatusError                1    the server answered with an error
    │   └── ReplyError                 1    the answer is not a chat completion, or it is cut off
    ├── RunError                       1    a run cannot be written, found or read
    │   └── UnknownRunError            1    no run has that id
    ├── RunStopped                     1    a run ended before its task was done (budget, loop, length)
    ├── SandboxError                   1    a command cannot be confined, so it is not run
    ├── OutputError                    1    what was done could not be printed
    ├── InternalError                  1    concierge has a bug
    └── InterruptedByUser              130  Ctrl-C or a termination signal

    ToolError                          what the model did wrong and may mend itself; never leaves the runner

Each error says what happened, where, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class ConciergeError(Exception):
    """The root. ``str(error)`` is one sentence for a person; ``as_dict`` is the same for a program.

    Args:
        what: What happened, as a sentence without a trailing newline.
        where: The file, URL, key or process that it happened to.
        hint: What to do next, as a sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = self.what if self.where is None or self.where in self.what else f"{self.what} [{self.where}]"
        return text if self.hint is None else f"{text}\n  → {self.hint}"

    def as_dict(self) -> dict[str, Any]:
        """Return the error as the object that ``--json`` prints."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


def told(error: Mapping[str, Any]) -> ConciergeError:
    """Return an error that was kept as an object, to be told to a person."""
    return ConciergeError(error["what"], where=error["where"], hint=error["hint"])


class UsageError(ConciergeError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A key, a value or a configuration file is wrong."""


class TrustError(UsageError):
    """A project's files ask for what only its user may allow, and nobody has."""


class NothingSuitableError(ConciergeError):
    """No engine or model in the catalogue suits this machine."""

    exit_code = 3


class ArtefactError(ConciergeError):
    """Pinned bytes could not be had."""

    exit_code = 4


class FetchError(ArtefactError):
    """No source delivered the artefact."""


class VerifyError(ArtefactError):
    """The bytes that arrived are not the bytes that were pinned."""


class StoreError(ArtefactError):
    """The store could not take the artefact."""


class ServerError(ConciergeError):
    """The LLM server is not usable."""

    exit_code = 5


class StartError(ServerError):
    """The server we started died or never became ready."""


class UnfitError(StartError):
    """This build of the engine does not serve on this machine; another one may."""


class EndpointError(ServerError):
    """The configured server is unreachable, or it serves something else."""


class ChatError(ConciergeError):
    """A chat request failed."""


class TransportError(ChatError):
    """No answer arrived: refused, reset or timed out."""

    exit_code = 5


class StatusError(ChatError):
    """The server answered with an error.

    Args:
        what: The server's own message.
        status: The HTTP status, or 0 when the error came inside a stream.
        retry_after: Seconds that the server asked us to wait, if it did.
    """

    def __init__(
        self,
        what: str,
        *,
        status: int,
        retry_after: float | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.retry_after = retry_after


class ReplyError(ChatError):
    """The answer is not a chat completion, or it is cut off."""


class RunError(ConciergeError):
    """A run cannot be written, found or read."""


class UnknownRunError(RunError):
    """No run has that id."""


class RunStopped(ConciergeError):  # noqa: N818  # it names an outcome, not a fault of the program
    """A run ended before its task was done; ``reason`` is the word that the journal records."""

    def __init__(self, what: str, *, reason: str, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint)
        self.reason = reason


class SandboxError(ConciergeError):
    """A command cannot be confined, so it is not run."""


class OutputError(ConciergeError):
    """What was done could not be printed."""


class InternalError(ConciergeError):
    """concierge has a bug: what happened is nobody else's doing."""


class InterruptedByUser(ConciergeError):  # noqa: N818  # it names an outcome, not a fault of the program
    """Ctrl-C or a termination signal arrived."""

    exit_code = 130


class ToolError(Exception):
    """What the model did wrong and may mend itself: its text goes back to the model as the tool's result."""

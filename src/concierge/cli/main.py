"""The command line: one module per group of commands. This one joins them and is the edge of the process."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer import Abort, Exit

from concierge.cli import chat, config, llm, output, plans, runs, state
from concierge.errors import ConciergeError, InternalError, InterruptedByUser, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

app = typer.Typer(
    name="concierge",
    help="The same local LLM agent stack on every machine, with one command.",
    epilog="Exit codes: 0 done, 1 the task failed, 2 usage or configuration, 3 nothing suitable for this machine, "
    "4 bytes could not be had, 5 the server did not come up, 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(runs.run)
app.command("chat")(chat.chat)
app.command("up")(llm.up)
app.command("status")(llm.status)
app.command("tune")(llm.tune)
app.command("logs")(llm.logs)
app.command("down")(llm.down)
app.command("plan")(plans.plan)
app.command("verify")(state.verify)
app.command("generations")(state.generations)
app.command("rollback")(state.rollback)
app.command("gc")(state.gc)
app.command("destroy")(state.destroy)
app.command("lock")(plans.lock)
app.command("bundle")(plans.bundle)
app.command("trust")(plans.trust)
app.command("doctor")(plans.doctor)
app.command("models")(plans.models)
app.command("engines")(plans.engines)
app.command("serve")(runs.serve)
app.add_typer(runs.group, name="runs")
app.add_typer(config.group, name="config")


def _version(*, wanted: bool) -> None:
    if wanted:
        from concierge import __version__

        output.result(f"concierge {__version__}")
        raise Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=lambda value: _version(wanted=value), is_eager=True)
    ] = False,
) -> None:
    """The same local LLM agent stack on every machine, with one command."""


def run(arguments: list[str] | None = None, *, program: Callable[..., object] = app) -> int:
    """Run the command that ``arguments`` (or ``sys.argv``) name and return the exit code."""
    output.prepare()
    signal.signal(signal.SIGTERM, _terminate)
    hangup = getattr(signal, "SIGHUP", None)
    # Under nohup it is ignored, and stays so.
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, _terminate)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return _code(program(words, standalone_mode=False))
    except Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        # The reader of our stdout went away, and nobody is left to tell.
        output.forget(sys.stdout)
        return 1
    except (Abort, KeyboardInterrupt):
        failure: ConciergeError = InterruptedByUser("Interrupted.")
    except ConciergeError as error:
        failure = error
    except Exception as error:  # noqa: BLE001  # the edge of the process: a bug is reported, never dumped
        failure = _explained(error)
    output.error(failure, as_json="--json" in itertools.takewhile(lambda word: word != "--", words))
    return failure.exit_code


def _code(value: object) -> int:
    code = value if isinstance(value, int) else 0
    if code == InterruptedByUser.exit_code:
        # typer turns Ctrl-C inside a command into this code, without a word.
        raise KeyboardInterrupt
    return code


def _explained(error: Exception) -> ConciergeError:
    # typer's usage errors share no public name; this method is what makes one.
    if hasattr(error, "format_message"):
        return _usage(error)
    if os.environ.get("CONCIERGE_DEBUG"):
        raise error
    if isinstance(error, OSError):
        # What a library prints, such as the help, names no file when it cannot.
        printing = error.filename is None and output.is_broken(sys.stdout)
        return output.unprinted(error) if printing else _refused(error)
    return InternalError(
        f"concierge has a bug: {type(error).__name__}: {error}",
        hint="Run it again with CONCIERGE_DEBUG=1 for the details, and report them.",
    )


def _usage(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "concierge"
    return UsageError(error.format_message(), where=command, hint=f"{command} --help lists what it takes.")


def _refused(error: OSError) -> StoreError:
    """Say what the operating system refused: a full disk or a missing permission may meet any file operation."""
    place = str(error.filename) if error.filename else None
    what = f"Cannot use {place or 'a file'}: {error.strerror or error}."
    return StoreError(what, where=place, hint="Check its permissions and the space on its disk.")


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Let a polite termination, or a terminal that goes away, clean up on the same path as Ctrl-C."""
    raise KeyboardInterrupt

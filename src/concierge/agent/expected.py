"""What a task makes one expect of the folder, so that an answer which lacks it is asked about before it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent import footprint
from concierge.agent.naming import named_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.agent.workspace import Workspace

UNMADE = "There is no file {} yet. If the task asks for one, make it now. If not, answer again."
STILL_UNMADE = "There is still no file {}. Write it, or say that you cannot."
UNCHANGED = "No file was changed. If the task asks for a change, make it now. If not, answer again."


class Expected:
    """The files that a task names, as they are when it begins."""

    def __init__(self, workspace: Workspace, task: str) -> None:
        self._workspace = workspace
        self._asks = "?" in task
        named = named_files(task)
        self._unmade = tuple(name for name in named if not self._is_there(name))
        self._named = len(named) > len(self._unmade)
        self._before = footprint.texts(workspace)

    def lacking(self, answer: str, *, worked: bool) -> Iterator[str]:
        """Say what an answer lacks: a file that the task names, or a change where it gives an order.

        Whether a change was to be made shows only where something was done, with files that the task names.
        """
        for name in self._unmade:
            if not self._is_there(name):
                yield UNMADE.format(name)
                if name in answer:
                    yield STILL_UNMADE.format(name)
        if worked and self._named and not self._asks and self._before == footprint.texts(self._workspace):
            yield UNCHANGED

    def _is_there(self, name: str) -> bool:
        name = name.removeprefix("./")
        return any(name in (file, file.rpartition("/")[2]) for file in self._workspace.files())

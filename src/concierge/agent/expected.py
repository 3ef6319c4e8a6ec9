"""What a task makes one expect of the folder, so that an answer which lacks it is asked about before it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent import footprint
from concierge.agent.naming import named_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.agent.workspace import Workspace

SHORT_CHARS = 200
UNMADE = "There is no file {name} yet. If it is to be made, do that now {how}."
STILL_UNMADE = "There is still no file {name}. Make it {how}, or say that you cannot."
UNCHANGED = "No file was changed yet. If one is to be changed, do that now {how}."


class Expected:
    """The files that a task names, as they are when it begins; ``how`` says how the model acts."""

    def __init__(self, workspace: Workspace, task: str, *, how: str) -> None:
        self._workspace, self._how = workspace, how
        self._asks = "?" in task
        named = named_files(task)
        self._unmade = tuple(name for name in named if not self._is_there(name))
        self._named = len(named) > len(self._unmade)
        self._looks = footprint.Looks(workspace)
        self._before = self._looks.texts()

    def lacking(self, answer: str, *, worked: bool) -> Iterator[str]:
        """Say what an answer lacks: a file that the task names, or a change where it gives an order.

        A long answer where nothing was done is what was asked for; a short one says that something was.
        """
        for name in self._unmade:
            if not self._is_there(name):
                yield UNMADE.format(name=name, how=self._how)
                if name in answer:
                    yield STILL_UNMADE.format(name=name, how=self._how)
        acted = worked or len(answer) < SHORT_CHARS
        if acted and self._named and not self._asks and self._before == self._looks.texts():
            yield UNCHANGED.format(how=self._how)

    def _is_there(self, name: str) -> bool:
        name = name.removeprefix("./")
        return any(name in (file, file.rpartition("/")[2]) for file in self._workspace.files())

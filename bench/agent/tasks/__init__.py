"""Every task, in the order in which they are run."""

from __future__ import annotations

from bench.agent.tasks import code, compute, edit, read, search, write

TASKS = (*read.TASKS, *write.TASKS, *edit.TASKS, *search.TASKS, *compute.TASKS, *code.TASKS)

"""The contract of an engine: a module that runs many tasks in other processes and reports the outcome of each.

`run(work, tasks, options)` calls `work(task)` for every task and yields an Outcome as soon as a task is done; `in_order`
restores the order of the tasks. `work` and the tasks are pickled: `work` is a function of a module that can be imported,
or a functools.partial of one, and each worker receives it once. A worker that dies loses its current task only, which is
tried again in another worker.
"""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from zoo.errors import CannotCheck, UsageError
from zoo.runtime.text import terminal_lines

Task = TypeVar("Task")
Result = TypeVar("Result")
WORKER = "ZOO_WORKER"
"""The environment variable that holds a worker's number, counted from 0, in the worker's own process."""
MOST_TRIES = 2
"""How often a task is started when its worker dies: twice, so that a short lack of memory costs nothing, and a task that
kills its worker is not tried for ever."""


class WorkerDied(CannotCheck):
    """The worker process died while it ran the task. output: the end of what it printed."""

    def __init__(self, what: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(what, hint=hint)
        self.output = output


@dataclass(frozen=True, slots=True)
class Options:
    """Where to run and in how many workers: `jobs` workers; `address` of a cluster, for an engine that has one."""

    jobs: int = 1
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """The outcome of the task at that position: its value, or the error that it raised and the worker's traceback."""

    position: int
    value: Result | None = None
    error: Exception | None = None
    traceback: str = ""

    def result(self) -> Result:
        """Return the task's value; raise the task's error when there is one."""
        if self.error is not None and self.traceback:
            raise self.error from _WorkerTraceback(self.traceback)
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only where the task's result is None


class Engine(Protocol):
    """What a module in this folder offers."""

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], options: Options
    ) -> Generator[Outcome[Result], None, None]:
        """Yield the outcome of `work(task)` for every task, as soon as each is done. Closing the iterator ends the workers.

        Raises CannotCheck when the engine's library or its cluster is missing, UsageError when `work` or a task uses a
        function or a class of the caller's `__main__`.
        """


def in_order(outcomes: Iterable[Outcome[Result]]) -> Iterator[Outcome[Result]]:
    """Yield the same outcomes in the order of their tasks, each as soon as all outcomes before it are known."""
    early: dict[int, Outcome[Result]] = {}
    position = 0
    for outcome in outcomes:
        early[outcome.position] = outcome
        while position in early:
            yield early.pop(position)
            position += 1


def run_task(work: bytes, position: int, task: bytes) -> bytes:
    """Do one task in a worker and return the pickled outcome; `work` and `task` are pickled too.

    Work or a task that cannot be unpickled here, or a result that cannot be pickled, is an error of the task.
    """
    try:
        return dumps(Outcome(position, _load_work(work)(pickle.loads(task))))
    except Exception as error:  # it is raised again where the outcome is used
        text = "".join(traceback.format_exception(error))
        failed: Outcome[Any] = Outcome(position, error=_sendable(error), traceback=text)
        return dumps(failed)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_number() -> int | None:
    """Return the number of this worker process, None in a process that is not a worker."""
    number = os.environ.get(WORKER)
    return int(number) if number else None


def dumps(value: object) -> bytes:
    """Pickle a value, including read-only mappings, which cards are full of and pickle does not support.

    Raises UsageError for a function or a class of `__main__`: a worker does not import the caller's script, which would
    run it again.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, MappingProxyType):
            return _read_only, (dict(value),)
        if isinstance(value, (type, FunctionType)) and value.__module__ == "__main__":
            raise UsageError(
                f"workers cannot use {value.__qualname__}: it is defined in the script that runs (__main__)",
                hint="move it into a module that can be imported",
            )
        return NotImplemented


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


@lru_cache(maxsize=1)
def _load_work(work: bytes) -> Callable[[Any], Any]:
    """Unpickle the work once in each worker, so that what it keeps (a model) serves all tasks of the worker."""
    loaded: Callable[[Any], Any] = pickle.loads(work)
    return loaded


class _WorkerTraceback(Exception):
    """The worker's own traceback, as the cause of an error that is raised in another process."""

    def __str__(self) -> str:
        return f"\n{terminal_lines(self.args[0].splitlines())}"


def _sendable(error: Exception) -> Exception:
    try:
        copy: Exception = pickle.loads(dumps(error))
    except Exception:  # pickling may fail in any way that the exception's class chooses
        copy = CannotCheck(f"{type(error).__name__}: {error}")
    return copy

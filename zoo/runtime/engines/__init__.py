"""The contract of an engine: one file per place where work can run, which does many tasks and says what came of each.

`run(work, tasks, options)` calls `work(task)` for every task, in other processes, and yields an Outcome for each as it
is done; `in_order` puts them back into the order of the tasks. Both `work` and the tasks are pickled: `work` is a
function of a module, or a functools.partial of one, and is sent to each worker once. A worker that dies loses its own
task only, which is tried again elsewhere.
"""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from zoo.errors import CannotCheck

Task = TypeVar("Task")
Result = TypeVar("Result")
WORKER = "ZOO_WORKER"
"""The variable that holds a worker's number, counted from 0, in the worker's own process."""
MOST_TRIES = 2
"""How often a task is begun when its worker dies: twice, so that a machine short of memory for a moment costs nothing,
and a task that kills its worker is not tried for ever."""


class WorkerDied(CannotCheck):
    """The worker that did a task died each time that it was tried."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how widely to run: `jobs` workers; `address` of a cluster, where an engine has one."""

    jobs: int = 1
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """What came of the task at that position: a value, or the error that was raised and its traceback there."""

    position: int
    value: Result | None = None
    error: Exception | None = None
    traceback: str = ""

    def result(self) -> Result:
        """The value; raises the task's error when there was one."""
        if self.error is not None:
            raise self.error from (_WorkerTraceback(self.traceback) if self.traceback else None)
        return self.value  # type: ignore[return-value]  # None only where the task's result is None


class Engine(Protocol):
    """What a module in this folder offers."""

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task], options: Options) -> Iterator[Outcome[Result]]:
        """The outcome of `work(task)` for every task, as they are done. Closing the iterator ends the workers.

        Raises CannotCheck when the engine's own library or its cluster is not there.
        """


def in_order(outcomes: Iterable[Outcome[Result]]) -> Iterator[Outcome[Result]]:
    """The same outcomes in the order of their tasks, each as soon as all before it are done."""
    early: dict[int, Outcome[Result]] = {}
    position = 0
    for outcome in outcomes:
        early[outcome.position] = outcome
        while position in early:
            yield early.pop(position)
            position += 1


def attempt(work: Callable[[Any], Any], position: int, task: Any) -> Outcome[Any]:
    """The outcome of one task, done here: what an engine's worker calls."""
    try:
        return Outcome(position, work(task))
    except Exception as error:  # it is raised again where the outcome is used
        text = "".join(traceback.format_exception(error))
        return Outcome(position, error=_sendable(error), traceback=text)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_number() -> int | None:
    """The number of the worker that this process is, None when it is none."""
    number = os.environ.get(WORKER)
    return int(number) if number else None


def dumps(value: object) -> bytes:
    """The value pickled; read-only mappings too, which cards are full of and pickle does not know."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        return (_read_only, (dict(value),)) if isinstance(value, MappingProxyType) else NotImplemented


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


class _WorkerTraceback(Exception):
    """The worker's own traceback, as the cause of an error that is raised in another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _sendable(error: Exception) -> Exception:
    try:
        copy: Exception = pickle.loads(dumps(error))
    except Exception:  # an exception class may refuse to be pickled in any way it likes
        copy = CannotCheck(f"{type(error).__name__}: {error}")
    return copy

"""Call functions in worker processes that limit their time and memory, and never import the caller's script.

What runs the code or the numbers of a card (building, counting, loading, evaluating) runs here: this process imports no
torch, and a card that needs too much ends its own question only. Work is written as steps: a generator that yields an Ask
for each call, receives its Outcome, and returns its result. `run` takes the steps of several tasks and gives each task a
worker of its own; a worker is started at the first Ask and serves the next tasks too.

A call that exceeds a limit, or whose process dies, ends the worker; a new one continues with the next call. Nothing is
called twice. The engines for evaluations on several processes, zoo.runtime.engines, are built on this.

Not defended: code that a card names (`builder: {library: python}`) runs only with the user's permission, and then can do
what the user can do. It can send wrong values for its own card, or leave processes behind that leave their group.
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zoo.errors import CannotCheck
from zoo.runtime import process
from zoo.runtime.engines import Outcome, WorkerDied, dumps
from zoo.runtime.limits import GB, LimitExceeded, Limits, for_building, is_memory_text

if TYPE_CHECKING:
    from zoo.runtime.worker_process import WorkerProcess

Value = TypeVar("Value")
TICK_SECONDS = 0.25
"""How often the workers' time and memory are looked at while nothing arrives."""
EXIT_SECONDS = 1.0
"""How long a worker that has closed its connection may take to end, before it is killed."""
TREE_BYTES = GB // 2
"""How much more than its limit a worker and the processes that it started may use together: torch takes half of that."""
_SIGNALS = {number.value: number.name for number in signal.Signals}
HEAVY = ("torch", "timm")
"""What a worker imports before the time of a call begins."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call in a worker: `function(*arguments)`; with `takes_context`, the context of `run` is its first argument.

    function: one of a module that can be imported. imports: modules to import before time and memory count.
    on_event: called here with each event that the call emits. runs_code: whether the call runs code that a card names; the
    worker then serves no other task.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    limits: Limits = field(default_factory=for_building)
    imports: tuple[str, ...] = HEAVY
    takes_context: bool = False
    on_event: Callable[[Any], None] | None = None
    runs_code: bool = False


Steps = Generator[Ask, Outcome[Any], Value]
"""What one task does: it yields calls, receives their outcomes, and returns its result."""


def call(
    function: Callable[..., Value], *arguments: Any, limits: Limits | None = None, runs_code: bool = False
) -> Value:
    """Return `function(*arguments)`, called in a new worker.

    Raises what the function raises; LimitExceeded when it needs more than the limits (by default those of building a
    model), WorkerDied when its process dies, UsageError as `dumps` does.
    """
    asked = Ask(function, arguments, limits or for_building(), runs_code=runs_code)

    def steps() -> Steps[Value]:
        outcome = yield asked
        return outcome.result()  # type: ignore[no-any-return]  # what the function returns

    return result_of(steps())


def result_of(steps: Steps[Value], *, context: object = None) -> Value:
    """Return the result of the steps of one task, their calls made in a worker; raises what they raise. context: see `run`."""
    (outcome,) = run([steps], context=context)
    return outcome.result()


def run(
    tasks: Iterable[Steps[Value]], *, jobs: int = 1, context: object = None
) -> Generator[Outcome[Value], None, None]:
    """Yield the outcome of each task's steps, as soon as it is known, from up to `jobs` tasks at a time.

    context: what the calls have in common; it is sent to each worker once. Closing the iterator ends the workers. Raises
    UsageError as `dumps` does.
    """
    slots = [_Slot(number, jobs, context) for number in range(jobs)]
    waiting = enumerate(tasks)
    try:
        while True:
            for slot in slots:
                while slot.task is None and (numbered := next(waiting, None)) is not None:
                    slot.task = _Task(*numbered)
                    yield from slot.advance(None)
            busy = [slot for slot in slots if slot.task is not None]
            if not busy:
                return
            for slot, outcome in _answers(busy):
                yield from slot.advance(outcome)
    finally:
        for slot in slots:
            slot.close()


@dataclass
class _Task(Generic[Value]):
    """The steps at that position, and the call that they wait for."""

    position: int
    steps: Steps[Value]
    asked: Ask | None = None
    settled: Outcome[Any] | None = None
    runs_code: bool = False


class _Slot:
    """A place for one task at a time, and its worker."""

    def __init__(self, number: int, jobs: int, context: object) -> None:
        self._number, self._jobs, self._context = number, jobs, context
        self._packed_context: bytes | None = None
        self._used_bytes, self._next_look = 0, 0.0
        self.worker: WorkerProcess | None = None
        self.task: _Task[Any] | None = None

    def advance(self, outcome: Outcome[Any] | None) -> Iterator[Outcome[Any]]:
        """Give the outcome of a call to the task (None at the start), and begin its next call; yield its result at its end."""
        task = self.task
        assert task is not None
        try:
            task.asked = task.steps.send(outcome) if outcome is not None else next(task.steps)
        except StopIteration as end:
            yield self._finish(task, Outcome(task.position, end.value))
        except Exception as error:
            yield self._finish(task, Outcome(task.position, error=error))
        else:
            self._begin(task, task.asked)

    def receive(self) -> Outcome[Any] | None:
        """Return the outcome of the current call if it has ended or has to end."""
        from zoo.runtime.worker_process import MalformedMessage, loads

        task, worker = self.task, self.worker
        assert task is not None and task.asked is not None and worker is not None
        try:
            for message in worker.messages():
                process.alive()  # a worker whose own workers make progress makes progress
                if message.kind == "event" and task.asked.on_event is not None:
                    task.asked.on_event(loads(message.content))
                elif message.kind == "settled":
                    task.settled = loads(message.content)
                elif message.kind == "done":
                    return self._checked(loads(message.content))
        except EOFError:
            return self._lost(task)
        except MalformedMessage as error:
            return self._lost(
                task, CannotCheck(f"the worker process sent a damaged message: {error}".removesuffix(": "))
            )
        if worker.is_late():
            return self._lost(task, _late(task.asked.limits, is_started=worker.is_started()))
        if time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + TICK_SECONDS
        if worker.has_ended():  # a process that it started may still hold the connection
            return self._lost(task)
        limit = task.asked.limits.memory_bytes
        if limit is not None and worker.used_bytes() > max(limit, self._used_bytes) + TREE_BYTES:
            return self._lost(task, task.asked.limits.out_of_memory())
        return None

    def close(self) -> None:
        """End the worker, and the steps of an unfinished task."""
        if self.worker is not None:
            self.worker.close() if self.task is None else self.worker.end()
            self.worker = None
        if self.task is not None:
            self.task.steps.close()

    def _begin(self, task: _Task[Any], asked: Ask) -> None:
        from zoo.runtime.worker_process import WorkerProcess

        call_bytes = dumps((asked.function, asked.arguments, asked.takes_context))
        if self.worker is None:
            if self._packed_context is None:
                self._packed_context = b"" if self._context is None else dumps(self._context)
            self.worker = WorkerProcess(self._number, self._jobs, self._packed_context)
        task.settled, task.runs_code = None, task.runs_code or asked.runs_code
        self._used_bytes = self.worker.used_bytes()
        self.worker.begin(asked.limits, asked.imports, call_bytes)

    def _finish(self, task: _Task[Any], outcome: Outcome[Any]) -> Outcome[Any]:
        self.task = None
        if task.runs_code and self.worker is not None:
            self.worker.end()
            self.worker = None
        return outcome

    def _checked(self, outcome: Any) -> Outcome[Any]:
        """Return the outcome that the worker sent; end the worker when a call reached its limit."""
        if not isinstance(outcome, Outcome):
            assert self.task is not None
            return self._lost(self.task, CannotCheck("the worker process sent a damaged message"))
        if isinstance(outcome.error, LimitExceeded) and self.worker is not None:
            self.worker.end()
            self.worker = None
        return outcome

    def _lost(self, task: _Task[Any], error: Exception | None = None) -> Outcome[Any]:
        """End the worker and return the outcome of its call: what it settled on, else the error, else how it died."""
        assert self.worker is not None and task.asked is not None
        code = self.worker.end(EXIT_SECONDS if error is None else 0.0)
        output, self.worker = self.worker.output(), None
        if isinstance(task.settled, Outcome):
            return task.settled
        return Outcome(0, error=error or _death(code, output, task.asked.limits))


def _answers(busy: Sequence[_Slot]) -> Iterator[tuple[_Slot, Outcome[Any]]]:
    """Wait until something arrives, at most TICK_SECONDS, and yield the outcomes of the calls that have ended."""
    _wait(busy)
    for slot in busy:
        outcome = slot.receive()
        if outcome is not None:
            yield slot, outcome


def _wait(busy: Sequence[_Slot]) -> None:
    """Wait until something arrives or the first call runs out of time, at most TICK_SECONDS."""
    poll = select.poll()
    workers = [slot.worker for slot in busy if slot.worker is not None]
    for worker in workers:
        for descriptor in worker.handles:
            poll.register(descriptor, select.POLLIN)
    left = min([TICK_SECONDS, *(worker.deadline - time.monotonic() for worker in workers)])
    poll.poll(max(0.0, left) * 1000)


def _late(limits: Limits, *, is_started: bool) -> Exception:
    if is_started:
        return limits.out_of_time()
    return WorkerDied("the worker process did not start in time", hint="run it again when the machine is less busy")


def _death(code: int | None, output: str, limits: Limits) -> Exception:
    """Return the error of a call whose process ended with that exit code, -N for signal N, and that output."""
    if code == -signal.SIGALRM:
        return limits.out_of_time()
    if is_memory_text(output):
        return limits.out_of_memory()
    if code is None:
        how = "closed its connection"
    elif code < 0:
        how = f"was killed by {_SIGNALS.get(-code, f'signal {-code}')}"
    else:
        how = f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        how += ", probably because the machine ran out of memory"
    return WorkerDied(f"the worker process {how}", hint=limits.hint, output=output)

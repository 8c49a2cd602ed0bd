"""Run tasks in worker processes on this machine, which share its cores and its memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from zoo.runtime import limits, sandbox
from zoo.runtime.engines import MOST_TRIES, Options, Outcome, Result, Task, WorkerDied
from zoo.runtime.sandbox import Ask, Steps


def run(
    work: Callable[[Task], Result], tasks: Sequence[Task], options: Options
) -> Generator[Outcome[Result], None, None]:
    """Yield the outcome of every task, as soon as each is done, from up to `options.jobs` processes that share the cores.

    A task whose worker dies is started again in a new one, MOST_TRIES times in all; then its outcome is WorkerDied. A task
    that needs more than its share of the memory, or shows no sign of life for a long time, is not tried again.
    Raises UsageError as `dumps` does.
    """
    jobs = min(options.jobs, len(tasks))
    hint = "run it with fewer --jobs, or on a larger machine"
    asked = [Ask(_do, (task,), limits.for_evaluation(jobs, hint=hint), (), takes_context=True) for task in tasks]
    yield from sandbox.run(map(_steps, asked), jobs=jobs, context=work)


def _do(work: Callable[[Any], Any], task: Any) -> Any:
    return work(task)


def _steps(asked: Ask) -> Steps[Any]:
    outcome = yield asked
    for _ in range(MOST_TRIES - 1):
        if isinstance(outcome.error, WorkerDied):
            outcome = yield asked
    if isinstance(outcome.error, WorkerDied):
        error = outcome.error
        raise WorkerDied(f"{error.what} in each of {MOST_TRIES} tries", hint=error.hint, output=error.output)
    return outcome.result()

"""Processes of this machine: each imports what it needs once, has its share of the cores, and may die alone.

Workers are spawned, never forked: a process that has used torch has threads, and a fork of it may wait for ever for a
lock that one of them held (docs.python.org/3/library/multiprocessing.html, "Contexts and start methods", 2026-11-24).
"""

from __future__ import annotations

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from zoo.runtime.engines import MOST_TRIES, WORKER, Options, Outcome, Result, Task, WorkerDied, attempt, cores, dumps

GRACE_SECONDS = 5.0
"""How long a worker has to end when it is told to, before it is killed."""


@dataclass(slots=True)
class _Worker:
    """A process, our end of the pipe to it, and the position of the task that it is doing."""

    number: int
    process: BaseProcess
    pipe: Connection
    position: int | None = None


def run(work: Callable[[Task], Result], tasks: Sequence[Task], options: Options) -> Iterator[Outcome[Result]]:
    """The outcome of every task, as they are done, by up to `options.jobs` processes that share the cores.

    A task whose worker dies is begun again in a new one, MOST_TRIES times in all; then its outcome is WorkerDied.
    """
    jobs = min(options.jobs, len(tasks))
    waiting, tries = deque(range(len(tasks))), dict.fromkeys(range(len(tasks)), 0)
    payload = dumps(work)
    workers = [_start(number, jobs) for number in range(jobs)]
    try:
        for worker in workers:
            worker.pipe.send_bytes(payload)
        while waiting or any(worker.position is not None for worker in workers):
            for worker in workers:
                if worker.position is None and waiting:
                    _send_task(worker, waiting.popleft(), tasks, tries)
            for worker in _ready_workers(workers):
                position, worker.position = worker.position, None
                assert position is not None
                outcome = _receive(worker)
                if outcome is None:
                    error = _worker_error(worker)
                    workers[worker.number] = _start(worker.number, jobs)
                    workers[worker.number].pipe.send_bytes(payload)
                    if tries[position] < MOST_TRIES:
                        waiting.appendleft(position)
                        continue
                    outcome = Outcome(position, error=error)
                yield outcome
    finally:
        _stop(workers)


def _start(number: int, jobs: int) -> _Worker:
    context = get_context("spawn")
    parent_end, child_end = context.Pipe()
    threads = max(1, cores() // jobs)
    process = context.Process(target=_serve, args=(child_end, number, threads), name=f"zoo-{number}", daemon=True)
    process.start()
    child_end.close()  # so that the worker's death ends the pipe
    return _Worker(number, process, parent_end)


def _send_task(worker: _Worker, position: int, tasks: Sequence[Any], tries: dict[int, int]) -> None:
    worker.position = position
    tries[position] += 1
    try:
        worker.pipe.send_bytes(dumps((position, tasks[position])))
    except OSError:  # it died while idle: reading from the pipe will say so
        return


def _ready_workers(workers: Sequence[_Worker]) -> list[_Worker]:
    ready = wait([worker.pipe for worker in workers if worker.position is not None])
    return [worker for worker in workers if worker.pipe in ready]


def _receive(worker: _Worker) -> Outcome[Any] | None:
    """What the worker says, None when it is dead."""
    try:
        outcome: Outcome[Any] = pickle.loads(worker.pipe.recv_bytes())
        return outcome
    except (EOFError, OSError):
        return None


def _worker_error(worker: _Worker) -> WorkerDied:
    worker.process.join(GRACE_SECONDS)
    worker.pipe.close()
    code = worker.process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with code {code}"
    return WorkerDied(
        f"its worker process {how}, {MOST_TRIES} times", hint="run it with fewer --jobs, or on a larger machine"
    )


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()  # an idle worker ends by itself at that
        if worker.position is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(GRACE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(pipe: Connection, number: int, threads: int) -> None:
    """A worker's life: read the work, then do a task at a time until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    os.environ[WORKER] = str(number)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read by torch when it is first imported
    try:
        work = pickle.loads(pipe.recv_bytes())
        while True:
            position, task = pickle.loads(pipe.recv_bytes())
            pipe.send_bytes(dumps(attempt(work, position, task)))
    except (EOFError, OSError):
        return

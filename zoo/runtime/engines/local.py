"""Run tasks in worker processes on this machine, which share its cores.

A worker is a new Python process that imports zoo alone. It is not a fork: a process that has used torch has threads, and
a fork of it may wait for ever for a lock that one of them held (docs.python.org/3/library/multiprocessing.html, "Contexts
and start methods", 2026-11-24). It is not a process of multiprocessing either: that imports the caller's `__main__`, which
runs a script without `if __name__ == "__main__"` again, and fails for `python -`.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from zoo.runtime import process as this_process
from zoo.runtime.engines import MOST_TRIES, WORKER, Options, Outcome, Result, Task, WorkerDied, cores, dumps, run_task

GRACE_SECONDS = 5.0
"""How long a worker may take to end before it is killed."""
_ROOT = str(Path(__file__).parents[3])
_START = """\
import sys
own = [folder for folder in sys.path if folder]
sys.path[:] = [folder for folder in {path!a} if folder in own or folder not in {left_out!a}]
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from zoo.runtime.engines import local
local.serve({descriptor})
"""
"""What a worker runs. `python -c` puts the working folder on the path, so before that is corrected only `sys` is imported,
which is built in. Ctrl-C reaches all processes of a terminal: the caller decides."""


@dataclass(slots=True)
class _Worker:
    """A process, our end of the pipe to it, and the position of the task that it is doing."""

    number: int
    process: subprocess.Popen[bytes]
    pipe: Connection
    position: int | None = None


def run(
    work: Callable[[Task], Result], tasks: Sequence[Task], options: Options
) -> Generator[Outcome[Result], None, None]:
    """Yield the outcome of every task, as soon as each is done, from up to `options.jobs` processes that share the cores.

    A task whose worker dies is started again in a new one, MOST_TRIES times in all; then its outcome is WorkerDied.
    Raises UsageError as `dumps` does.
    """
    jobs = min(options.jobs, len(tasks))
    waiting, tries = deque(range(len(tasks))), dict.fromkeys(range(len(tasks)), 0)
    payload = dumps(work)
    workers = [_start(number, jobs) for number in range(jobs)]
    try:
        for worker in workers:
            _send(worker, payload)
        while waiting or any(worker.position is not None for worker in workers):
            for worker in workers:
                if worker.position is None and waiting:
                    worker.position = waiting.popleft()
                    tries[worker.position] += 1
                    _send(worker, dumps((worker.position, dumps(tasks[worker.position]))))
            for worker in _ready_workers(workers):
                position, worker.position = worker.position, None
                assert position is not None
                outcome = _receive(worker)
                if outcome is None:
                    error = _worker_error(worker)
                    workers[worker.number] = _start(worker.number, jobs)
                    _send(workers[worker.number], payload)
                    if tries[position] < MOST_TRIES:
                        waiting.appendleft(position)
                        continue
                    outcome = Outcome(position, error=error)
                yield outcome
    finally:
        _stop(workers)


def serve(descriptor: int) -> None:
    """Do tasks for the process at the other end of this pipe until that closes it, or ends: the life of a worker."""
    this_process.claim()
    with Connection(descriptor) as pipe, suppress(EOFError, OSError):
        work = pipe.recv_bytes()
        while True:
            position, task = pickle.loads(pipe.recv_bytes())
            pipe.send_bytes(run_task(work, position, task))


def _start(number: int, jobs: int) -> _Worker:
    ours, theirs = Pipe()
    command = [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", _start_code(theirs.fileno())]  # type: ignore[attr-defined]  # what multiprocessing uses too
    variables = {"OMP_NUM_THREADS": str(max(1, cores() // jobs)), **os.environ, WORKER: str(number)}
    process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    theirs.close()  # so that the worker's death ends the pipe
    atexit.register(process.kill)
    return _Worker(number, process, ours)


def _start_code(descriptor: int) -> str:
    """Return the program of a worker, which imports from the folders that this process imports from.

    The working folder and the script's are left out unless Python has them for another reason (PYTHONPATH, an editable
    installation): a file there must not take the place of a library.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    folders = {str(Path.cwd()), *([str(Path(script).resolve().parent)] if script else [])}
    path = [folder for folder in sys.path if isinstance(folder, str)]
    left_out = [folder for folder in path if os.path.realpath(folder) in folders and folder != _ROOT]
    return _START.format(path=[*path, _ROOT], left_out=left_out, descriptor=descriptor)


def _send(worker: _Worker, content: bytes) -> None:
    with suppress(OSError):  # the worker is dead: reading from the pipe shows it
        worker.pipe.send_bytes(content)


def _ready_workers(workers: Sequence[_Worker]) -> list[_Worker]:
    ready = wait([worker.pipe for worker in workers if worker.position is not None])
    return [worker for worker in workers if worker.pipe in ready]


def _receive(worker: _Worker) -> Outcome[Any] | None:
    """Return the outcome of the worker's task, None when the worker is dead."""
    try:
        outcome: Outcome[Any] = pickle.loads(worker.pipe.recv_bytes())
        return outcome
    except (EOFError, OSError):
        return None


def _worker_error(worker: _Worker) -> WorkerDied:
    worker.pipe.close()
    code = _end(worker.process)
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return WorkerDied(
        f"the worker process {how} in each of {MOST_TRIES} tries",
        hint="run it with fewer --jobs, or on a larger machine",
    )


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()  # an idle worker ends at that
        if worker.position is not None:
            worker.process.terminate()
    for worker in workers:
        _end(worker.process)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process, kill it when that takes too long, and return its exit code, -N for signal N."""
    try:
        code = process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    atexit.unregister(process.kill)
    return code

"""Share one worker process among the tests, which would start hundreds and import torch and timm in each."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from zoo.runtime.engines import dumps
from zoo.runtime.limits import for_building
from zoo.runtime.sandbox import HEAVY
from zoo.runtime.worker_process import WorkerProcess


class SharedWorkers:
    """It stands in for the class WorkerProcess: a worker that a run has closed serves the next run."""

    def __init__(self) -> None:
        self._idle: WorkerProcess | None = None
        self._process = self._state()

    def __call__(self, number: int, jobs: int, context: bytes) -> WorkerProcess:
        """Return the idle worker with this context, or a new one."""
        if jobs > 1 or self._state() != self._process:
            return WorkerProcess(number, jobs, context)
        worker, self._idle = self._idle, None
        if worker is None or worker.has_ended() or not _became(worker):
            worker = WorkerProcess(number, jobs, b"")
        worker._send(context)
        worker.close = lambda: self._keep(worker)  # type: ignore[method-assign]  # for this worker only
        return worker

    def end(self) -> None:
        """End the idle worker."""
        if self._idle is not None:
            self._idle.end()

    def _keep(self, worker: WorkerProcess) -> None:
        if self._idle is not None:
            self._idle.end()
        self._idle = worker

    @staticmethod
    def _state() -> tuple[Path, list[str]]:
        """Return what a worker takes from this process and keeps: the working folder, and where modules are imported from."""
        return Path.cwd(), list(sys.path)


def _became(worker: WorkerProcess) -> bool:
    """Give the worker the variables of this process; return whether that worked."""
    worker.begin(for_building(), HEAVY, dumps((set_variables, (dict(os.environ),), False)))
    for _ in range(6000):
        try:
            if any(message.kind == "done" for message in worker.messages()):
                return True
        except Exception:  # the worker died
            break
        time.sleep(0.01)
    worker.end()
    return False


def set_variables(variables: dict[str, str]) -> None:
    """Set the environment variables of this process, which is a worker, but for its number."""
    number = os.environ["ZOO_WORKER"]
    os.environ.clear()
    os.environ.update({**variables, "ZOO_WORKER": number})

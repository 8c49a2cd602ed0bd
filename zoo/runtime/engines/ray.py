"""Run tasks on a Ray cluster, each on a free core or accelerator, and again on another node when a node dies.

It needs the extra `ray`. `address` is the cluster's (`auto` for the one that this machine is part of); without an address,
a cluster of this machine alone is started. `jobs` has no effect: Ray runs as many tasks as it has resources for, with one
accelerator each where the cluster has any. zoo must be installed on every node; weights and data are looked for on the
node where a task runs.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from zoo.errors import CannotCheck
from zoo.runtime import process
from zoo.runtime.engines import MOST_TRIES, Options, Outcome, Result, Task, WorkerDied, dumps, run_task

USAGE_REPORT = "RAY_USAGE_STATS_ENABLED"


def run(
    work: Callable[[Task], Result], tasks: Sequence[Task], options: Options
) -> Generator[Outcome[Result], None, None]:
    """Yield the outcome of every task, as soon as each is done.

    A task whose node or process dies is started again on another, MOST_TRIES times in all; then its outcome is WorkerDied.
    Raises CannotCheck when ray is not installed or there is no cluster at the address, UsageError as `dumps` does.
    """
    payload = dumps(work)
    ray, is_ours = _connect(options.address)
    resources = {"num_gpus": 1} if ray.cluster_resources().get("GPU", 0) else {"num_cpus": 1}
    run_remotely = ray.remote(max_retries=MOST_TRIES - 1, **resources)(_run_task)
    reference = ray.put(payload)
    pending = {run_remotely.remote(reference, n, dumps(task), is_ours): n for n, task in enumerate(tasks)}
    try:
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            yield _outcome(ray, done, pending.pop(done))
    finally:
        for unfinished in pending:
            ray.cancel(unfinished, force=True)
        if is_ours:
            ray.shutdown()


def _outcome(ray: Any, reference: Any, position: int) -> Outcome[Any]:
    try:
        outcome: Outcome[Any] = pickle.loads(ray.get(reference))
        return outcome
    except ray.exceptions.RayError as error:
        reason = str(error).strip().rpartition("\n")[2]
        what = f"the worker or its node died in each of {MOST_TRIES} tries, or cannot start: {reason}"
        return Outcome(
            position, error=WorkerDied(what, hint="read the cluster's log; zoo must be installed on every node")
        )


def _run_task(work: bytes, position: int, task: bytes, is_ours: bool) -> bytes:
    """Do one task, in a worker of the cluster. The workers of a connection that zoo made run nothing else."""
    if is_ours:
        process.claim()
    return run_task(work, position, task)


def _connect(address: str | None) -> tuple[Any, bool]:
    """Return (ray, whether the connection was made here): an existing connection is used as it is."""
    try:
        import ray
    except ImportError as error:
        raise CannotCheck("ray is not installed", hint="pip install 'zoo-verify[ray]'") from error
    if ray.is_initialized():
        return ray, False
    try:
        with _no_usage_report():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CannotCheck(f"no Ray cluster at {address}: {reason}", hint="run `ray status`") from error
    return ray, True


@contextmanager
def _no_usage_report() -> Iterator[None]:
    """Start Ray without its report of usage to its makers, unless the user set the variable."""
    is_set = USAGE_REPORT in os.environ
    os.environ.setdefault(USAGE_REPORT, "0")
    try:
        yield
    finally:
        if not is_set:
            del os.environ[USAGE_REPORT]

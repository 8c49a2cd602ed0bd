"""A Ray cluster: a task is done wherever there is a free core or accelerator, and again elsewhere when a node dies (extra `ray`).

`address` is the cluster's (`auto` for the one that this machine is part of); without one a cluster of this machine alone is
begun. `jobs` plays no part: Ray runs as many tasks as there are resources for, with one accelerator each where the cluster
has any. zoo must be installed on every node; weights and data are looked for on the node where a task runs.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from zoo.errors import CannotCheck
from zoo.runtime.engines import MOST_TRIES, Options, Outcome, Result, Task, WorkerDied, attempt, dumps


def run(work: Callable[[Task], Result], tasks: Sequence[Task], options: Options) -> Iterator[Outcome[Result]]:
    """The outcome of every task, as they are done.

    A task whose node or process dies is begun again elsewhere, MOST_TRIES times in all; then its outcome is WorkerDied.
    Raises CannotCheck when ray is not installed or there is no cluster at the address.
    """
    ray, is_ours = _connect(options.address)
    resources = {"num_gpus": 1} if ray.cluster_resources().get("GPU", 0) else {"num_cpus": 1}
    run_remotely = ray.remote(max_retries=MOST_TRIES - 1, **resources)(_run_task)
    payload = ray.put(dumps(work))
    pending = {run_remotely.remote(payload, position, dumps(task)): position for position, task in enumerate(tasks)}
    try:
        while pending:
            (reference,), _ = ray.wait(list(pending), num_returns=1)
            yield _outcome(ray, reference, pending.pop(reference))
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)
        if is_ours:
            ray.shutdown()


def _outcome(ray: Any, reference: Any, position: int) -> Outcome[Any]:
    try:
        outcome: Outcome[Any] = pickle.loads(ray.get(reference))
        return outcome
    except ray.exceptions.RayError as error:
        reason = str(error).strip().rpartition("\n")[2]
        what = f"its worker or node died {MOST_TRIES} times, or cannot begin: {reason}"
        return Outcome(
            position, error=WorkerDied(what, hint="look at the cluster's log; zoo must be installed on every node")
        )


def _run_task(payload: bytes, position: int, task: bytes) -> bytes:
    """One task, in a worker of the cluster."""
    return dumps(attempt(_load_work(payload), position, pickle.loads(task)))


@lru_cache(maxsize=1)
def _load_work(payload: bytes) -> Callable[[Any], Any]:
    """The work, made once in each worker, so that what it keeps (a model) serves all the tasks that come here."""
    work: Callable[[Any], Any] = pickle.loads(payload)
    return work


def _connect(address: str | None) -> tuple[Any, bool]:
    """(ray, whether the connection was made here): an open connection is used as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray tells its makers that it was used
    try:
        import ray
    except ImportError as error:
        raise CannotCheck("ray is not installed", hint="pip install 'zoo-verify[ray]'") from error
    if ray.is_initialized():
        return ray, False
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CannotCheck(f"no Ray cluster at {address}: {reason}", hint="`ray status` says what there is") from error
    return ray, True

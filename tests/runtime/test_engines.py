from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest

from zoo.errors import UnknownName, WrongContent
from zoo.models.subject import Evaluation, Settings
from zoo.registry.catalog import load_catalog
from zoo.runtime.engines import Options, Outcome, WorkerDied, in_order, local
from zoo.verification import runner

LONG_SECONDS = 60


def double(number: int) -> int:
    return 2 * number


def process(task: object) -> int:
    return os.getpid()


def threads(task: object) -> str:
    return os.environ["OMP_NUM_THREADS"]


def fail(kind: str) -> None:
    raise UnknownName("model", "resnst", ["resnest"]) if kind == "unknown" else WrongContent("bad bytes", hint="again")


def die_the_first_time(folder: Path, task: int) -> int:
    """Task 2 kills its process when it is begun for the first time."""
    if task == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def die(task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def finish_or_sleep(folder: Path, task: int) -> None:
    (folder / str(os.getpid())).touch()
    if task:
        time.sleep(LONG_SECONDS)


def test_every_task_has_its_outcome_in_order() -> None:
    outcomes = in_order(local.run(double, range(20), Options(jobs=3)))
    assert [(outcome.position, outcome.result()) for outcome in outcomes] == [(n, 2 * n) for n in range(20)]


def test_no_tasks_start_no_worker() -> None:
    assert list(local.run(double, [], Options(jobs=3))) == []


def test_work_runs_in_as_many_processes_as_jobs_and_not_in_this_one() -> None:
    processes = {outcome.result() for outcome in local.run(process, range(40), Options(jobs=2))}
    assert len(processes) == 2 and os.getpid() not in processes


def test_workers_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "cores", lambda: 7)
    assert {outcome.result() for outcome in local.run(threads, range(4), Options(jobs=2))} == {"3"}


def test_an_error_comes_back_as_it_was_raised_with_the_workers_traceback() -> None:
    wrong, unknown = in_order(local.run(fail, ["wrong", "unknown"], Options(jobs=1)))
    assert isinstance(wrong.error, WrongContent) and (wrong.error.what, wrong.error.hint) == ("bad bytes", "again")
    assert isinstance(unknown.error, UnknownName) and unknown.error.hint == "did you mean resnest?"
    with pytest.raises(WrongContent) as raised:
        wrong.result()
    assert "in fail" in str(raised.value.__cause__)


def test_a_killed_worker_loses_only_its_task_which_is_tried_again(tmp_path: Path) -> None:
    outcomes = local.run(partial(die_the_first_time, tmp_path), range(6), Options(jobs=2))
    assert sorted(outcome.result() for outcome in outcomes) == list(range(6))
    assert (tmp_path / "died").exists()


def test_a_task_that_always_kills_its_worker_is_lost_and_the_others_are_done() -> None:
    outcomes = list(in_order(local.run(die, range(4), Options(jobs=2))))
    assert [outcome.value for outcome in outcomes] == [0, None, 2, 3]
    assert isinstance(outcomes[1].error, WorkerDied) and "SIGKILL" in str(outcomes[1].error)


def test_closing_the_outcomes_ends_the_workers(tmp_path: Path) -> None:
    workers = local.run(partial(finish_or_sleep, tmp_path), range(2), Options(jobs=2))
    next(workers)
    workers.close()  # type: ignore[attr-defined]  # run is a generator
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_read_only_mappings_reach_a_worker() -> None:
    mapping = MappingProxyType({"a": MappingProxyType({"b": 1})})
    (outcome,) = local.run(dict, [mapping], Options(jobs=1))
    assert outcome.result() == {"a": MappingProxyType({"b": 1})}


def test_outcomes_wait_for_those_before_them() -> None:
    late = [Outcome(2, "c"), Outcome(0, "a"), Outcome(1, "b")]
    assert [outcome.result() for outcome in in_order(late)] == ["a", "b", "c"]


def test_verifying_with_several_jobs_finds_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    zoo = load_catalog()
    cards = [zoo.find(name) for name in ("resnest_digits", "resnest50d", "resnest101e")]
    checks = ("schema", "consistency", "params")
    two = Settings(evaluation=Evaluation(options=Options(jobs=2)))
    wide = list(runner.verify(cards, zoo, two, checks))
    assert wide == list(runner.verify(cards, zoo, Settings(), checks))

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.helpers.project import ROOT
from zoo.errors import UnknownName, WrongContent
from zoo.models.subject import Evaluation, Settings
from zoo.registry.catalog import load_catalog
from zoo.runtime import worker_process
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
    """Kill the process of task 2 the first time that it starts."""
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


def interrupt_itself(task: object) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def raise_import_error() -> None:
    raise ImportError("on purpose")


class Unloadable:
    """An object whose unpickling raises ImportError."""

    def __call__(self, task: int) -> int:
        return task

    def __reduce__(self) -> tuple[Any, ...]:
        return raise_import_error, ()


def run_python(command: Sequence[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder, with zoo and these tests on its path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=LONG_SECONDS
    )


def test_every_task_has_an_outcome_in_order() -> None:
    outcomes = in_order(local.run(double, range(20), Options(jobs=3)))
    assert [(outcome.position, outcome.result()) for outcome in outcomes] == [(n, 2 * n) for n in range(20)]


def test_no_tasks_start_no_worker() -> None:
    assert list(local.run(double, [], Options(jobs=3))) == []


def test_work_runs_in_as_many_other_processes_as_jobs() -> None:
    processes = {outcome.result() for outcome in local.run(process, range(40), Options(jobs=2))}
    assert len(processes) == 2 and os.getpid() not in processes


def test_workers_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(worker_process, "cores", lambda: 7)
    assert {outcome.result() for outcome in local.run(threads, range(4), Options(jobs=2))} == {"3"}


def test_an_error_comes_back_as_it_was_raised_with_the_workers_traceback() -> None:
    wrong, unknown = in_order(local.run(fail, ["wrong", "unknown"], Options(jobs=1)))
    assert isinstance(wrong.error, WrongContent) and (wrong.error.what, wrong.error.hint) == ("bad bytes", "again")
    assert isinstance(unknown.error, UnknownName) and unknown.error.hint == "did you mean 'resnest'?"
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
    workers.close()
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_a_worker_that_cannot_start_loses_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "_START", "raise SystemExit(3)")
    outcomes = list(local.run(double, range(2), Options(jobs=2)))
    assert [str(outcome.error).splitlines()[0] for outcome in outcomes] == [
        "the worker process ended with exit code 3 in each of 2 tries"
    ] * 2


def test_what_cannot_be_unpickled_is_an_error_of_the_task() -> None:
    (outcome,) = local.run(Unloadable(), range(1), Options(jobs=1))
    assert isinstance(outcome.error, ImportError)
    (failed,) = local.run(str, [Unloadable()], Options(jobs=1))
    assert isinstance(failed.error, ImportError)


def test_a_function_or_class_of_the_script_is_refused(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
            from zoo.errors import UsageError
            from zoo.runtime.engines import Options, local

            def double(number): return 2 * number
            class Task: pass

            for work, tasks in ((double, [1]), (abs, [Task()])):
                try: list(local.run(work, tasks, Options(jobs=1)))
                except UsageError as error: print(error.what, "|", error.hint)
        """)
    )
    ran = run_python(["script.py"], tmp_path)
    assert ran.stdout == "".join(
        f"workers cannot use {name}: it is defined in the script that runs (__main__)"
        " | move it into a module that can be imported\n"
        for name in ("double", "Task")
    ), ran.stderr


def test_a_worker_does_not_import_from_the_folder_of_the_script_or_the_working_folder(tmp_path: Path) -> None:
    elsewhere, working = tmp_path / "scripts", tmp_path / "working"
    elsewhere.mkdir()
    working.mkdir()
    code = "import sys; sys.path.append(ADDED)".replace("ADDED", repr(str(tmp_path / "added")))
    task = "__import__('sys').path"
    body = f"{code}; from zoo.runtime.engines import Options, local; print(*next(local.run(eval, [{task!r}], Options())).result(), sep='\\n')"
    (elsewhere / "script.py").write_text(body)
    for command in (["-c", body], [str(elsewhere / "script.py")], ["-m", "script"]):
        folder = elsewhere if command[0] == "-m" else working
        ran = run_python(command, folder)
        path = ran.stdout.splitlines()
        assert str(tmp_path / "added") in path and str(ROOT) in path, ran.stderr
        assert not {"", str(elsewhere), str(working)} & set(path)


def test_a_folder_that_python_is_given_stays_on_the_path_of_a_worker(tmp_path: Path) -> None:
    task = "__import__('sys').path"
    body = f"from zoo.runtime.engines import Options, local; print(*next(local.run(eval, [{task!r}], Options())).result(), sep='\\n')"
    ran = run_python(["-c", body], tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert str(tmp_path) in ran.stdout.splitlines(), ran.stderr


def test_workers_end_when_their_caller_is_killed(tmp_path: Path) -> None:
    body = f"""
import os, signal
from functools import partial
from pathlib import Path
from tests.runtime.test_engines import finish_or_sleep
from zoo.runtime.engines import Options, local
next(local.run(partial(finish_or_sleep, Path({str(tmp_path)!r})), [0], Options(jobs=1)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = run_python(["-c", body], tmp_path)  # returns once the worker, too, has closed its standard output
    assert ran.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_does_not_reach_a_worker() -> None:
    (outcome,) = local.run(interrupt_itself, [None], Options(jobs=1))
    assert outcome.result() == "still here"


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

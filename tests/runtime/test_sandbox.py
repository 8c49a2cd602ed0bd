"""Calls in workers: what they return, what ends them, and that nothing else happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.project import ROOT
from tests.runtime import calls
from zoo.errors import CannotCheck, NotHere, WrongContent
from zoo.runtime import limits, process, sandbox
from zoo.runtime.engines import Outcome, WorkerDied
from zoo.runtime.limits import GB, LimitExceeded, Limits
from zoo.runtime.sandbox import Ask, Steps

LIGHT = ()
"""No heavy imports: these calls need no torch."""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")


def ask(function: Callable[..., Any], *arguments: Any, seconds: float | None = 20, **options: Any) -> Ask:
    memory_bytes = options.pop("memory_bytes", GB)
    renewable = options.pop("renewable", False)
    return Ask(function, arguments, Limits(seconds, memory_bytes, renewable, hint="do less"), LIGHT, **options)


def steps_of(*asked: Ask) -> Steps[list[Outcome[Any]]]:
    outcomes = []
    for item in asked:
        outcomes.append((yield item))
    return outcomes


def outcomes_of(*asked: Ask, context: object = None) -> list[Outcome[Any]]:
    """Return the outcomes of these calls, made one after another by one task."""
    return sandbox.result_of(steps_of(*asked), context=context)


def error_of(asked: Ask) -> Exception:
    (outcome,) = outcomes_of(asked)
    assert outcome.error is not None
    return outcome.error


def has_ended(number: int) -> bool:
    """Return whether the process ends within five seconds: a signal needs a moment."""
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_calls_of_a_task_run_in_one_worker_and_not_in_this_process() -> None:
    first, second = (outcome.result() for outcome in outcomes_of(ask(calls.process_id), ask(calls.process_id)))
    assert first == second != os.getpid()
    assert has_ended(first)


def test_an_error_is_raised_as_it_was_with_the_traceback_of_the_worker() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        sandbox.call(eval, "1 / 0")
    assert "ZeroDivisionError" in str(raised.value.__cause__)


def test_a_call_that_takes_too_long_is_ended_and_the_next_one_gets_a_new_worker() -> None:
    before, late, after = outcomes_of(ask(calls.process_id), ask(time.sleep, 60, seconds=0.5), ask(calls.process_id))
    assert isinstance(late.error, LimitExceeded)
    assert (late.error.what, late.error.hint) == ("took longer than 0 s", "do less")
    assert before.result() != after.result()


def test_a_call_that_holds_the_lock_of_the_interpreter_is_ended() -> None:
    assert isinstance(error_of(ask(calls.backtrack, seconds=0.5)), LimitExceeded)


def test_signs_of_life_renew_a_renewable_limit_only() -> None:
    events: list[int] = []
    slow = [
        ask(calls.progress, 1.1, 3, seconds=2.5, renewable=True, on_event=events.append),
        ask(calls.progress, 1.1, 3, seconds=2.5),
        ask(calls.progress, 60, 1, seconds=1, renewable=True),
    ]
    renewed, late, stalled = outcomes_of(*slow)
    assert (renewed.result(), events) == ("done", [0, 1, 2])
    assert isinstance(late.error, LimitExceeded)
    assert str(stalled.error).startswith("made no progress for 1 s")


@linux_only
@pytest.mark.parametrize(
    "asked",
    [
        ask(calls.allocate, 2 * GB),
        ask(calls.allocate_hidden),
        ask(calls.share, 3 * GB),
        ask(calls.abort_like_c_plus_plus),
    ],
    ids=["block", "hidden", "shared", "abort"],
)
def test_a_call_that_needs_too_much_memory_is_ended(asked: Ask) -> None:
    limited, after = outcomes_of(asked, ask(calls.process_id))
    assert isinstance(limited.error, LimitExceeded)
    assert limited.error.what == "needs more than 1.0 GB of memory"
    assert after.error is None


@linux_only
def test_torchs_own_error_is_one_of_memory() -> None:
    with pytest.raises(LimitExceeded, match=r"more than 2\.0 GB"):
        sandbox.call(calls.allocate_tensor, GB)
    assert sandbox.call(calls.allocate_tensor, GB // 8) == GB // 8


@linux_only
def test_what_is_below_the_limit_may_be_allocated_again_and_again() -> None:
    half = ask(calls.allocate, GB // 2)
    assert [outcome.result() for outcome in outcomes_of(half, half, half)] == [GB // 2] * 3


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (ask(calls.leave, 0), "the worker process ended with exit code 0"),
        (ask(calls.leave, 3), "the worker process ended with exit code 3"),
        (ask(calls.kill, signal.SIGSEGV), "the worker process was killed by SIGSEGV"),
        (
            ask(calls.kill, signal.SIGKILL),
            "the worker process was killed by SIGKILL, probably because the machine ran out of memory",
        ),
    ],
)
def test_a_worker_that_dies_is_reported_and_not_tried_again(asked: Ask, what: str) -> None:
    died, after = outcomes_of(asked, ask(calls.process_id))
    assert isinstance(died.error, WorkerDied) and died.error.what == what
    assert after.error is None


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_errors_that_would_end_a_process_end_the_call(kind: type[BaseException]) -> None:
    failed, after = outcomes_of(ask(calls.raise_, kind), ask(calls.process_id))
    assert isinstance(failed.error, CannotCheck) and failed.error.what == f"{kind.__name__}: on purpose"
    assert after.error is None


def test_a_result_that_was_fixed_counts_when_a_limit_ends_the_call() -> None:
    late, full, better = outcomes_of(
        ask(calls.settle_and_sleep, WrongContent("differs"), seconds=0.5),
        ask(calls.settle_and_allocate, 5),
        ask(calls.settle_and_improve, 5),
    )
    assert isinstance(late.error, WrongContent)
    assert full.result() == 5
    assert better.result() == "better"


def test_a_fork_neither_answers_nor_stays() -> None:
    twice = outcomes_of(ask(calls.fork_and_return), ask(calls.fork_and_return))
    assert len({outcome.result() for outcome in twice}) == 1


def test_the_death_of_a_worker_is_noticed_when_a_child_holds_its_connection(tmp_path: Path) -> None:
    error = error_of(ask(calls.fork_and_leave, tmp_path / "child"))
    assert isinstance(error, WorkerDied) and "exit code 7" in error.what
    assert has_ended(int((tmp_path / "child").read_text()))


def test_what_a_worker_prints_is_shown_only_as_the_reason_of_its_death(capfd: pytest.CaptureFixture[str]) -> None:
    assert outcomes_of(ask(calls.chatter, 200))[0].result() == 200
    (died,) = outcomes_of(ask(eval, "print('on purpose', flush=True) or __import__('os')._exit(1)"))
    assert isinstance(died.error, WorkerDied) and died.error.output == "on purpose"
    assert capfd.readouterr() == ("", "")


def test_each_call_begins_in_the_same_working_folder() -> None:
    assert {outcome.result() for outcome in outcomes_of(*[ask(calls.change_folder)] * 2)} == {str(Path.cwd())}


@pytest.mark.parametrize("content", [b"x" * 100, calls.start_of_frame(), calls.forged(2, number=9), b"\xff" * 8])
def test_bytes_that_are_not_an_answer_end_the_call(content: bytes) -> None:
    garbled, after = outcomes_of(ask(calls.garble, content, seconds=3), ask(calls.process_id))
    assert garbled.error is not None
    assert after.error is None


def test_an_answer_does_not_import_torch_here() -> None:
    body = """
import sys
from tests.runtime import calls
from zoo.runtime import sandbox
try: sandbox.call(calls.tensor)
except Exception as error: print(type(error).__name__, "torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", body], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "CannotCheck False\n"


def test_the_context_is_sent_once_to_each_worker() -> None:
    added = [ask(calls.with_context, number, takes_context=True) for number in (1, 2)]
    first, second = (outcome.result() for outcome in outcomes_of(*added, context=[0]))
    assert first[1:] == [0, 1] and second[1:] == [0, 1, 2] and first[0] == second[0]


def test_a_worker_that_ran_code_of_a_card_serves_no_other_task() -> None:
    tasks = [steps_of(ask(calls.process_id, runs_code=code)) for code in (False, False, True, False)]
    numbers = [outcome.result()[0].result() for outcome in sandbox.run(tasks)]
    assert numbers[0] == numbers[1] == numbers[2] != numbers[3]


def test_tasks_without_calls_start_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.runtime.worker_process.WorkerProcess", None)
    assert [outcome.result() for outcome in sandbox.run([steps_of(), steps_of()], jobs=2)] == [[], []]


def test_several_tasks_run_at_a_time() -> None:
    started = time.monotonic()
    tasks = [steps_of(ask(time.sleep, 2)) for _ in range(2)]
    outcomes = list(sandbox.run(tasks, jobs=2))
    assert {outcome.position for outcome in outcomes} == {0, 1}
    assert time.monotonic() - started < 3.9


def test_an_error_of_the_steps_is_the_outcome_of_their_task() -> None:
    def failing() -> Steps[None]:
        yield ask(calls.process_id)
        raise NotHere("on purpose")

    failed, done = sandbox.run([failing(), steps_of()])
    assert isinstance(failed.error, NotHere) and done.result() == []


def test_closing_the_run_ends_the_worker(tmp_path: Path) -> None:
    def interrupted(event: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(sandbox.run([steps_of(ask(calls.progress, 0.1, 600, on_event=interrupted))]))


def test_a_busy_worker_ends_when_its_caller_is_killed() -> None:
    body = """
import os, signal
from tests.runtime import calls
from tests.runtime.test_sandbox import ask, steps_of
from zoo.runtime import sandbox
def stop(event):
    print(event, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
list(sandbox.run([steps_of(ask(calls.emit_id_and_sleep, seconds=60, on_event=stop))]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", body], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert has_ended(int(ran.stdout))


def test_ctrl_c_reaches_this_process_only() -> None:
    assert sandbox.call(calls.ignored_signals)
    assert not process.is_worker()


def test_the_memory_of_the_machine_is_that_of_its_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = limits.memory_bytes()
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path)
    for folder in {"", *(line.split(":", 2)[2].lstrip("/") for line in lines)}:
        for top in (tmp_path, tmp_path / "memory"):
            (top / folder).mkdir(parents=True, exist_ok=True)
            (top / folder / "memory.max").write_text("max\n")
    assert limits.memory_bytes() == limits.memory_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for top in (tmp_path, tmp_path / "memory"):
        (top / "memory.max").write_text(str(GB))
        (top / "memory.limit_in_bytes").write_text(str(GB))
    assert limits.memory_bytes() == GB < machine
    assert limits.memory_share(2) == int(0.4 * GB)

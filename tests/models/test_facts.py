"""A fact is measured once, and has a key of everything that can change it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from zoo.models import facts
from zoo.models.facts import Fact
from zoo.runtime.storage import state_folder


@pytest.fixture(autouse=True)
def _empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))


def key(**inputs: object) -> str:
    return facts.fact_key("params", measured_by=("zoo.flops.counting",), libraries=("torch",), **inputs)


def test_a_fact_is_measured_once() -> None:
    measured = []

    def measure() -> Fact:
        measured.append(1)
        return Fact(len(measured), {"by": "test"})

    for _ in range(3):
        fact = facts.recall_or_measure(key(entry="a"), measure)
        assert (fact.value, fact.evidence) == (1, {"by": "test"})
    assert len(measured) == 1


def test_refresh_measures_again_and_caches_the_new_fact() -> None:
    facts.keep(key(entry="a"), Fact(1))
    assert facts.recall_or_measure(key(entry="a"), lambda: Fact(2), refresh=True).value == 2
    assert facts.recall_or_measure(key(entry="a"), lambda: Fact(3)).value == 2


def test_everything_that_can_change_a_fact_changes_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        key(entry="a"),
        key(entry="b"),
        key(entry="a", options={"x": 1}),
        facts.fact_key("flops", measured_by=("zoo.flops.counting",), libraries=("torch",), entry="a"),
        facts.fact_key("params", measured_by=("zoo.models.build",), libraries=("torch",), entry="a"),
        facts.fact_key("params", measured_by=("zoo.flops.counting",), libraries=("timm",), entry="a"),
    }
    monkeypatch.setattr(facts, "version_of", lambda name: "9.9")
    keys.add(key(entry="a"))
    monkeypatch.setattr(facts, "code_sha256", lambda *modules: "another")
    keys.add(key(entry="a"))
    assert len(keys) == 8


def test_a_damaged_fact_is_measured_again() -> None:
    facts.keep(key(entry="a"), Fact(1))
    (file,) = state_folder("facts").glob("*/*.json")
    file.write_text('{"value": 1')
    assert facts.recall(key(entry="a")) is None
    assert facts.recall_or_measure(key(entry="a"), lambda: Fact(2)).value == 2


def test_a_fact_is_measured_when_the_cache_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ZOO_HOME", str(blocked / "below-a-file"))
    assert facts.recall_or_measure(key(entry="a"), lambda: Fact(7)).value == 7


def _write(number: int) -> None:
    for _ in range(50):
        facts.keep(key(entry="shared"), Fact(number, {"filler": "x" * 10000}))


def test_concurrent_writers_leave_a_whole_fact_and_no_other_files() -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(number,)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    read = set()
    while any(writer.is_alive() for writer in writers):
        fact = facts.recall(key(entry="shared"))
        read.add(None if fact is None else (fact.value, len(fact.evidence["filler"])))
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert read <= {None, (1, 10000), (2, 10000)}
    assert len(list(state_folder("facts").rglob("*"))) == 2

"""What tests share: a home of their own for zoo's files, the command line run in this process, and zoos to tamper with."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo_cli
from tests.helpers.project import ROOT, Ran, RunZoo
from tests.helpers.workers import SharedWorkers


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store of facts for the whole session, so that architectures are counted once."""
    return tmp_path_factory.mktemp("zoo-home")


@pytest.fixture(autouse=True)
def _own_home(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the user's store, cards, data or colours."""
    for name in ("ZOO_CARDS", "ZOO_DATA_DIGITS", "ZOO_DATA_IMAGENET_1K", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZOO_HOME", str(shared_home))
    monkeypatch.setenv("NO_COLOR", "1")
    yield


@pytest.fixture(scope="session")
def _shared_workers() -> Iterator[SharedWorkers]:
    workers = SharedWorkers()
    yield workers
    workers.end()


@pytest.fixture(autouse=True)
def _one_worker(
    request: pytest.FixtureRequest, _shared_workers: SharedWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker process serves all tests but those about workers."""
    if not {"runtime", "attacks"} & set(request.path.parts):
        monkeypatch.setattr("zoo.runtime.worker_process.WorkerProcess", _shared_workers)


@pytest.fixture
def run_zoo(monkeypatch: pytest.MonkeyPatch) -> RunZoo:
    """Run `zoo ARGUMENTS` in this process, errors and exit codes included."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit_info:
            zoo_cli.main()
        code = exit_info.value.code
        return Ran(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def digits_zoo(tmp_path: Path) -> Path:
    """A zoo of one's own to tamper with: the digits model, its weights, and its data."""
    zoo = tmp_path / "zoo"
    shutil.copytree(ROOT / "cards" / "digits", zoo / "digits")
    (zoo / "datasets").mkdir()
    for name in ("digits.yaml", "digits.csv.gz"):
        shutil.copy(ROOT / "cards" / "datasets" / name, zoo / "datasets" / name)
    return zoo

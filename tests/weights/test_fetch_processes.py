"""Fetch in real processes that are killed, interrupted or run at once: the file is right, few bytes are sent twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fetching import MIB, card_about, files_below, noise
from tests.helpers.project import may_be_interrupted
from tests.servers.fault_server import Exchange, FaultServer, good

CONTENT = noise(20 * MIB, seed=7)
ROOT = Path(__file__).parents[2]
FETCH = "import zoo_cli; zoo_cli.main()"
WITHOUT_LOCKS = "import fcntl; fcntl.flock = lambda file, how: None; " + FETCH


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(bytes_per_second=40e6) as server:
        server.site["/net"] = good(CONTENT)
        yield server


class Fetching:
    """Run `zoo fetch net` with its own store and card."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.home = folder / "home"
        self.cards = folder / "cards"
        card_about(self.cards, CONTENT, [server.url("/net")])

    def start(self, program: str = FETCH) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, "fetch", "net", "--connections", "2", "--cards", str(self.cards)]
        away = {name: str(self.home / "none") for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE")}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **away, "ZOO_HOME": str(self.home)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=may_be_interrupted,
        )

    def finish(self, process: subprocess.Popen[str]) -> None:
        """Wait for the process and check that it printed the path of the right file."""
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert hashlib.sha256(Path(out.strip()).read_bytes()).digest() == hashlib.sha256(CONTENT).digest()


@pytest.fixture
def fetching(tmp_path: Path, server: FaultServer) -> Fetching:
    return Fetching(tmp_path, server)


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_fetch_is_resumed_by_the_next_process(fetching: Fetching, server: FaultServer, seed: int) -> None:
    killed = fetching.start()
    assert server.wait_for_bytes(int(random.Random(seed).uniform(0.02, 0.9) * len(CONTENT)))
    killed.kill()
    killed.communicate()
    fetching.finish(fetching.start())
    assert server.bytes_served <= 1.15 * len(CONTENT)
    assert [name for name in files_below(fetching.home) if not name.startswith("blobs/")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_fetch_reports_it_and_keeps_its_bytes(
    fetching: Fetching, server: FaultServer, number: signal.Signals
) -> None:
    process = fetching.start()
    assert server.wait_for_bytes(len(CONTENT) // 2)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.endswith("interrupted; finished work is kept\n")
    (sidecar,) = (fetching.home / "partial").glob("*.json")
    assert json.loads(sidecar.read_text())["pid"] == 0
    fetching.finish(fetching.start())
    assert server.bytes_served <= 1.15 * len(CONTENT)


def test_eight_processes_share_one_download(fetching: Fetching, server: FaultServer) -> None:
    for process in [fetching.start() for _ in range(8)]:
        fetching.finish(process)
    assert server.bytes_served <= 1.05 * len(CONTENT)
    assert [name for name in files_below(fetching.home) if not name.startswith("blobs/")] == []


def test_eight_processes_get_the_right_file_where_locks_do_nothing(fetching: Fetching, server: FaultServer) -> None:
    together = threading.Barrier(8)

    def after_all_requests(x: Exchange) -> None:
        if x.request.count < 8:
            together.wait(60)
        good(CONTENT)(x)

    server.site["/net"] = after_all_requests
    for process in [fetching.start(WITHOUT_LOCKS) for _ in range(8)]:
        fetching.finish(process)
    assert server.bytes_served >= 8 * len(CONTENT)  # the locks did nothing
    assert [name for name in files_below(fetching.home) if not name.startswith("blobs/")] == []


def test_a_waiting_process_takes_over_when_the_first_is_killed(fetching: Fetching, server: FaultServer) -> None:
    killed = fetching.start()
    assert server.wait_for_bytes(len(CONTENT) // 3)
    waiting = fetching.start()
    killed.kill()
    killed.communicate()
    fetching.finish(waiting)
    assert server.bytes_served <= 1.15 * len(CONTENT)

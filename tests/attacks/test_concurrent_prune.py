"""Several processes use one ZOO_HOME while another prunes it: nothing crashes, and nothing is found wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, RunZoo
from zoo.weights import cache

CHURN = """
import contextlib, hashlib, os, pathlib, sys, time
home, end = pathlib.Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])

def write(path, content):
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

while time.monotonic() < end:
    for number in range(20):
        content = f"content {number}".encode()
        folder = home / "blobs" / hashlib.sha256(content).hexdigest()
        write(folder / "net.pth", content)
        write(folder / ".record-2.json", b"{}")
        for kind in ("partial", "quarantine"):
            write(home / kind / f"{number}.part", content)
            write(home / kind / f"{number}.json", b"{}")
            write(home / kind / f"{number}.client" / "file", b"")
    for place, folders, names in os.walk(home, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):
                pathlib.Path(place, name).unlink()
        for name in folders:
            with contextlib.suppress(OSError):
                pathlib.Path(place, name).rmdir()
"""
SECONDS = 2.0


def test_listing_verifying_and_pruning_while_files_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    other = subprocess.Popen([sys.executable, "-c", CHURN, str(tmp_path), str(SECONDS)])
    rounds = seen = 0
    while other.poll() is None:
        found = (*cache.blobs(), *cache.rest())
        cache.interrupted()
        checked = list(cache.verify(cache.blobs(), jobs=2))
        assert all(item.sha256 in (item.entry.sha256, hashlib.sha256(b"").hexdigest(), "") for item in checked)
        for entry in cache.removable(
            (), cache.rest(), now=time.time() + cache.KEPT_SECONDS + 1, older_than_seconds=None, max_bytes=0
        ):
            cache.remove(entry)
        rounds, seen = rounds + 1, seen + len(found)
    assert other.returncode == 0 and rounds > 3 and seen > 0


def test_two_runs_and_a_prune_at_once_find_what_one_finds(tmp_path: Path, run_zoo: RunZoo) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    for number in range(80):  # enough for an index
        (cards / f"m{number}.yaml").write_text(f"schema: 1\nname: m{number}\nlicense: mit\n")
    variables = {**os.environ, "ZOO_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "zoo"]
    commands = [
        [*command, "verify", "--all", "--cards", str(cards)],
        [*command, "verify", "--all", "--cards", str(cards)],
        [*command, "cache", "prune", "--older-than", "0s", "--max-size", "0"],
        [*command, "validate", "--all", "--cards", str(cards)],
    ]
    running = [
        subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for arguments in commands
    ]
    outcomes = [(*process.communicate(timeout=100), process.returncode) for process in running]
    assert [code for _, _, code in outcomes] == [0, 0, 0, 0], outcomes
    assert outcomes[0][0] == outcomes[1][0]


@pytest.mark.parametrize("kind", ["fifo", "dangling", "folder", "loop"])
def test_what_is_no_file_among_the_blobs_is_listed_and_removed(
    kind: str, tmp_path: Path, run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    path = tmp_path / "blobs" / ("0" * 64) / "net.pth"
    path.parent.mkdir(parents=True)
    {
        "fifo": lambda: os.mkfifo(path),
        "dangling": lambda: path.symlink_to("/nonexistent"),
        "folder": lambda: (path / "deep").mkdir(parents=True),
        "loop": lambda: path.symlink_to(path),
    }[kind]()
    assert run_zoo("cache", "list").out.startswith("000000000000 ")
    ran = run_zoo("cache", "verify")
    assert ran.code == 3 and "ok" not in ran.out
    assert run_zoo("cache", "prune", "--older-than", "0s").code == 0
    assert not os.path.lexists(path)

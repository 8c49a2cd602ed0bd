"""`zoo fetch` and `zoo cache` as a user runs them: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fetching import MIB, card_about, files_below, noise, sha256
from tests.servers.fault_server import FaultServer, first, good, status
from tests.weights.test_store import leave_partial_file

CONTENT = noise(300_000)
OTHER = noise(2_000_000, seed=4)
ROOT = Path(__file__).parents[2]
ZOO = [sys.executable, "-c", "import zoo_cli; zoo_cli.main()"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CARDS", str(tmp_path / "cards"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.site["/net"], server.site["/other"] = good(CONTENT), good(OTHER)
        yield server


@pytest.fixture
def cards(server: FaultServer, home: Path, tmp_path: Path) -> Path:
    card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    card_about(tmp_path / "cards", OTHER, [server.url("/other")], name="other")
    return tmp_path / "cards"


def zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ZOO, *arguments], cwd=ROOT, capture_output=True, text=True)


def place(home: Path, content: bytes, name: str) -> str:
    return str(home / "blobs" / sha256(content) / f"{name}.pth")


def test_paths_go_to_stdout_and_messages_to_stderr(cards: Path, home: Path, server: FaultServer) -> None:
    completed = zoo("fetch", "other", "net")
    assert completed.stdout == f"{place(home, OTHER, 'other')}\n{place(home, CONTENT, 'net')}\n"
    assert completed.stderr == (
        f"other: other.pth, 2.0 MB, from {server.url('/other')}\nnet: net.pth, 300.0 kB, from {server.url('/net')}\n"
    )
    assert completed.returncode == 0


def test_a_dry_run_lists_present_and_missing_files_and_the_free_space(cards: Path, home: Path) -> None:
    zoo("fetch", "net")
    card_about(cards, None, ["https://host/unsized"], name="unsized")
    completed = zoo("fetch", "--all", "--dry-run")
    *lines, total = completed.stdout.splitlines()
    assert lines == [
        f"here       300.0 kB  net  {place(home, CONTENT, 'net')}",
        "download     2.0 MB  other  other.pth",
        "download          ?  unsized  unsized.pth",
    ]
    assert total.startswith("3 files, 2 to download: 2.0 MB and 1 of unknown size; ")
    assert total.endswith(" free on the disk")


def test_offline_a_missing_file_exits_3(cards: Path, home: Path, server: FaultServer) -> None:
    completed = zoo("fetch", "net", "--offline")
    assert (completed.returncode, completed.stdout, server.connections) == (3, "", 0)
    assert completed.stderr.endswith("net.pth is not on this machine\n  hint: run `zoo fetch net`\n")


def test_a_wrong_file_decides_the_exit_code_before_a_missing_one(cards: Path, home: Path, server: FaultServer) -> None:
    server.site["/other"] = good(CONTENT)
    card_about(cards, CONTENT, [server.url("/none")], name="gone", size_bytes=7)
    completed = zoo("fetch", "--all")
    assert completed.returncode == 1
    assert completed.stdout == f"{place(home, CONTENT, 'net')}\n"  # the wrong ones stopped nothing
    del server.site["/other"]
    assert zoo("fetch", "other").returncode == 3


def test_the_format_selects_the_file(cards: Path, home: Path, server: FaultServer) -> None:
    card = json.loads((cards / "net.yaml").read_text())
    second = {**card["weights"][0], "file": "net.safetensors", "format": "safetensors", "urls": [server.url("/other")]}
    card["weights"].append({**second, "size_bytes": len(OTHER), "sha256": sha256(OTHER)})
    (cards / "net.yaml").write_text(json.dumps(card))
    assert [Path(line).name for line in zoo("fetch", "net", "--format", "safetensors").stdout.split()] == [
        "net.safetensors"
    ]
    assert [Path(line).name for line in zoo("fetch", "net").stdout.split()] == ["net.pth"]
    both = zoo("fetch", "net", "--format", "all").stdout.split()
    assert [Path(line).name for line in both] == ["net.pth", "net.safetensors"]
    missing = zoo("fetch", "other", "--format", "safetensors")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert missing.stderr == "other: the card lists no such weights file\n"


def test_the_cache_of_an_unknown_user_is_ignored(cards: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "~nosuchuser/cache")
    completed = zoo("fetch", "net")
    assert (completed.returncode, completed.stdout) == (0, f"{place(home, CONTENT, 'net')}\n"), completed.stderr


def test_an_unknown_name_exits_2(cards: Path) -> None:
    completed = zoo("fetch", "nett")
    assert completed.returncode == 2
    assert "did you mean 'net'?" in completed.stderr


def test_a_wait_for_a_server_is_reported_once(cards: Path, home: Path, server: FaultServer) -> None:
    server.site["/net"] = first(1, status(503, {"Retry-After": "1"}), then=good(CONTENT))
    completed = zoo("fetch", "net")
    assert completed.stderr.splitlines()[0] == "net: net.pth: the server returned 503; retrying in 1 s"
    assert len(completed.stderr.splitlines()) == 2


def test_a_terminal_shows_bars_and_the_pipe_gets_the_paths(cards: Path, home: Path, server: FaultServer) -> None:
    server.site["/other"], server.bytes_per_second = good(OTHER), 4e6
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ZOO, "fetch", "other", "net"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        text=True,
    )
    os.close(theirs)
    output = b""
    with io.FileIO(ours) as terminal:
        while block := _read(terminal):
            output += block
    assert process.communicate()[0] == f"{place(home, OTHER, 'other')}\n{place(home, CONTENT, 'net')}\n"
    for sign in (b"2 files", b"other.pth", b"/2.0 MB", b"MB/s", b"0:00:0"):
        assert sign in output


def _read(terminal: io.FileIO) -> bytes:
    try:
        return terminal.read(4096)
    except OSError:  # what Linux says when the other end has been closed
        return b""


def test_the_cache_prints_its_folder_and_its_files(cards: Path, home: Path, server: FaultServer) -> None:
    zoo("fetch", "net")
    assert zoo("cache", "path").stdout == f"{home}\n"
    listed = zoo("cache", "list")
    assert listed.stdout == f"{sha256(CONTENT)[:12]}   300.0 kB     0 d  net.pth  {server.url('/net')}\n"
    assert listed.stderr == "1 file, 300.0 kB\n"


def test_interrupted_downloads_are_listed(cards: Path, home: Path) -> None:
    leave_partial_file(home, b"", [], name="x.1", pid=1)
    lines = zoo("cache", "list", "--partial").stdout.splitlines()
    assert lines == ["         0 B of 9.4 MB  active  net.pth  u"]
    leave_partial_file(home, b"\0" * MIB, [[0, MIB]], url="https://host/net")
    assert (
        zoo("cache", "list", "--partial").stdout.splitlines()[0]
        == "      1.0 MB of 9.4 MB  interrupted  net.pth  https://host/net"
    )


def test_a_damaged_file_is_quarantined_and_exits_1(cards: Path, home: Path) -> None:
    zoo("fetch", "--all")
    assert zoo("cache", "verify").returncode == 0
    rotten = Path(place(home, CONTENT, "net"))
    times = rotten.stat()
    rotten.chmod(0o644)
    rotten.write_bytes(CONTENT[:-1] + b"\0")
    os.utime(rotten, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk does it: no stamp tells
    completed = zoo("cache", "verify", "--jobs", "3")
    assert completed.returncode == 1
    wrong = sha256(CONTENT[:-1] + b"\0")
    aside = home / "quarantine" / f"{wrong[:16]}-net.pth"
    assert sorted(completed.stdout.splitlines()) == sorted(
        [
            f"{sha256(CONTENT)[:12]}  net.pth  WRONG, has {wrong}, quarantined as {aside}",
            f"{sha256(OTHER)[:12]}  other.pth  ok",
        ]
    )
    assert zoo("fetch", "net", "--offline").returncode == 3


def test_prune_removes_the_least_recently_used_until_the_rest_fits(cards: Path, home: Path) -> None:
    zoo("fetch", "--all")
    record = Path(place(home, CONTENT, "net")).parent / ".record-2.json"
    os.utime(record, (time.time() - 1000, time.time() - 1000))
    planned = zoo("cache", "prune", "--max-size", "2MB", "--dry-run")
    assert (planned.stdout, planned.stderr) == (f"{place(home, CONTENT, 'net')}\n", "would remove 1 file, 300.0 kB\n")
    assert zoo("cache", "prune", "--max-size", "2MB").stderr == "removed 1 file, 300.0 kB\n"
    assert [name for name in files_below(home) if name.endswith(".pth")] == [f"blobs/{sha256(OTHER)}/other.pth"]
    assert not record.parent.exists()


def test_prune_removes_files_by_the_time_of_their_last_use(cards: Path, home: Path) -> None:
    zoo("fetch", "--all")
    for content, name in ((CONTENT, "net"), (OTHER, "other")):
        os.utime(Path(place(home, content, name)).parent / ".record-2.json", (1, 1))
    zoo("fetch", "net")
    assert zoo("cache", "prune", "--older-than", "30d").stdout == f"{place(home, OTHER, 'other')}\n"


def test_prune_without_options_removes_old_leftovers_only(cards: Path, home: Path) -> None:
    zoo("fetch", "net")
    old = leave_partial_file(home, b"x", [[0, 1]])
    (home / "quarantine").mkdir()
    (home / "quarantine/new").write_bytes(b"x")
    for path in (old, old.with_suffix(".json")):
        os.utime(path, (1, 1))
    assert sorted(zoo("cache", "prune").stdout.splitlines()) == sorted([str(old.with_suffix(".json")), str(old)])
    assert [name for name in files_below(home) if not name.startswith("blobs")] == ["quarantine/new"]


@pytest.mark.parametrize("arguments", [("--older-than", "soon"), ("--max-size", "much"), ("--max-size", "5ib")])
def test_an_invalid_age_or_size_is_refused(home: Path, arguments: tuple[str, str]) -> None:
    assert zoo("cache", "prune", *arguments).returncode == 2

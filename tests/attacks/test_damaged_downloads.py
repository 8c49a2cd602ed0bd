"""Whatever is in the place of a file of the store, of a download or of its lock: the right file is fetched, in time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.damage import DAMAGES
from tests.helpers.fetching import MIB, card_about, fetch, noise, sha256
from tests.servers.fault_server import FaultServer, good
from zoo.runtime.storage import sealed
from zoo.weights.transfer.partial import key_of, partial_files

CONTENT = noise(300_000)
LARGE = noise(9 * MIB)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    for name in ("TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("zoo.weights.transfer.lock.SILENT_SECONDS", 0.0)
    signal.alarm(60)
    yield tmp_path / "home"
    signal.alarm(0)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        running.site.update({"/net": good(CONTENT), "/large": good(LARGE)})
        yield running


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_record_is_written_again(kind: str, server: FaultServer, home: Path, tmp_path: Path) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    record = fetch(card).path.parent / ".record-2.json"
    DAMAGES[kind](record)
    artifact = fetch(card)
    assert (artifact.sha256, artifact.path.read_bytes()) == (sha256(CONTENT), CONTENT)
    assert server.connections == 1
    fetch(card)
    assert record.is_file() and not record.is_symlink()
    assert fetch(card).evidence[0].startswith("measured ")


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_of_the_store_is_downloaded_again(
    kind: str, server: FaultServer, home: Path, tmp_path: Path
) -> None:
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    path = fetch(card).path
    path.chmod(0o644)
    if kind == "sparse":
        path.unlink()
        with path.open("wb") as file:
            file.truncate(50_000_000)
    else:
        DAMAGES[kind](path)
    assert fetch(card).path.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_sidecar_is_not_resumed_from(kind: str, server: FaultServer, home: Path, tmp_path: Path) -> None:
    """The sidecar says that five megabytes are finished, but they are zeros; the card has no digest to notice that."""
    url = server.url("/large")
    partial = home / "partial"
    partial.mkdir(parents=True)
    sidecar = partial / f"{key_of(url)}.12345678.json"
    sidecar.with_suffix(".part").write_bytes(bytes(5 * MIB))
    data = {"part": 1, "file": "net.pth", "url": url, "size_bytes": len(LARGE), "etag": "", "modified": "",
            "done": [[0, 5 * MIB]], "machine": "other", "pid": 0}  # fmt: skip
    sidecar.write_bytes(sealed(sidecar, data))
    assert len(list(partial_files(partial))) == 1
    DAMAGES[kind](sidecar)
    assert list(partial_files(partial)) == []
    artifact = fetch(card_about(tmp_path / "cards", None, [url], size_bytes=len(LARGE)))
    assert artifact.sha256 == sha256(LARGE)


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder", "dangling link", "looping link", "binary"])
def test_something_in_the_place_of_a_lock_costs_nothing(
    kind: str, server: FaultServer, home: Path, tmp_path: Path
) -> None:
    lock = home / "partial" / f"{key_of(sha256(CONTENT))}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    DAMAGES[kind](lock)
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    assert fetch(card).path.read_bytes() == CONTENT
    assert not Path("/nonexistent").exists()

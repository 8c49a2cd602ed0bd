"""The hf: source with the official client and a Hub server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fetching import QUICK_RETRIES, card_about, fetch, files_below, noise, sha256
from tests.servers.hub_server import HubServer, answer
from zoo.errors import TransferFailed, WrongContent
from zoo.weights.sources import SourceError
from zoo.weights.sources.hf import HubAddress, parse

CONTENT = noise(3_000_000, seed=3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.configure_client(monkeypatch, tmp_path / "hf")
        server.add_org("lab", {"ada": "write"})
        server.add_repo("lab/net")
        server.commit("lab/net", {"deep/net.pth": CONTENT})
        yield server


def test_an_address_is_parsed() -> None:
    assert parse("hf://lab/net/net.pth") == HubAddress("model", "lab/net", None, "net.pth")
    assert parse("hf://lab/net@refs%2Fpr%2F1/deep/n%20et.pth") == HubAddress(
        "model", "lab/net", "refs/pr/1", "deep/n et.pth"
    )
    assert parse("hf://datasets/lab/digits@v1/a.zip") == HubAddress("dataset", "lab/digits", "v1", "a.zip")


@pytest.mark.parametrize(
    "url", ["hf://net.pth", "hf://lab/net", "hf://lab/net@main", "hf://lab/net@/x", "hf:lab/net/x"]
)
def test_an_invalid_address_is_an_error(url: str) -> None:
    with pytest.raises(SourceError, match="not the address of a file on the Hub"):
        parse(url)


def test_a_file_of_the_hub_is_downloaded_and_verified(hub: HubServer, home: Path, tmp_path: Path) -> None:
    head = hub.repo("lab/net").head
    url = f"hf://lab/net@{head}/deep/net.pth"
    artifact = fetch(card_about(tmp_path / "cards", CONTENT, [url]))
    assert (artifact.path.read_bytes(), artifact.origin) == (CONTENT, url)
    assert files_below(home) == [f"blobs/{sha256(CONTENT)}/.record-2.json", f"blobs/{sha256(CONTENT)}/net.pth"]
    assert [path.name for path in (home / "partial").iterdir()] == []


def test_the_digest_is_verified_after_the_client(hub: HubServer, home: Path, tmp_path: Path) -> None:
    card = card_about(tmp_path / "cards", CONTENT, ["hf://lab/net/deep/net.pth"], sha256=sha256(b"other"))
    with pytest.raises(WrongContent, match="two downloads were equal"):
        fetch(card)
    assert not (home / "blobs").exists()


def test_the_size_is_verified_after_the_client(hub: HubServer, home: Path, tmp_path: Path) -> None:
    card = card_about(
        tmp_path / "cards", CONTENT, ["hf://lab/net/deep/net.pth"], size_bytes=7, sha256=sha256(CONTENT)[:8]
    )
    with pytest.raises(WrongContent, match="the card says 7 bytes, sha256"):
        fetch(card)
    card = card_about(tmp_path / "others", None, ["hf://lab/net/deep/net.pth"], size_bytes=7)
    with pytest.raises(WrongContent, match=r"the card says 7 bytes\n") as caught:
        fetch(card)
    assert caught.value.where.startswith(str(card.path))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hf://lab/none/net.pth", "lab/none does not exist or is private"),
        ("hf://lab/net@nowhere/net.pth", "lab/net has no revision nowhere"),
        ("hf://lab/net/other.pth", r"lab/net has no file other\.pth at that revision"),
    ],
)
def test_a_missing_repository_revision_or_file_is_named(
    hub: HubServer, home: Path, tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(TransferFailed, match=message):
        fetch(card_about(tmp_path / "cards", CONTENT, [url]))
    assert list((home / "partial").iterdir()) == []


def test_the_error_for_a_gated_repository_says_how_to_get_access(hub: HubServer, home: Path, tmp_path: Path) -> None:
    hub.add_repo("lab/gated", gated="manual")
    with pytest.raises(TransferFailed, match="lab/gated is gated") as caught:
        fetch(card_about(tmp_path / "cards", CONTENT, ["hf://lab/gated/net.pth"]))
    assert "hf auth login" in caught.value.hint


def test_when_the_hub_fails_the_next_mirror_is_used(hub: HubServer, home: Path, tmp_path: Path) -> None:
    hub.on("*", "/lab/net/resolve/*", answer(403), times=None)
    (tmp_path / "copy.bin").write_bytes(CONTENT)
    urls = ["hf://lab/net/deep/net.pth", (tmp_path / "copy.bin").as_uri()]
    artifact = fetch(card_about(tmp_path / "cards", CONTENT, urls))
    assert artifact.origin == urls[1]
    assert any(line.startswith("tried hf://lab/net/deep/net.pth: ") for line in artifact.evidence)


def test_a_hub_that_stalls_is_an_error(hub: HubServer, home: Path, tmp_path: Path) -> None:
    hub.on("GET", "/object/*", hub.stall, times=None)
    card = card_about(tmp_path / "cards", CONTENT, ["hf://lab/net/deep/net.pth"])
    with pytest.raises(TransferFailed, match="no data from the Hub for"):
        fetch(card, retry_policy=type(QUICK_RETRIES)(tries=1, stall_seconds=0.1))

"""Servers that send more than they may, never end, or drip: each download ends soon, and nothing of it stays."""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.helpers import run_cli
from tests.helpers.fetching import MIB, QUICK_RETRIES, card_about, fetch, files_below, noise, sha256
from tests.servers.fault_server import Behaviour, Exchange, FaultServer, chunked, good, redirect, without_length
from zoo.errors import TransferFailed, WrongContent
from zoo.registry.card import Card
from zoo.weights import remote
from zoo.weights.sources import Pace, SourceError

CONTENT = noise(300_000)
POLICY = replace(
    QUICK_RETRIES, tries=2, stall_seconds=0.3, slow_bytes_per_second=1000.0, slow_seconds=0.5, max_bytes=2 * MIB
)
MOST_SECONDS = 10.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def unsized(folder: Path, server: FaultServer) -> Card:
    """A card that gives neither the size nor the digest of its file."""
    return card_about(folder / "cards", None, [server.url("/net")])


def refused(card: Card, match: str, policy: object = POLICY) -> TransferFailed:
    started = time.monotonic()
    with pytest.raises(TransferFailed, match=match) as caught:
        fetch(card, retry_policy=policy)
    assert time.monotonic() - started < MOST_SECONDS
    return caught.value


def endless(head: dict[str, object], piece: bytes = noise(64 << 10), before: bytes = b"") -> Behaviour:
    """Send headers, and then the same bytes until the client has enough."""

    def behave(x: Exchange) -> None:
        x.head(200, head)
        x.body(before)
        while not x.server.closing.is_set():
            x.body(piece)

    return behave


CHUNK = b"10000\r\n" + noise(64 << 10) + b"\r\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        endless({"Connection": "close"}),
        endless({"Transfer-Encoding": "chunked"}, CHUNK),
        without_length(noise(6 * MIB)),
        chunked(noise(6 * MIB)),
    ],
    ids=["endless", "endless chunks", "large", "large in chunks"],
)
def test_a_file_of_unknown_size_has_a_ceiling(
    behaviour: Behaviour, server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = behaviour
    error = refused(unsized(tmp_path, server), f"more than {2 * MIB} bytes")
    assert error.hint == "add size_bytes to the card, or use a larger --max-size"
    assert server.bytes_served < 8 * MIB
    assert files_below(home) == []


def test_a_size_above_the_ceiling_is_refused_before_the_first_byte(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(noise(3 * MIB))
    refused(unsized(tmp_path, server), f"more than {2 * MIB} bytes")
    assert files_below(home) == []


def test_a_smaller_file_of_unknown_size_is_downloaded(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = chunked(CONTENT)
    assert fetch(unsized(tmp_path, server), retry_policy=POLICY).sha256 == sha256(CONTENT)


def test_the_cards_size_is_the_ceiling_of_a_server_that_gives_none(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = endless({"Transfer-Encoding": "chunked"}, CHUNK)
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    started = time.monotonic()
    with pytest.raises(WrongContent, match="more than 300000 bytes"):
        fetch(card, retry_policy=POLICY)
    assert time.monotonic() - started < MOST_SECONDS and server.bytes_served < 8 * MIB
    assert not [name for name in files_below(home) if name.startswith("blobs")]


def bomb(coding: str) -> bytes:
    """64 MiB of zeros in 64 kB and less."""
    data = bytes(64 * MIB)
    return gzip.compress(data, 9) if coding == "gzip" else zlib.compress(data, 9)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip"])
def test_what_is_unpacked_counts(coding: str, server: FaultServer, home: Path, tmp_path: Path) -> None:
    body = bomb(coding.partition(",")[0])
    body = gzip.compress(body) if "," in coding else body

    def behave(x: Exchange) -> None:
        x.head(200, {"Content-Encoding": coding, "Content-Length": len(body)})
        x.body(body)

    server.site["/net"] = behave
    refused(unsized(tmp_path, server), f"more than {2 * MIB} bytes")
    sized = card_about(tmp_path / "sized", CONTENT, [server.url("/net")])
    with pytest.raises(WrongContent, match="more than 300000 bytes"):
        fetch(sized, retry_policy=POLICY)
    assert not [name for name in files_below(home) if name.startswith("blobs")]


def drip(x: Exchange, piece: bytes = b"x", seconds: float = 0.1) -> None:
    while not x.server.closing.wait(seconds):
        x.body(piece)


def dripped_body(x: Exchange) -> None:
    x.head(200, {"Content-Length": len(CONTENT)})
    drip(x)


def dripped_status(x: Exchange) -> None:
    drip(x, b"H")


def dripped_headers(x: Exchange) -> None:
    x.body(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(x)


def dripped_chunk_size(x: Exchange) -> None:
    x.head(200, {"Transfer-Encoding": "chunked"})
    drip(x, b"0")


def endless_continue(x: Exchange) -> None:
    drip(x, b"HTTP/1.1 100 Continue\r\n\r\n", 0.01)


def endless_trailers(x: Exchange) -> None:
    x.head(200, {"Transfer-Encoding": "chunked"})
    x.body(b"5\r\nabcde\r\n0\r\n")
    drip(x, b"X-More: 1\r\n", 0.01)


@pytest.mark.parametrize(
    "behaviour",
    [dripped_body, dripped_status, dripped_headers, dripped_chunk_size, endless_continue, endless_trailers],
)
def test_a_drip_is_a_stall(behaviour: Behaviour, server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = behaviour
    known = card_about(tmp_path / "known", CONTENT, [server.url("/net")])
    error = refused(
        known, r"bytes a second|no complete response|took longer|no response|ended|broke off|cannot connect"
    )
    assert "bug" not in str(error)
    refused(
        unsized(tmp_path, server),
        r"bytes a second|no complete response|took longer|no response|broke off|cannot connect",
    )
    assert not [name for name in files_below(home) if name.startswith("blobs")]


def test_no_thread_stays_behind_a_server_that_drips(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = dripped_headers
    refused(unsized(tmp_path, server), "no response within")
    ended = time.monotonic() + 5
    while time.monotonic() < ended and _downloading():
        time.sleep(0.05)
    assert _downloading() == []


def _downloading() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("fetch", "watchdog"))]


def test_a_slow_server_that_is_not_a_drip_is_waited_for(home: Path, tmp_path: Path) -> None:
    content = noise(20_000)
    with FaultServer() as server:

        def slow(x: Exchange) -> None:
            x.head(200, {"Content-Length": len(content)})
            for start in range(0, len(content), 1000):
                time.sleep(0.05)
                x.body(content[start : start + 1000])

        server.site["/net"] = slow
        artifact = fetch(card_about(tmp_path / "cards", content, [server.url("/net")]), retry_policy=POLICY)
        assert artifact.path.read_bytes() == content and len(server.requests_for("/net")) == 1


def test_redirects_end(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = redirect("/net?again")
    server.site["/net?again"] = redirect("/net")
    refused(unsized(tmp_path, server), "too many redirects")
    assert len(server.requests) < 30


def test_the_body_of_a_redirect_is_not_read(server: FaultServer, home: Path, tmp_path: Path) -> None:
    def behave(x: Exchange) -> None:
        x.head(302, {"Location": server.url("/real"), "Transfer-Encoding": "chunked"})
        while not x.server.closing.is_set():
            x.body(CHUNK)

    server.site["/net"], server.site["/real"] = behave, good(CONTENT)
    card = card_about(tmp_path / "cards", CONTENT, [server.url("/net")])
    started = time.monotonic()
    assert fetch(card, retry_policy=POLICY).path.read_bytes() == CONTENT
    assert time.monotonic() - started < MOST_SECONDS and server.bytes_served < 8 * MIB


@pytest.mark.parametrize(
    "span",
    [
        "bytes 0-99/*",
        "bytes 5-104/300000",
        "bytes 100-0/300000",
        "bytes 0-99/9999999999999999999",
        "bytes 0-99/99",
        "x",
        "",
    ],
)
def test_a_wrong_content_range_ends(span: str, server: FaultServer, home: Path, tmp_path: Path) -> None:
    def behave(x: Exchange) -> None:
        x.head(206, {"Content-Range": span, "Content-Length": 100})
        x.body(bytes(100))

    server.site["/net"] = behave
    started = time.monotonic()
    for card in (unsized(tmp_path, server), card_about(tmp_path / "known", CONTENT, [server.url("/net")])):
        with pytest.raises((TransferFailed, WrongContent)):
            fetch(card, retry_policy=POLICY)
    assert time.monotonic() - started < MOST_SECONDS
    assert not [name for name in files_below(home) if name.startswith("blobs")]


@pytest.mark.parametrize("behaviour", [dripped_body, dripped_headers, endless({"Transfer-Encoding": "chunked"}, CHUNK)])
def test_reading_a_header_from_a_hostile_server_ends(
    behaviour: Behaviour, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(remote, "Pace", lambda url: Pace(url, 1000.0, 0.5))
    server.site["/net"] = behaviour
    started = time.monotonic()
    with suppress(TransferFailed):
        assert remote.look(unsized(tmp_path, server).weights[0]).header is None
    assert time.monotonic() - started < MOST_SECONDS


@pytest.mark.parametrize("special", ["/dev/zero", "/dev/stdin", "pipe"])
def test_a_pipe_or_device_is_not_a_file(special: str, home: Path, tmp_path: Path) -> None:
    import os

    if special == "pipe":
        os.mkfifo(tmp_path / "pipe")
    url = (tmp_path / "pipe").as_uri() if special == "pipe" else f"file://{special}"
    refused(card_about(tmp_path / "cards", None, [url]), "not a regular file|cannot read")


def test_the_command_has_the_option(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = endless({"Connection": "close"})
    unsized(tmp_path, server)
    ran = run_cli("fetch", "net", "--cards", tmp_path / "cards", "--max-size", "1MB")
    assert ran.code == 3 and "more than 1000000 bytes" in ran.err and "larger --max-size" in ran.err
    assert files_below(home / "blobs") == [] and files_below(home / "partial") == []


def test_a_client_that_downloads_a_whole_file_is_stopped(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.weights.sources import Sources

    class Client:
        def download(self, url: str, folder: Path, *, timeout_seconds: float, on_bytes: Callable[[int], None]) -> Path:
            folder.mkdir(exist_ok=True)
            for count in range(1, 1000):
                (folder / "net.pth").write_bytes(bytes(count * 100_000))
                on_bytes(count * 100_000)
            raise AssertionError("it was not stopped")

        def read_range(self, url: str, start: int, stop: int, *, timeout_seconds: float) -> object:
            raise AssertionError

        def close(self) -> None:
            pass

    monkeypatch.setattr(Sources, "for_url", lambda self, url: Client())
    error = refused(card_about(tmp_path / "cards", None, ["hf://org/net/net.pth"]), f"more than {2 * MIB} bytes")
    assert isinstance(error, SourceError) and not error.is_temporary
    assert files_below(home) == []

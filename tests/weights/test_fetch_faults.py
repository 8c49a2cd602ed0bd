"""Each way in which a server fails: the result is the right file or an error, never a wrong file."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.helpers.fetching import MIB, QUICK_RETRIES, card_about, fetch, files_below, noise, sha256
from tests.servers.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    broken_after,
    chunked,
    first,
    good,
    in_turn,
    redirect,
    status,
    without_length,
    without_ranges,
)
from zoo.errors import TransferFailed, WrongContent
from zoo.weights.transfer.connections import Connections
from zoo.weights.transfer.partial import Part
from zoo.weights.transfer.policy import MAX_BLOCK_BYTES

SMALL = noise(300_000)
LARGE = noise(14 * MIB, seed=1)
OTHER = noise(300_000, seed=2)
SLOW = 30e6
"""Bytes a second of a connection, so that more connections are started."""
HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def stored(home: Path, content: bytes) -> list[str]:
    """Return the files in a store that contains this file and nothing else."""
    return [f"blobs/{sha256(content)}/.record-2.json", f"blobs/{sha256(content)}/net.pth"]


def test_a_good_server_leaves_only_the_file_and_its_record(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = good(SMALL)
    artifact = fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert artifact.path.read_bytes() == SMALL
    assert (artifact.sha256, artifact.size_bytes, artifact.origin) == (sha256(SMALL), len(SMALL), server.url("/net"))
    assert artifact.path.stat().st_mode & 0o777 == 0o444
    assert files_below(home) == stored(home, SMALL)
    assert (server.connections, server.bytes_served) == (1, len(SMALL))


def test_a_large_file_uses_several_connections_and_no_byte_is_sent_twice(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"], server.bytes_per_second = good(LARGE), SLOW
    artifact = fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=3)
    assert artifact.path.read_bytes() == LARGE
    assert server.connections == 3
    assert server.bytes_served == len(LARGE)
    assert files_below(home) == stored(home, LARGE)


def test_a_large_file_of_unknown_size_uses_several_connections(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"], server.bytes_per_second = good(LARGE), SLOW
    card = card_about(tmp_path / "cards", LARGE, [server.url("/net")], size_bytes=None)
    assert fetch(card, connections=2).sha256 == sha256(LARGE)
    assert (server.connections, server.bytes_served) == (2, len(LARGE))


def test_a_connection_that_breaks_off_but_makes_progress_is_retried_without_limit(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = broken_after(MIB, LARGE)
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=1).path.read_bytes() == LARGE
    assert len(server.requests_for("/net")) == 14 > QUICK_RETRIES.tries
    assert server.bytes_served == len(LARGE)


def test_a_login_from_netrc_is_sent_to_its_host_only(
    server: FaultServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password s3cret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.site["/net"], server.site["/there"] = redirect(server.url("/there", host="localhost")), good(SMALL)
    fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert server.requests_for("/net")[0].headers["authorization"] == "Basic YW5uYTpzM2NyZXQ="
    assert "authorization" not in server.requests_for("/there")[0].headers


def test_a_proxy_of_the_environment_is_used(
    server: FaultServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.setenv("no_proxy", "")
    url = "http://weights.invalid/net"
    server.site[url] = good(SMALL)  # the request line to a proxy has the whole address
    assert fetch(card_about(tmp_path / "cards", SMALL, [url])).origin == url


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_https_needs_a_certificate_from_the_ca_bundle(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    arguments = ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *arguments, *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with FaultServer(tls=context, bytes_per_second=SLOW) as server:
        server.site["/net"] = good(LARGE)
        card = card_about(tmp_path / "cards", LARGE, [server.url("/net")])
        with pytest.raises(
            TransferFailed, match=r"cannot make a secure connection to 127\.0\.0\.1: .*certificate verify failed"
        ) as caught:
            fetch(card)
        assert "REQUESTS_CA_BUNDLE" in caught.value.hint
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert fetch(card, connections=2).path.read_bytes() == LARGE
        assert server.bytes_served == len(LARGE)


def test_a_server_without_ranges_sends_one_stream(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = without_ranges(LARGE)
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).sha256 == sha256(LARGE)
    assert (server.connections, server.bytes_served) == (1, len(LARGE))


@pytest.mark.parametrize("size_bytes", [len(SMALL), None])
def test_a_chunked_body_is_accepted(server: FaultServer, home: Path, tmp_path: Path, size_bytes: int | None) -> None:
    server.site["/net"] = chunked(SMALL)
    card = card_about(tmp_path / "cards", SMALL, [server.url("/net")], size_bytes=size_bytes)
    assert fetch(card).sha256 == sha256(SMALL)


def test_a_short_body_with_its_length_is_resumed(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = first(1, broken_after(200_000, SMALL), then=good(SMALL))
    assert fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")])).path.read_bytes() == SMALL
    assert server.bytes_served == len(SMALL)
    assert [request.range for request in server.requests_for("/net")] == [None, (200_000, len(SMALL))]
    assert server.requests_for("/net")[1].headers["if-range"] == '"1"'


def test_a_body_that_stays_short_is_an_error_and_its_bytes_are_kept(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = first(1, broken_after(200_000, SMALL), then=broken_after(0, SMALL))
    with pytest.raises(TransferFailed, match="the connection broke off"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert len(server.requests_for("/net")) == 1 + QUICK_RETRIES.tries - 1
    assert [Path(name).suffix for name in files_below(home)] == [".json", ".part"]


def test_a_short_body_without_length_is_an_error(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = without_length(SMALL[:100_000])
    with pytest.raises(TransferFailed, match="ended 200000 bytes too early"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert not [name for name in files_below(home) if name.startswith("blobs")]


def test_a_short_body_without_length_is_resumed_from_the_next_mirror(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/cut"] = first(1, without_length(SMALL[:100_000]), then=status(404))
    server.site["/net"] = good(SMALL)
    artifact = fetch(card_about(tmp_path / "cards", SMALL, [server.url("/cut"), server.url("/net")]))
    assert artifact.path.read_bytes() == SMALL
    assert artifact.origin == server.url("/net")
    assert server.bytes_served == len(SMALL)


def test_a_content_length_that_is_too_large_is_an_error_before_the_download(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = without_ranges(LARGE)
    card = card_about(tmp_path / "cards", SMALL, [server.url("/net")])
    with pytest.raises(WrongContent, match=f"has {len(LARGE)} bytes, the card says {len(SMALL)}"):
        fetch(card)
    assert server.bytes_served < len(LARGE)
    assert files_below(home) == []


def test_a_long_body_without_length_is_an_error(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = without_length(SMALL + b"more")
    with pytest.raises(WrongContent, match=f"more than {len(SMALL)} bytes"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert not [name for name in files_below(home) if name.startswith("blobs")]


def test_the_same_wrong_bytes_twice_mean_a_wrong_file_of_the_publisher(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(OTHER)
    card = card_about(tmp_path / "cards", SMALL, [server.url("/net")])
    with pytest.raises(WrongContent) as caught:
        fetch(card)
    assert caught.value.what == (
        "the publisher's net.pth does not match the card (two downloads were equal): it has 300000 bytes, sha256"
        f" {sha256(OTHER)}; the card says 300000 bytes, sha256 {sha256(SMALL)}"
    )
    assert caught.value.where == str(card.weights[0].where["sha256"])
    quarantined = f"quarantine/{sha256(OTHER)[:16]}-net.pth"
    assert files_below(home) == [quarantined, f"{quarantined}.json"]
    assert (home / quarantined).read_bytes() == OTHER
    assert len(server.requests_for("/net")) == 2


def test_different_wrong_bytes_each_time_mean_a_damaged_download(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = in_turn(*(good(noise(len(SMALL), seed)) for seed in (11, 12, 13)))
    with pytest.raises(TransferFailed, match=r"downloads of net\.pth are damaged: 3 tries returned 3 different files"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert [name for name in files_below(home) if not name.startswith("quarantine")] == []


def test_wrong_bytes_once_are_quarantined_and_downloaded_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = first(1, good(OTHER), then=good(SMALL))
    artifact = fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert artifact.path.read_bytes() == SMALL
    assert any(sha256(OTHER) in line for line in artifact.evidence)


def test_after_wrong_bytes_the_next_mirror_is_used(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/bad"], server.site["/net"] = good(OTHER), good(SMALL)
    artifact = fetch(card_about(tmp_path / "cards", SMALL, [server.url("/bad"), server.url("/net")]))
    assert (artifact.origin, len(server.requests_for("/bad")), len(server.requests_for("/net"))) == (
        server.url("/net"),
        1,
        1,
    )


def test_a_body_that_is_compressed_against_the_request_is_decompressed(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = status(200, {"Content-Encoding": "gzip", "ETag": '"z"'}, gzip.compress(SMALL))
    assert fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")])).path.read_bytes() == SMALL
    assert server.requests_for("/net")[0].headers["accept-encoding"] == "identity"


def test_a_compressed_range_is_not_written_to_the_file(server: FaultServer, home: Path, tmp_path: Path) -> None:
    packed = gzip.compress(LARGE, 1)

    def behave(x: Exchange) -> None:
        if x.request.range is None:
            status(200, {"Content-Encoding": "gzip"}, packed)(x)
        else:
            span = f"bytes {x.request.range[0]}-{len(packed) - 1}/{len(packed)}"
            status(206, {"Content-Encoding": "gzip", "Content-Range": span}, packed[x.request.range[0] :])(x)

    server.site["/net"] = behave
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE


def test_a_200_to_the_range_of_a_resumed_file_starts_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = first(1, broken_after(200_000, SMALL), then=without_ranges(SMALL))
    assert fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")])).path.read_bytes() == SMALL


def test_a_206_with_another_range_is_not_written(server: FaultServer, home: Path, tmp_path: Path) -> None:
    def shifted(x: Exchange) -> None:
        if x.request.range is None or x.request.range[0] == 0:
            good(LARGE)(x)
        else:
            wrong = x.request.range[0] + 1
            part = LARGE[wrong : x.request.range[1]]
            status(206, {"Content-Range": f"bytes {wrong}-{wrong + len(part) - 1}/{len(LARGE)}"}, part)(x)

    server.site["/net"] = shifted
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE


def test_a_416_on_resuming_starts_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    stale = status(416, {"Content-Range": "bytes */100"})
    server.site["/net"] = in_turn(broken_after(200_000, SMALL), stale, good(SMALL))
    assert fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")])).path.read_bytes() == SMALL


def test_a_file_that_changes_during_the_download_starts_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = first(3, good(noise(len(LARGE), 5), etag='"old"'), then=good(LARGE, etag='"new"'))
    card = card_about(tmp_path / "cards", LARGE, [server.url("/net")])
    artifact = fetch(card, connections=2)
    assert artifact.path.read_bytes() == LARGE
    assert not (home / "quarantine").exists()  # noticed by the entity tag, not by the digest


def test_a_changed_entity_tag_is_noticed_when_the_server_ignores_if_range(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    def deaf(content: bytes, etag: str) -> Behaviour:
        def behave(x: Exchange) -> None:
            headers = {name: value for name, value in x.request.headers.items() if name != "if-range"}
            object.__setattr__(x.request, "headers", headers)
            good(content, etag=etag)(x)

        return behave

    server.site["/net"] = first(3, deaf(noise(len(LARGE), 5), '"old"'), then=deaf(LARGE, '"new"'))
    card = card_about(tmp_path / "cards", LARGE, [server.url("/net")])
    assert fetch(card, connections=2).path.read_bytes() == LARGE
    assert not (home / "quarantine").exists()


def test_a_stalled_connection_is_replaced_and_the_download_resumes(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = first(1, broken_after(2 * MIB, LARGE, Exchange.stall), then=good(LARGE))
    card = card_about(tmp_path / "cards", LARGE, [server.url("/net")])
    assert fetch(card, connections=1).path.read_bytes() == LARGE
    assert server.bytes_served <= len(LARGE) + MAX_BLOCK_BYTES


def test_a_server_that_never_responds_is_an_error(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = Exchange.stall
    with pytest.raises(TransferFailed, match=r"no response within 0\.5 s"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert len(server.requests_for("/net")) == QUICK_RETRIES.tries


def test_a_download_resumes_after_a_reset(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = first(2, broken_after(MIB, LARGE, Exchange.reset), then=good(LARGE))
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=1).path.read_bytes() == LARGE
    assert len(server.requests_for("/net")) == 3


def test_a_429_waits_as_long_as_the_server_asks(server: FaultServer, home: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    server.site["/net"] = first(1, status(429, {"Retry-After": "1"}), then=good(SMALL))
    card = card_about(tmp_path / "cards", SMALL, [server.url("/net")])
    assert fetch(card, progress=lambda event: notes.append(event.note)).sha256 == sha256(SMALL)
    assert "the server returned 429; retrying in 1 s" in notes


def test_a_429_with_a_longer_wait_than_the_limit_fails_at_once(server: FaultServer, home: Path, tmp_path: Path) -> None:
    until = format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True)
    server.site["/net"] = status(429, {"Retry-After": until})
    with pytest.raises(TransferFailed, match="the server returned 429"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert len(server.requests_for("/net")) == 1


def test_503_twice_is_retried(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = first(2, status(503), then=good(SMALL))
    assert fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")])).sha256 == sha256(SMALL)
    assert len(server.requests_for("/net")) == 3


def test_503_is_tried_five_times(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = status(503)
    with pytest.raises(TransferFailed, match="the server returned 503"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))
    assert len(server.requests_for("/net")) == 5
    assert files_below(home) == []


def test_a_404_is_not_retried_and_the_second_mirror_is_used(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = good(SMALL)
    artifact = fetch(card_about(tmp_path / "cards", SMALL, [server.url("/gone"), server.url("/net")]))
    assert len(server.requests_for("/gone")) == 1
    assert artifact.origin == server.url("/net")
    assert f"tried {server.url('/gone')}: the server returned 404" in artifact.evidence


def test_when_all_mirrors_fail_each_is_named(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/login"] = status(403)
    with pytest.raises(TransferFailed) as caught:
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/gone"), server.url("/login")]))
    assert caught.value.what == (
        "cannot download net.pth from any of its 2 addresses:"
        f"\n  {server.url('/gone')}: the server returned 404"
        f"\n  {server.url('/login')}: the server returned 403"
    )
    assert caught.value.exit_code == 3


def test_a_second_mirror_resumes_from_the_bytes_of_the_first(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/a"] = first(1, broken_after(9 * MIB, LARGE), then=status(404))
    server.site["/net"] = good(LARGE, etag='"another server"')
    card = card_about(tmp_path / "cards", LARGE, [server.url("/a"), server.url("/net")])
    artifact = fetch(card, connections=1)
    assert artifact.path.read_bytes() == LARGE
    assert server.bytes_served == len(LARGE)
    assert "if-range" not in server.requests_for("/net")[0].headers


def test_without_a_digest_a_second_mirror_starts_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/a"] = first(1, broken_after(200_000, SMALL), then=status(404))
    server.site["/net"] = good(SMALL)
    card = card_about(tmp_path / "cards", SMALL, [server.url("/a"), server.url("/net")], sha256=None)
    artifact = fetch(card)
    assert artifact.sha256 == sha256(SMALL)
    assert server.requests_for("/net")[0].range is None
    assert "unverified: the card has no sha256" in artifact.evidence


def test_credentials_are_sent_to_their_host_only(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = redirect(server.url("/there", host="localhost"))
    server.site["/there"] = good(LARGE)
    url = server.url("/net", login="anna:s3cret")
    artifact = fetch(card_about(tmp_path / "cards", LARGE, [url]), connections=2)
    assert server.requests_for("/net")[0].headers["authorization"].startswith("Basic ")
    assert len(server.requests_for("/there")) >= 2
    assert not [request for request in server.requests_for("/there") if "authorization" in request.headers]
    contents = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert not [content for content in (*contents, repr(artifact).encode()) if b"s3cret" in content]


def test_credentials_are_not_in_messages(server: FaultServer, home: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferFailed) as caught:
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net?access_token=s3cret&b=1", login="anna:s3cret")]))
    assert "s3cret" not in str(caught.value)
    assert caught.value.where == server.url("/net?access_token=...&b=1")


def test_further_ranges_are_requested_from_the_target_of_the_redirect(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"], server.site["/there"] = redirect(server.url("/there")), good(LARGE)
    fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=1)
    assert len(server.requests_for("/net")) == 1


def test_an_expired_signed_address_is_resolved_again(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = in_turn(redirect(server.url("/signed-1")), redirect(server.url("/signed-2")))
    server.site["/signed-1"] = first(1, broken_after(MIB, LARGE), then=status(403))
    server.site["/signed-2"] = good(LARGE)
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=1).path.read_bytes() == LARGE
    assert len(server.requests_for("/net")) == 2


def test_a_redirect_loop_fails_at_once(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"], server.site["/ten"] = redirect(server.url("/ten")), redirect(server.url("/net"))
    with pytest.raises(TransferFailed, match="too many redirects"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))


@pytest.mark.parametrize("target", ["http://[bad", "//[::1", "http://.", f"http://{'a' * 300}/", "http://host:99999/"])
def test_a_redirect_to_an_invalid_address_is_an_error(
    server: FaultServer, home: Path, tmp_path: Path, target: str
) -> None:
    server.site["/net"] = redirect(target)
    with pytest.raises(TransferFailed, match=r"is not valid|the request failed: invalid url"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))


@pytest.mark.parametrize("size_bytes", [len(SMALL), None])
def test_a_page_instead_of_the_file_is_recognised(
    server: FaultServer, home: Path, tmp_path: Path, size_bytes: int | None
) -> None:
    server.site["/net"] = status(200, {"Content-Type": "application/octet-stream"}, HTML)
    card = card_about(tmp_path / "cards", SMALL, [server.url("/net")], size_bytes=size_bytes)
    with pytest.raises(WrongContent, match="an HTML page"):
        fetch(card)
    assert len(server.requests_for("/net")) == 1


def test_a_git_lfs_pointer_instead_of_the_file_is_recognised(server: FaultServer, home: Path, tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(SMALL)}\nsize {len(SMALL)}\n".encode()
    server.site["/net"] = without_ranges(pointer)
    with pytest.raises(WrongContent, match="a git-lfs pointer"):
        fetch(card_about(tmp_path / "cards", SMALL, [server.url("/net")]))


def test_an_empty_file_is_recognised_even_without_a_digest(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/net"] = without_ranges(b"")
    with pytest.raises(WrongContent, match="an empty file"):
        fetch(card_about(tmp_path / "cards", None, [server.url("/net")]))
    (explanation,) = (home / "quarantine").glob("*.json")
    assert json.loads(explanation.read_text())["reason"] == "it is an empty file"


def test_after_a_page_from_one_mirror_the_next_one_is_used(server: FaultServer, home: Path, tmp_path: Path) -> None:
    server.site["/portal"], server.site["/net"] = without_ranges(HTML), good(SMALL)
    card = card_about(tmp_path / "cards", SMALL, [server.url("/portal"), server.url("/net")], size_bytes=None)
    assert fetch(card).origin == server.url("/net")


def test_a_file_with_the_right_digest_is_accepted_whatever_it_looks_like(
    server: FaultServer, home: Path, tmp_path: Path
) -> None:
    server.site["/net"] = good(HTML)
    assert fetch(card_about(tmp_path / "cards", HTML, [server.url("/net")])).path.read_bytes() == HTML


def test_a_server_without_head_never_gets_a_head_request(server: FaultServer, home: Path, tmp_path: Path) -> None:
    def without_head(x: Exchange) -> None:
        (good(LARGE) if x.request.method == "GET" else status(405))(x)

    server.site["/net"] = without_head
    probe = http.client.HTTPConnection("127.0.0.1", server.port)
    probe.request("HEAD", "/net")
    assert probe.getresponse().status == 405
    probe.close()
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")])).path.read_bytes() == LARGE
    assert {request.method for request in server.requests_for("/net")[1:]} == {"GET"}


def test_a_server_that_allows_one_connection_gets_one(server: FaultServer, home: Path, tmp_path: Path) -> None:
    turn = threading.Lock()

    def one_at_a_time(x: Exchange) -> None:
        if x.request.range and x.request.range[0] and not turn.acquire(blocking=False):
            status(503)(x)
            return
        good(LARGE)(x)
        if x.request.range and x.request.range[0]:
            turn.release()

    server.site["/net"] = one_at_a_time
    assert fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=8).path.read_bytes() == LARGE


def test_when_all_connections_fail_at_once_one_of_them_retries(
    server: FaultServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, both, never = itertools.count(), threading.Barrier(2), threading.Event()
    transfer_segments = Connections._transfer_segments

    def end_late(connections: Connections) -> None:
        transfer_segments(connections)
        never.wait(0.2)  # until the other connection has failed as well

    def fail_together(x: Exchange) -> None:
        if x.request.range and x.request.range[0] and next(failing) < 2:
            both.wait(60)
            status(503)(x)
        else:
            good(LARGE)(x)

    monkeypatch.setattr(Connections, "_transfer_segments", end_late)
    server.site["/net"], server.bytes_per_second = fail_together, SLOW
    artifact = fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=2)
    assert artifact.path.read_bytes() == LARGE
    assert not (home / "quarantine").exists()


def test_the_segment_of_a_slow_connection_is_split(
    server: FaultServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow: list[int] = []
    written: list[tuple[int, int]] = []
    write = Part.write

    def record(part: Part, offset: int, data: bytes) -> None:
        written.append((offset, offset + len(data)))
        write(part, offset, data)

    monkeypatch.setattr(Part, "write", record)

    def one_is_slow(x: Exchange) -> None:
        if x.request.range and x.request.range[0] and not slow:
            slow.append(x.request.range[0])
            send = x.body

            def body(data: bytes) -> None:
                for start in range(0, len(data), 32768):
                    send(data[start : start + 32768])
                    if server.closing.wait(0.1):
                        return

            x.body = body  # type: ignore[method-assign]  # this exchange only
        good(LARGE)(x)

    server.site["/net"], server.bytes_per_second = one_is_slow, SLOW
    artifact = fetch(card_about(tmp_path / "cards", LARGE, [server.url("/net")]), connections=2)
    assert artifact.path.read_bytes() == LARGE
    begun = [request.range[0] for request in server.requests_for("/net") if request.range]
    assert [
        start for start in begun if slow[0] < start < slow[0] + 4 * MIB
    ]  # another connection began inside the slow segment
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(sorted(written)))  # each byte once


def test_a_refused_connection_is_an_error(home: Path, tmp_path: Path) -> None:
    with FaultServer() as gone:
        url = gone.url("/net")
    with pytest.raises(TransferFailed, match="Connection refused"):
        fetch(card_about(tmp_path / "cards", SMALL, [url]))

"""Facts of remote files: what a server says, with two small requests, and never as proof."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fetching import sha256
from tests.helpers.project import ROOT, RunZoo
from tests.servers.fault_server import FaultServer, broken_after, chunked, good, redirect, status, without_ranges
from tests.servers.hub_server import HubServer
from zoo.errors import WrongContent
from zoo.registry.edit import card_text
from zoo.weights.remote import parse_header

BUILDER = {
    "library": "timm",
    "entry": "resnest14d",
    "options": {"num_classes": 10, "channels": [8, 16, 24, 32], "stem_width": 8},
}
CONTENT = next((ROOT / "cards" / "digits").glob("*.safetensors")).read_bytes()
HEADER_BYTES = 8 + struct.unpack("<Q", CONTENT[:8])[0]
Findings = dict[str, dict[str, Any]]
CheckRemote = Callable[..., Findings]


@pytest.fixture(autouse=True)
def _empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other test's files: what is on this machine would not be asked for."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def check_remote(tmp_path: Path, run_zoo: RunZoo) -> CheckRemote:
    """The findings of `remote`, by the last part of the key, about a card with these addresses."""

    def check(
        *urls: str, claims: dict[str, Any] | None = None, builder: dict[str, Any] = BUILDER, **more: Any
    ) -> Findings:
        weights = {
            "file": "net.safetensors",
            "size_bytes": len(CONTENT),
            "sha256": sha256(CONTENT),
            "urls": list(urls),
            **more,
        }
        card = {"schema": 1, "name": "net", "builder": builder, "weights": [weights], "claims": claims or {}}
        (tmp_path / "net.yaml").write_text(card_text(card))
        result = run_zoo("verify", "net", "--cards", tmp_path, "--check", "remote", "--format", "json")
        return {finding["key"].rpartition("/")[2]: finding for finding in json.loads(result.out)["findings"]}

    return check


def test_size_parameters_and_type_are_known_from_the_header_alone(
    server: FaultServer, check_remote: CheckRemote
) -> None:
    server.site["/net"] = good(CONTENT)
    findings = check_remote(server.url("/net"), claims={"params": {"value": 64482}}, dtype="float32")
    assert {key: (item["status"], item["measured"]) for key, item in findings.items()} == {
        "size": ("ok", len(CONTENT)),
        "params": ("ok", 64482),
        "dtype": ("ok", "float32"),
    }
    assert findings["params"]["evidence"]["read"] == f"{HEADER_BYTES + 1} bytes: the header only, no tensor"
    assert [request.range for request in server.requests_for("/net")] == [(0, 9), (8, HEADER_BYTES)]
    assert server.bytes_served == HEADER_BYTES + 1


def test_a_wrong_claim_is_found_without_a_download(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(CONTENT)
    findings = check_remote(server.url("/net"), claims={"params": {"value": 64483}}, dtype="float16", size_bytes=7)
    assert {item["status"] for item in findings.values()} == {"wrong"}


def test_another_architectures_file_is_found_without_a_download(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(CONTENT)
    findings = check_remote(server.url("/net"), builder={**BUILDER, "entry": "resnest26d"})
    assert findings["params"]["status"] == "wrong"
    assert "the header of net.safetensors does not fit resnest26d: " in findings["params"]["reason"]


def test_renames_hold_for_headers_too(server: FaultServer, check_remote: CheckRemote) -> None:
    from safetensors.torch import load, save

    content = save({f"net.{name}": value for name, value in load(CONTENT).items()})
    server.site["/net"] = good(content)
    findings = check_remote(
        server.url("/net"), rename=[{"pattern": "^net\\.", "replacement": ""}], size_bytes=len(content)
    )
    assert findings["params"]["measured"] == 64482
    assert findings["params"]["evidence"]["notes"] == ["`^net\\.` renamed tensors"]


def test_of_a_pickle_only_the_size_is_asked(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(b"PK\x03\x04" + bytes(1000))
    findings = check_remote(server.url("/net"), format="pickle", size_bytes=1004)
    assert {key: item["status"] for key, item in findings.items()} == {"size": "ok"}
    assert server.wait_for_bytes(9) and server.bytes_served == 9


def test_a_pickle_that_nobody_called_one_is_skipped_but_for_its_size(
    server: FaultServer, check_remote: CheckRemote
) -> None:
    server.site["/net"] = good(b"PK\x03\x04" + bytes(1000))
    findings = check_remote(server.url("/net"), size_bytes=1004)
    assert {key: item["status"] for key, item in findings.items()} == {
        "size": "ok",
        "params": "skipped",
        "dtype": "skipped",
    }
    assert findings["params"]["hint"] == "zoo fetch net"


def test_a_server_without_ranges_is_left_after_the_header(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = without_ranges(CONTENT)
    findings = check_remote(server.url("/net"))
    assert (findings["size"]["status"], findings["params"]["measured"]) == ("ok", 64482)


def test_a_server_that_does_not_tell_the_size_leaves_it_unknown(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = chunked(CONTENT)
    findings = check_remote(server.url("/net"))
    assert (findings["size"]["status"], findings["params"]["measured"]) == ("unknown", 64482)
    assert findings["size"]["reason"] == "the server does not say how large the file is"


def test_the_next_address_is_asked_when_one_fails(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site |= {"/gone": status(404), "/moved": redirect("/net"), "/net": good(CONTENT)}
    assert check_remote(server.url("/gone"), server.url("/moved"))["size"]["status"] == "ok"


def test_no_answer_is_unknown_and_names_each_address(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/torn"] = broken_after(20, CONTENT)
    findings = check_remote(server.url("/gone"), server.url("/torn"))
    assert {item["status"] for item in findings.values()} == {"unknown"}
    assert "/gone: the server answers 404; " in findings["size"]["reason"] and "/torn: " in findings["size"]["reason"]


@pytest.mark.parametrize("length", [len(CONTENT) + 1, 100_000_000, 2**63])
def test_a_header_that_cannot_be_is_refused_unread(length: int, server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(struct.pack("<Q", length) + CONTENT[8:])
    findings = check_remote(server.url("/net"))
    assert {item["status"] for item in findings.values()} == {"wrong"}
    assert server.wait_for_bytes(9) and server.bytes_served == 9


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0]},
        {"dtype": "F32", "shape": "3", "data_offsets": None},
        {"dtype": "F32"},
        [],
        7,
    ],
)
def test_a_header_that_lies_about_a_tensor_is_refused(entry: object) -> None:
    with pytest.raises(WrongContent, match="header of net"):
        parse_header("net", json.dumps({"a": entry}).encode(), 12)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"7", b'{"a": {}}', b"\xff"])
def test_what_is_no_header_is_refused(text: bytes) -> None:
    with pytest.raises(WrongContent):
        parse_header("net", text, 0)


def test_a_header_knows_the_type_that_most_elements_have() -> None:
    entries = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
    }
    header = parse_header("net", json.dumps(entries).encode(), 20)
    assert (header.main_dtype, header.dtypes) == ("bfloat16", {"a": "bfloat16", "b": "int64"})


def test_a_file_of_the_hub_is_asked_through_its_client(
    check_remote: CheckRemote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with HubServer() as hub:
        hub.configure_client(monkeypatch, tmp_path / "hf")
        hub.add_org("lab", {"ada": "write"})
        hub.add_repo("lab/net")
        hub.commit("lab/net", {"deep/net.safetensors": CONTENT})
        findings = check_remote("hf://lab/net/deep/net.safetensors", claims={"params": {"value": 64482}})
        assert {key: item["status"] for key, item in findings.items()} == {
            "size": "ok",
            "params": "ok",
            "dtype": "unclaimed",
        }
        assert check_remote("hf://lab/net/absent.safetensors")["size"]["reason"].endswith(
            "lab/net has no file absent.safetensors there"
        )


def test_what_a_server_says_is_asked_only_where_it_is_wanted(
    server: FaultServer, run_zoo: RunZoo, tmp_path: Path
) -> None:
    server.site["/net"] = good(CONTENT)
    weights = {
        "file": "net.safetensors",
        "size_bytes": len(CONTENT),
        "sha256": sha256(CONTENT),
        "urls": [server.url("/net")],
    }
    (tmp_path / "net.yaml").write_text(
        card_text({"schema": 1, "name": "net", "builder": BUILDER, "weights": [weights]})
    )
    options = ("net", "--cards", tmp_path, "--format", "json")
    checks = {finding["check"] for finding in json.loads(run_zoo("verify", *options).out)["findings"]}
    assert "remote" not in checks and server.requests == []
    findings = json.loads(run_zoo("verify", *options, "--remote").out)["findings"]
    # The header is no proof of the file: that one is still not here, and a release would be refused.
    assert {item["status"] for item in findings if item["check"] == "remote"} == {"ok", "unclaimed"}
    assert {item["status"] for item in findings if item["check"] in ("files", "loading")} == {"skipped"}

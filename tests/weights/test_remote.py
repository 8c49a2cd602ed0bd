"""What zoo reads from a remote file with two small requests, without proof of its content."""

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
    """Use an empty store: a file on this machine is not read from its server."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def check_remote(tmp_path: Path, run_zoo: RunZoo) -> CheckRemote:
    """Return a function that runs the check `remote` on a card with these addresses: its findings by the key's last part."""

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


def test_the_header_gives_size_parameters_and_type(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(CONTENT)
    findings = check_remote(server.url("/net"), claims={"params": {"value": 64482}}, dtype="float32")
    assert {key: (item["status"], item["measured"]) for key, item in findings.items()} == {
        "size": ("ok", len(CONTENT)),
        "params": ("ok", 64482),
        "dtype": ("ok", "float32"),
    }
    assert findings["params"]["evidence"]["read"] == f"{HEADER_BYTES + 1} bytes: the header without the tensors"
    assert [request.range for request in server.requests_for("/net")] == [(0, 9), (8, HEADER_BYTES)]
    assert server.bytes_served == HEADER_BYTES + 1


def test_a_wrong_claim_is_found_without_a_download(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(CONTENT)
    findings = check_remote(server.url("/net"), claims={"params": {"value": 64483}}, dtype="float16", size_bytes=7)
    assert {item["status"] for item in findings.values()} == {"wrong"}


def test_a_file_of_another_architecture_is_found_without_a_download(
    server: FaultServer, check_remote: CheckRemote
) -> None:
    server.site["/net"] = good(CONTENT)
    findings = check_remote(server.url("/net"), builder={**BUILDER, "entry": "resnest26d"})
    assert findings["params"]["status"] == "wrong"
    assert "the header of net.safetensors does not fit resnest26d: " in findings["params"]["reason"]


def test_renames_apply_to_headers(server: FaultServer, check_remote: CheckRemote) -> None:
    from safetensors.torch import load, save

    content = save({f"net.{name}": value for name, value in load(CONTENT).items()})
    server.site["/net"] = good(content)
    findings = check_remote(
        server.url("/net"), rename=[{"pattern": "^net\\.", "replacement": ""}], size_bytes=len(content)
    )
    assert findings["params"]["measured"] == 64482
    assert findings["params"]["evidence"]["notes"] == ["`^net\\.` renamed tensors"]


def test_only_the_size_of_a_pickle_is_read(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = good(b"PK\x03\x04" + bytes(1000))
    findings = check_remote(server.url("/net"), format="pickle", size_bytes=1004)
    assert {key: item["status"] for key, item in findings.items()} == {"size": "ok"}
    assert server.wait_for_bytes(9) and server.bytes_served == 9


def test_a_pickle_without_a_format_in_the_card_is_skipped_except_for_its_size(
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


def test_a_server_without_ranges_is_read_up_to_the_end_of_the_header(
    server: FaultServer, check_remote: CheckRemote
) -> None:
    server.site["/net"] = without_ranges(CONTENT)
    findings = check_remote(server.url("/net"))
    assert (findings["size"]["status"], findings["params"]["measured"]) == ("ok", 64482)


def test_the_size_is_unknown_when_the_server_does_not_send_it(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site["/net"] = chunked(CONTENT)
    findings = check_remote(server.url("/net"))
    assert (findings["size"]["status"], findings["params"]["measured"]) == ("unknown", 64482)
    assert findings["size"]["reason"] == "the server does not report the size of the file"


def test_the_next_address_is_used_when_one_fails(server: FaultServer, check_remote: CheckRemote) -> None:
    server.site |= {"/gone": status(404), "/moved": redirect("/net"), "/net": good(CONTENT)}
    assert check_remote(server.url("/gone"), server.url("/moved"))["size"]["status"] == "ok"


def test_the_findings_are_unknown_and_name_each_address_when_all_fail(
    server: FaultServer, check_remote: CheckRemote
) -> None:
    server.site["/torn"] = broken_after(20, CONTENT)
    findings = check_remote(server.url("/gone"), server.url("/torn"))
    assert {item["status"] for item in findings.values()} == {"unknown"}
    assert "/gone: the server returned 404; " in findings["size"]["reason"] and "/torn: " in findings["size"]["reason"]


@pytest.mark.parametrize("length", [len(CONTENT) + 1, 100_000_000, 2**63])
def test_a_header_with_an_impossible_length_is_not_read(
    length: int, server: FaultServer, check_remote: CheckRemote
) -> None:
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
        {"dtype": "F32", "shape": [float("inf")], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [2**63], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [-3, -1], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [3] + [1] * 64, "data_offsets": [0, 12]},
        [],
        7,
    ],
)
def test_a_header_with_a_wrong_entry_is_an_error(entry: object) -> None:
    with pytest.raises(WrongContent, match="header of net"):
        parse_header("net", json.dumps({"a": entry}).encode(), 12)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"7", b'{"a": {}}', b"\xff", b"[" * 100_000])
def test_an_invalid_header_is_an_error(text: bytes) -> None:
    with pytest.raises(WrongContent):
        parse_header("net", text, 0)


def test_the_main_type_of_a_header_is_that_of_most_elements() -> None:
    entries = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
    }
    header = parse_header("net", json.dumps(entries).encode(), 20)
    assert (header.main_dtype, header.dtypes) == ("bfloat16", {"a": "bfloat16", "b": "int64"})


def test_a_file_of_the_hub_is_read_with_its_client(
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
            "lab/net has no file absent.safetensors at that revision"
        )


def test_the_server_is_used_only_with_the_option_remote(server: FaultServer, run_zoo: RunZoo, tmp_path: Path) -> None:
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
    # The header is no proof of the file, which is still not on this machine, so a release is refused.
    assert {item["status"] for item in findings if item["check"] == "remote"} == {"ok", "unclaimed"}
    assert {item["status"] for item in findings if item["check"] in ("files", "loading")} == {"skipped"}

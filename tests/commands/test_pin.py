"""`zoo pin`: missing sizes and digests are written to the card, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fetching import noise, sha256
from tests.servers.fault_server import FaultServer, good

CONTENT = noise(300_000)
SECOND = noise(1000, seed=2)
ROOT = Path(__file__).parents[2]
CARD = """\
# a comment at the top
schema: 1
name: net   # a comment at the side
weights:
  - file: net.pth
    format: pickle
    sha256: "{known}"   # as the publisher has it in the name
    urls:
      # the mirror first
      - {url}
  - {{file: second.pth, urls: ["{second}"]}}
license: mit
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.site["/net"], server.site["/second"] = good(CONTENT), good(SECOND)
        yield server


@pytest.fixture
def card(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CARDS", str(tmp_path / "cards"))
    path = tmp_path / "cards/net.yaml"
    path.parent.mkdir()
    path.write_text(CARD.format(known=sha256(CONTENT)[:8], url=server.url("/net"), second=server.url("/second")))
    return path


def pin(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import zoo_cli; zoo_cli.main()", "pin", "net", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_pin_adds_missing_values_and_changes_no_other_line(card: Path, server: FaultServer) -> None:
    before = card.read_text()
    completed = pin()
    assert completed.returncode == 0, completed.stderr
    second = f'  - {{file: second.pth, urls: ["{server.url("/second")}"]'
    after = before.replace(f'"{sha256(CONTENT)[:8]}"', f'"{sha256(CONTENT)}"')
    after = after.replace(
        f"{second}}}", f'    size_bytes: 300000\n{second}, size_bytes: 1000, sha256: "{sha256(SECOND)}"}}'
    )
    assert card.read_text() == after
    assert completed.stdout == (
        f"net: wrote sha256, size_bytes to {card};"
        " the card had no digest to verify second.pth against: check where it comes from\n"
    )


def test_a_complete_card_is_not_changed_and_nothing_is_downloaded(card: Path, server: FaultServer) -> None:
    pin()
    text, connections = card.read_text(), server.connections
    assert pin().stdout == "net: already complete\n"
    assert (card.read_text(), server.connections) == (text, connections)


def test_a_file_that_does_not_match_the_card_is_not_pinned(card: Path, server: FaultServer) -> None:
    server.site["/net"] = good(SECOND)
    text = card.read_text()
    completed = pin()
    assert (completed.returncode, card.read_text()) == (1, text)
    assert "the publisher's net.pth does not match the card" in completed.stderr


def test_offline_a_missing_file_is_not_pinned(card: Path, server: FaultServer) -> None:
    completed = pin("--offline")
    assert (completed.returncode, server.connections) == (3, 0)

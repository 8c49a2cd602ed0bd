"""What zoo 0.1 left in ZOO_HOME, in reports and in releases: never trusted, never a crash, said once, pruned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.fetching import files_below
from tests.helpers.project import ROOT, RunZoo
from zoo.models import facts
from zoo.registry.card import card_sha256
from zoo.registry.catalog import load_catalog
from zoo.verification import report

LEFT = ROOT / "tests" / "zoo_0_1_0"
"""A report and a release of resnest_digits as zoo 0.1.0 wrote them."""
WEIGHTS = next((ROOT / "cards" / "digits").glob("*.safetensors"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ZOO_HOME of zoo 0.1: a stored report, facts and ranks under any key, an index, and weights with their record."""
    home = tmp_path / "home"
    monkeypatch.setenv("ZOO_HOME", str(home))
    catalog = load_catalog()
    card = catalog.find("resnest_digits")
    files = {
        f"reports/{card_sha256(card, catalog.collection_of(card))}/2026-11-26T002408Z.json": _text("report.json"),
        "facts/05/" + "05" * 32 + ".json": '{"value": 1, "evidence": {}}',
        "ranks/0a/" + "0a" * 32 + "/0123456789abcdef.json": '{"order": 1, "ranks": "000"}',
        "index/414acf17333cf0a49afedddcbcd61975.cards": "\x00",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text)
    return home


def _text(name: str) -> str:
    return (LEFT / name).read_text(encoding="utf-8")


def stored_weights(home: Path, **changes: object) -> Path:
    """The digits weights in the store of zoo 0.1, with a record as it wrote them."""
    sha256 = WEIGHTS.name.removesuffix(".safetensors").rpartition("-")[2]
    card = load_catalog().find("resnest_digits")
    full = card.weights[0].sha256 or ""
    assert full.startswith(sha256)
    blob = home / "blobs" / full / "net.safetensors"
    blob.parent.mkdir(parents=True)
    shutil.copy(WEIGHTS, blob)
    record = {
        "record": 1,
        "sha256": full,
        "size_bytes": blob.stat().st_size,
        "mtime_ns": blob.stat().st_mtime_ns,
        "origin": "https://example.org/net.safetensors",
        "stored": "2026-11-24T00:00:00+00:00",
        **changes,
    }
    (blob.parent / ".record.json").write_text(json.dumps(record))
    return blob


def fetched_card(folder: Path, blob: Path) -> Path:
    """A zoo whose one card's weights are those of the blob, at an address that answers nothing."""
    folder.mkdir()
    (folder / "net.yaml").write_text(
        "name: net\nweights:\n  - {file: net.safetensors, format: safetensors, size_bytes: "
        f'{blob.stat().st_size}, sha256: "{blob.parent.name}", urls: ["http://127.0.0.1:9/net.safetensors"]}}\n'
    )
    return folder


def test_what_was_left_is_said_once_and_not_read(home: Path, run_zoo: RunZoo) -> None:
    first = run_zoo("verify", "resnest_digits", "--check", "params")
    assert first.code == 0
    assert "4 files" in first.err and "of zoo 0.1" in first.err and "zoo cache prune" in first.err
    assert "zoo 0.1" not in run_zoo("verify", "resnest_digits", "--check", "params").err


def test_a_fact_of_the_same_key_is_not_an_answer(home: Path) -> None:
    key = "05" * 32
    assert facts.recall(key) is None
    facts.keep(key, facts.Fact(2))
    assert facts.recall(key) == facts.Fact(2)


def test_a_stored_report_does_not_publish(home: Path, run_zoo: RunZoo, tmp_path: Path) -> None:
    ran = run_zoo("publish", "resnest_digits", "--to", f"folder:{tmp_path / 'release'}")
    assert ran.code == 3
    assert "its report is from zoo 0.1, which this version does not accept" in ran.err
    assert "hint: zoo verify resnest_digits --fetch" in ran.err
    assert not (tmp_path / "release").exists()


def test_a_report_file_of_version_1_is_read_and_does_not_publish(home: Path, run_zoo: RunZoo, tmp_path: Path) -> None:
    old = report.read(LEFT / "report.json")
    assert (old.version, old.zoo, old.exit_code) == (1, "0.1.0", 0)
    assert {finding.model for finding in old.findings} == {"resnest_digits"}
    assert json.loads(old.to_json())["report"] == report.VERSION
    target = f"folder:{tmp_path / 'release'}"
    ran = run_zoo("publish", "resnest_digits", "--to", target, "--report", LEFT / "report.json")
    assert ran.code == 3
    assert "in format 1, which this version does not accept" in ran.err
    assert "hint: zoo verify resnest_digits --fetch" in ran.err


def test_a_hint_of_version_1_is_a_hint() -> None:
    data = json.loads(_text("report.json"))
    data["findings"][0]["mend"] = "do this"
    assert report.from_json(json.dumps(data), where="r").findings[0].hint == "do this"


@pytest.mark.parametrize("findings", [None, {}, [1], [{}]])
def test_what_only_says_that_it_is_of_version_1_is_refused(findings: object) -> None:
    data = {**json.loads(_text("report.json")), "findings": findings}
    with pytest.raises(Exception, match="not a report"):
        report.from_json(json.dumps(data), where="r")


def test_a_release_of_zoo_0_1_is_checked(run_zoo: RunZoo, tmp_path: Path) -> None:
    shutil.copytree(LEFT / "release", tmp_path / "release")
    shutil.copy(WEIGHTS, tmp_path / "release" / "model.safetensors")
    ran = run_zoo("publish", "resnest_digits", "--to", f"folder:{tmp_path / 'release'}", "--check")
    assert (ran.code, "6 ok" in ran.out) == (0, True), ran.out


def test_a_record_of_zoo_0_1_is_not_trusted(home: Path, run_zoo: RunZoo, tmp_path: Path) -> None:
    blob = stored_weights(home)
    times = blob.stat()
    blob.write_bytes(bytes(len(WEIGHTS.read_bytes())))  # the record still fits size and time
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    ran = run_zoo("fetch", "net", "--offline", "--cards", fetched_card(tmp_path / "cards", blob))
    assert ran.code == 3
    assert not blob.exists() and any(name.startswith("quarantine/") for name in files_below(home))


def test_weights_of_the_store_stay_and_get_a_record_of_now(home: Path, run_zoo: RunZoo, tmp_path: Path) -> None:
    blob = stored_weights(home)
    ran = run_zoo("fetch", "net", "--offline", "--cards", fetched_card(tmp_path / "cards", blob))
    assert (ran.code, ran.out) == (0, f"{blob}\n")
    record = json.loads((blob.parent / ".record-2.json").read_text())
    assert not (blob.parent / ".record.json").exists()
    assert (record["record"], record["origin"]) == (2, "https://example.org/net.safetensors")


def test_verifying_writes_the_record_of_now_too(home: Path, run_zoo: RunZoo, tmp_path: Path) -> None:
    blob = stored_weights(home)
    cards = fetched_card(tmp_path / "cards", blob)
    first, second = (run_zoo("verify", "net", "--check", "files", "--cards", cards, "--format", "json") for _ in "ab")
    assert "unchanged since" not in first.out and "unchanged since" in second.out


def test_weights_without_a_digest_are_found_by_the_address_of_their_old_record(
    home: Path, run_zoo: RunZoo, tmp_path: Path
) -> None:
    blob = stored_weights(home)
    (tmp_path / "net.yaml").write_text(
        "name: net\nweights: [{file: net.safetensors, urls: ['https://example.org/net.safetensors']}]\n"
    )
    assert run_zoo("fetch", "net", "--offline", "--cards", tmp_path).out == f"{blob}\n"


def test_prune_removes_all_of_it_and_no_weights(home: Path, run_zoo: RunZoo) -> None:
    blob = stored_weights(home)
    shown = run_zoo("cache", "prune", "--dry-run")
    assert len(shown.out.splitlines()) == 5 and len(files_below(home)) == 7
    ran = run_zoo("cache", "prune")
    assert ran.out == shown.out
    assert [home / name for name in files_below(home) if not name.startswith("v2/")] == [blob]
    assert run_zoo("cache", "prune").out == ""


def test_prune_keeps_when_weights_were_used_last(home: Path, run_zoo: RunZoo) -> None:
    blob = stored_weights(home)
    old = time.time() - 60 * 86_400
    os.utime(blob.parent / ".record.json", (old, old))
    run_zoo("cache", "prune")
    assert f"{blob}\n" in run_zoo("cache", "prune", "--older-than", "30d", "--dry-run").out


def test_files_of_the_user_in_folders_of_those_names_stay(home: Path, run_zoo: RunZoo) -> None:
    own = [home / "data" / "imagenet" / "1.jpg", home / "reports" / "thesis.json", home / "facts" / "05" / "mine.json"]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    assert run_zoo("cache", "prune").code == 0
    assert [path for path in own if path.read_text() == "mine"] == own
    assert {home / name for name in files_below(home) if not name.startswith("v2/")} == set(own)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop root's right to read everything")
@pytest.mark.parametrize("closed", ["", "v2", "reports", "blobs"])
def test_a_home_that_cannot_be_read_changes_no_exit_code(home: Path, closed: str) -> None:
    (home / "v2").mkdir(exist_ok=True)
    stored_weights(home)
    (home / closed).chmod(0)
    command = [sys.executable, "-m", "zoo_cli", "verify", "resnest_digits", "--check", "params"]
    line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    ran = subprocess.run(line, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    (home / closed).chmod(0o755)
    assert ran.returncode == 0, ran.stderr


NESTED = "[" * 200_000


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"record": 1}', '{"record": [1]}', "\x00" * 100, NESTED], ids=[*"abcdefg"]
)
def test_damaged_leftovers_crash_nothing(home: Path, run_zoo: RunZoo, text: str) -> None:
    blob = stored_weights(home)
    (blob.parent / ".record.json").write_text(text)
    for path in home.rglob("*"):
        if path.is_file() and path != blob:
            path.write_text(text)
    assert run_zoo("verify", "resnest_digits", "--check", "files,params").code == 0
    assert run_zoo("cache", "list").code == 0
    assert run_zoo("cache", "prune").code == 0


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_record_that_is_no_file_is_none(home: Path, run_zoo: RunZoo, make: Callable[[Path], None]) -> None:
    blob = stored_weights(home)
    for name in (".record.json", ".record-2.json"):
        (blob.parent / name).unlink(missing_ok=True)
        make(blob.parent / name)
    assert run_zoo("verify", "resnest_digits", "--check", "params").code == 0
    assert str(blob.name) in run_zoo("cache", "list").out
    assert run_zoo("cache", "prune").code == 0

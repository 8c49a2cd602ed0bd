"""No file of a release, and no report to be published, has a folder of the user, of zoo, of the data or of the work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, replace_once
from tests.helpers.releases import NAME, WEIGHTS_FILE, digits_report, release, with_evidence, with_finding
from zoo.verification import report as reports
from zoo.verification.report import Finding, Status

FOLDERS = ("home-of-ada", "state-of-zoo", "work for a client", "secret-data", "temporary-place")


def texts_below(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes().decode(errors="replace") for path in files}


def assert_no_folder(texts: dict[str, str], *words: str) -> None:
    assert texts
    for name, text in texts.items():
        for word in (*FOLDERS, *words):
            assert word not in text, f"{word} in {name}: {text[max(0, text.index(word) - 200) :][:400]}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Folders of recognisable names: a zoo in the working folder, its weights at a file: address, its data elsewhere."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    work, source = tmp_path / FOLDERS[2], tmp_path / FOLDERS[0] / "downloads"
    shutil.copytree(ROOT / "cards" / "digits", work / "cards" / "digits")
    (work / "cards" / "datasets").mkdir()
    shutil.copy(ROOT / "cards" / "datasets" / "digits.yaml", work / "cards" / "datasets")
    shutil.copy(ROOT / "cards" / "datasets" / "digits.csv.gz", tmp_path / FOLDERS[3] / "digits.csv.gz")
    source.mkdir()
    (work / "cards" / "digits" / WEIGHTS_FILE).rename(source / WEIGHTS_FILE)
    address = (source / WEIGHTS_FILE).as_uri()
    card = work / "cards" / "digits" / f"{NAME}.yaml"
    replace_once(card, "    format: safetensors\n", f"    format: safetensors\n    urls: [{address}]\n")
    return tmp_path


def run(place: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    home, state, work, data, temporary = (place / name for name in FOLDERS)
    environment = {
        **os.environ,
        "HOME": str(home),
        "ZOO_HOME": str(state),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
        "ZOO_DATA_DIGITS": str(data / "digits.csv.gz"),
    }
    command = [sys.executable, "-m", "zoo_cli", *map(str, arguments), "--cards", str(work / "cards")]
    return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)


def test_no_file_of_a_release_or_report_has_a_folder_of_this_machine(place: Path) -> None:
    written = place / "written.json"
    verified = run(place, "verify", NAME, "--fetch", "--strict", "--report", written)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for options in ((), ("--report", written)):
        published = run(place, "publish", NAME, "--to", f"folder:{place / 'out'}", *options)
        assert published.returncode == 0, published.stderr
    assert_no_folder(texts_below(place / "out"), str(place), place.name)
    stored = texts_below(place / FOLDERS[1] / "v2" / "reports")
    assert_no_folder({**stored, "written.json": written.read_text()}, str(place), place.name)
    checked = run(place, "publish", NAME, "--to", f"folder:{place / 'out'}", "--check")
    assert checked.returncode == 0, checked.stdout


def test_no_report_of_a_failure_has_a_folder_of_this_machine(place: Path) -> None:
    (place / FOLDERS[3] / "digits.csv.gz").write_bytes(b"no data")
    (place / FOLDERS[0] / "downloads" / WEIGHTS_FILE).unlink()
    written = place / "written.json"
    ran = run(place, "verify", NAME, "--fetch", "--report", written)
    assert ran.returncode in (1, 3)
    stored = texts_below(place / FOLDERS[1] / "v2" / "reports")
    assert_no_folder({**stored, "written.json": written.read_text()}, str(place), place.name)


def test_a_report_from_elsewhere_is_published_without_its_folders() -> None:
    top1 = "digits/validation/top1"
    report = digits_report()
    report = with_evidence(
        report, top1, {"cache": "/mnt/secret-data/ranks/01.json", "log": ["see /home/lovelace/x/run.log"]}
    )
    report = with_finding(
        report, "params", "params", reason="counted in C:\\Users\\lovelace\\zoo\\net.py", hint="~lovelace/zoo/x.sh"
    )
    report = with_finding(
        report,
        "build",
        "build",
        where="/Users/lovelace/cards/digits/resnest_digits.yaml:3:1",
        reason="file:///scratch/lovelace/a.pt",
    )
    report = replace(
        report,
        options={**report.options, "data": {"digits": "/data/lovelace/digits"}},
        environment={
            **report.environment,
            "prefix": "/home/lovelace/venv",
            "platform": "Linux (built in /root/lovelace)",
        },
    )
    texts = {item.path: item.read().decode(errors="replace") for item in release(report).files}
    assert_no_folder(texts, "lovelace", "/mnt", "/home", "/Users", "C:\\\\", "/scratch", "/data/")
    predicate = json.loads(texts["verification.json"])["predicate"]
    published = {(item["check"], item["key"]): item for item in predicate["findings"]}
    assert published["accuracy", top1]["evidence"]["cache"] == ".../01.json"
    assert published["build", "build"]["where"] == "resnest_digits.yaml:3:1"
    assert published["params", "params"]["reason"] == "counted in .../net.py"


def test_a_traceback_in_a_finding_is_stored_without_its_folders() -> None:
    reason = 'FileNotFoundError: [Errno 2] No such file or directory: "/work/ada lovelace/x.pt" at File "/usr/lib/python3/a.py", line 3'
    found = Finding(NAME, "build", "build", Status.UNKNOWN, reason=reason, evidence={"bug": True, "lines": (reason,)})
    report = reports.make((), (found,), options={}).without_paths()
    assert "/usr" not in report.to_json() and "/work" not in report.to_json() and "line 3" in report.to_json()
    assert report.findings[0].evidence["bug"] is True

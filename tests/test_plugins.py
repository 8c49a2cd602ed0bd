"""The folder is the registry, and other distributions add to it through entry points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.project import ROOT
from zoo import plugins
from zoo.errors import UnknownName


def test_a_file_in_the_folder_is_a_plug_in() -> None:
    here = {path.stem for path in (ROOT / "zoo" / "verification" / "checks").glob("[a-z]*.py")}
    assert set(plugins.names("checks")) == here
    assert plugins.load("checks", "params").needs == ("build",)


def test_an_unknown_name_gets_the_nearest_ones_and_its_place() -> None:
    with pytest.raises(UnknownName) as caught:
        plugins.load("builders", "tim", where="cards/a.yaml:3:5")
    assert str(caught.value) == "cards/a.yaml:3:5: unknown builder 'tim'\n  hint: did you mean 'timm'?"


@pytest.mark.parametrize("name", ["../errors", "__init__", "timm.x", "", "/etc/passwd"])
def test_a_name_cannot_lead_out_of_the_folder(name: str) -> None:
    with pytest.raises(UnknownName):
        plugins.load("builders", name)


def other_distribution(folder: Path, *entries: str) -> None:
    """An installed distribution with a module of its own and these entry points of the group zoo.formats."""
    info = folder / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[zoo.formats]\n" + "".join(f"{entry} = other_format\n" for entry in entries)
    )
    (folder / "other_format.py").write_text(
        '"""Counts only."""\n\ndef render(report):\n    return f"{len(report.findings)}\\n"\n'
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import zoo_cli; sys.argv = ['zoo', *{list(arguments)!r}]; zoo_cli.main()"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_another_distribution_adds_a_format(tmp_path: Path) -> None:
    other_distribution(tmp_path, "counted")
    ran = run(tmp_path, "validate", "resnest14d", "--format", "counted")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout) > 5


def test_two_plug_ins_of_one_name_are_refused(tmp_path: Path) -> None:
    other_distribution(tmp_path, "json")
    ran = run(tmp_path, "validate", "resnest14d")
    assert ran.returncode == 2
    assert "two plug-ins of zoo.formats are called 'json'" in ran.stderr

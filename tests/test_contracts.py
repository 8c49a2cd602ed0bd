"""Every plug-in offers what its kind's Protocol asks for: built-in ones by mypy, those of other distributions when loaded."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.helpers.project import ROOT
from zoo import contracts, plugins

MAPPINGS: Mapping[str, tuple[str, ...]] = {
    **{kind: (kind.upper(),) for kind in plugins.FOLDERS if kind not in ("commands", "dialects")},
    "dialects": ("FILE_DIALECTS", "NAMED_DIALECTS"),
}
BUILT_IN = [(kind, name) for kind in plugins.FOLDERS for name in plugins.names(kind)]


@pytest.mark.parametrize("kind", MAPPINGS)
def test_mypy_sees_every_built_in_plug_in(kind: str) -> None:
    listed = {name: module for mapping in MAPPINGS[kind] for name, module in getattr(contracts, mapping).items()}
    assert set(listed) == set(plugins.names(kind))
    assert {name: module.__name__.rpartition(".")[2] for name, module in listed.items()} == {
        name: name for name in listed
    }


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_built_in_plug_in_offers_all_of_its_contract(kind: str, name: str) -> None:
    assert plugins.missing(kind, importlib.import_module(f"zoo.{plugins.FOLDERS[kind].replace('/', '.')}.{name}")) == ()


def changed(kind: str, name: str, **members: Any) -> ModuleType:
    """Return a copy of a built-in plug-in with other members; None removes one."""
    original = importlib.import_module(f"zoo.{plugins.FOLDERS[kind].replace('/', '.')}.{name}")
    copy = ModuleType(name)
    vars(copy).update({key: value for key, value in (vars(original) | members).items() if value is not None})
    return copy


@pytest.mark.parametrize(
    ("kind", "name", "members", "lacking"),
    [
        ("checks", "params", {"needs": None}, ("`needs` is missing",)),
        ("checks", "params", {"needs": "build"}, ("`needs` is of type str, not tuple",)),
        ("checks", "params", {"answer": lambda question: None},
         ("`answer(question)` cannot be called as `answer(subject, question)`: too many positional arguments",)),
        ("builders", "timm", {"versions": None}, ("`versions` is missing",)),
        ("builders", "timm", {"versions": ("timm",)}, ("`versions` is not a function",)),
        ("formats", "markdown", {"render": lambda report, width: ""},
         ("`render(report, width)` cannot be called as `render(report)`: missing a required argument: 'width'",)),
        ("formats", "markdown", {"render": lambda report, width=80: ""}, ()),
        ("conventions", "macs", {"EVERY_OPERATOR": None, "tally": None},
         ("`EVERY_OPERATOR` is missing", "`tally` is missing")),
        ("rules", "counts", {"RULES": [1]}, ("`RULES` is of type list, not tuple",)),
        ("dialects", "csv", {"write": None}, ("`write` is missing",)),
        ("sources", "https", {"open_source": None}, ("`open_source` is missing",)),
        ("commands", "list", {"command": None}, ("`command` is missing",)),
    ],
)  # fmt: skip
def test_what_a_plug_in_lacks_is_named(kind: str, name: str, members: dict[str, Any], lacking: tuple[str, ...]) -> None:
    found = plugins.missing(kind, changed(kind, name, **members))
    assert found == lacking


def installed(folder: Path, kind: str, text: str) -> None:
    """Install a distribution whose module `other_plugin` is the plug-in `other` of a kind."""
    info = folder / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[zoo.{kind}]\nother = other_plugin\n")
    (folder / "other_plugin.py").write_text(text)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import zoo_cli; sys.argv = ['zoo', *{list(arguments)!r}]; zoo_cli.main()"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_check_of_another_distribution_without_needs_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    text = (
        '"""Ask for the name."""\n'
        "from zoo.verification.checks import Question\n"
        "def questions(member):\n    return [Question(member.card.name, 'other', 'name', '', member.card.name)]\n"
        "def answer(subject, question):\n    return question.compare(subject.card.name)\n"
    )
    installed(tmp_path, "checks", text)
    ran = run(tmp_path, "verify", "resnest14d", "--check", "other")
    assert ran.returncode == 2
    assert ran.stderr == (
        "zoo: entry point 'other' of group 'zoo.checks' (other_plugin): the plug-in does not fit its contract:"
        " `needs` is missing\n  hint: see Check in zoo/verification/checks/__init__.py\n"
    )
    installed(tmp_path / "complete", "checks", f"{text}needs = ()\n")
    ran = run(tmp_path / "complete", "verify", "resnest14d", "--check", "other")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_plug_in_that_cannot_be_imported_is_named_and_zoo_help_still_works(tmp_path: Path) -> None:
    installed(tmp_path, "commands", '"""Do more."""\n\nimport nosuchmodule\n')
    ran = run(tmp_path, "other")
    assert ran.returncode == 2
    assert ran.stderr.startswith(
        "zoo: entry point 'other' of group 'zoo.commands' (other_plugin): the plug-in cannot be imported:"
        " ModuleNotFoundError: No module named 'nosuchmodule'\n"
    )
    listed = run(tmp_path, "--help")
    assert listed.returncode == 0
    assert "(cannot be loaded: the plug-in cannot be imported:" in listed.stdout

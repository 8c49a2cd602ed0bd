"""The key of a fact covers the source of everything that measures it, which is derived from the imports."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.project import ROOT, replace_once
from zoo import plugins
from zoo.flops import costs
from zoo.models import facts
from zoo.models.subject import Settings, Subject
from zoo.registry.catalog import Member, load_catalog
from zoo.runtime import source_code

TREES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text("utf-8"))
    for path in (ROOT / "zoo").rglob("*.py")
}
KEYS = ("fact_key", "architecture_key", "code_sha256")


def calls(tree: ast.Module, *names: str) -> list[ast.Call]:
    """The calls of `facts.NAME` for these names."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func) in {f"facts.{name}" for name in names}]


MEASURING = sorted(module for module, tree in TREES.items() if calls(tree, *KEYS))
"""Every module that computes the key of a fact: those that measure one."""


def imported(module: str) -> set[str]:
    """What a module imports of zoo, by its syntax tree, less imports for type checkers; packages included."""
    tree = TREES[module]
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unread = {inner for guard in guards for inner in ast.walk(guard)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in unread:
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node not in unread:
            assert node.level == 0 and node.module, f"{module} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "plugins.load":
            kind, name = (argument.value if isinstance(argument, ast.Constant) else None for argument in node.args)
            if isinstance(kind, str) and isinstance(name, str):
                names.add(f"zoo.{plugins.FOLDERS[kind].replace('/', '.')}.{name}")
    known = names & set(TREES)
    packages = {".".join(name.split(".")[:count]) for name in known for count in range(2, name.count(".") + 2)}
    return packages - {"zoo", module}


def closure(module: str) -> set[str]:
    """A module and all that it imports of zoo, however indirectly, up to the boundaries."""
    found, waiting = set[str](), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        reached = {item for item in imported(name) if not any(f"{item}.".startswith(f"{b}.") for b in facts.BOUNDARIES)}
        waiting |= reached - found
    return found


def test_the_measuring_modules_are_found() -> None:
    checks = {f"zoo.verification.checks.{name}" for name in ("build", "loading", "params")}
    assert {"zoo.accuracy.diagnosis", "zoo.accuracy.evaluate", "zoo.flops.costs", "zoo.models.fingerprint"} <= {
        *MEASURING
    }
    assert checks <= {*MEASURING}


@pytest.mark.parametrize("module", MEASURING)
def test_all_that_a_measuring_module_imports_is_in_its_key(module: str) -> None:
    assert set(source_code.depends_on([module], facts.BOUNDARIES)) == closure(module)


@pytest.mark.parametrize("module", MEASURING)
def test_a_measuring_module_is_in_the_keys_that_it_computes(module: str) -> None:
    for call in calls(TREES[module], "fact_key", "architecture_key"):
        (code,) = (ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "measured_by")
        if (module, code) == ("zoo.accuracy.evaluate", "()"):
            continue  # the counts of a whole split, which are reused across versions, and say so
        if code.isidentifier():
            assignments = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Assign)]
            values = [ast.unparse(node.value) for node in assignments if ast.unparse(node.targets[0]) == code]
            assert values and all("__name__" in value for value in values), values
        else:
            assert "__name__" in code


def test_a_boundary_is_a_module_of_zoo_and_has_a_reason() -> None:
    assert set(facts.BOUNDARIES) <= set(TREES)
    assert all(facts.BOUNDARIES.values())
    assert not {module for module in MEASURING if any(f"{module}.".startswith(f"{b}.") for b in facts.BOUNDARIES)}


def test_plug_ins_that_are_chosen_at_run_time_are_in_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured_by: dict[str, set[str]] = {}
    honest = facts.fact_key

    def spy(kind: str, **inputs: Any) -> str:
        measured_by.setdefault(kind, set()).update(inputs["measured_by"])
        return honest(kind, **inputs)

    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.setattr(facts, "fact_key", spy)
    catalog = load_catalog()
    subject = Subject(Member(catalog.find("resnest_digits"), catalog), Settings(device="cpu"))
    for name in ("build", "params", "loading", "flops", "fingerprint", "accuracy"):
        check = plugins.load("checks", name)
        assert all(check.answer(subject, question).status.value == "ok" for question in check.questions(subject.member))
    counts = {name: costs.cost(subject, name, subject.input_size).value for name in plugins.names("conventions")}
    costs.solve_number(subject, counts["macs"])
    assert measured_by.keys() >= {"build", "params", "loading", "cost", "fingerprint", "ranks", "accuracy", "solution"}
    assert all("zoo.models.builders.timm" in modules for kind, modules in measured_by.items() if kind != "accuracy")
    assert "zoo.accuracy.datasets.digits" in measured_by["ranks"]
    conventions = {
        f"zoo.flops.conventions.{name}" for name in ("fvcore", "macs", "flops", "thop", "thop_0_1", "torchvision")
    }
    assert conventions <= measured_by["cost"] and conventions <= measured_by["solution"]


PRINT_KEYS = """
from pathlib import Path

import zoo
from zoo.accuracy.evaluate import RankQuery, open_sound_copy
from zoo.models import fingerprint
from zoo.models.subject import Settings, Subject
from zoo.registry.catalog import Member, load_catalog

print(zoo.__file__)
catalog = load_catalog([Path("cards")])
for card in sorted(catalog.cards, key=lambda card: card.name):
    subject = Subject(Member(card, catalog), Settings(allow_code=True, device="cpu"))
    copy = open_sound_copy(subject, catalog.dataset("digits"), "validation")
    print(fingerprint.key(subject, card.preferred_weights), RankQuery(subject, copy).pieces.folder.name)
"""


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    """A copy of the package to edit, with a card for torchvision, one for a factory, and the digits."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "zoo", folder / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "schemas", folder / "schemas")
    (folder / "cards" / "datasets").mkdir(parents=True)
    for name in ("digits.yaml", "digits.csv.gz"):
        shutil.copy(ROOT / "cards" / "datasets" / name, folder / "cards" / "datasets" / name)
    (folder / "their_nets.py").write_text("def make():\n    raise SystemExit('a key needs no model')\n")
    (folder / "cards" / "net.safetensors").write_bytes(b"a key needs its digest only")
    for name, library, entry in (("a", "torchvision", "resnet18"), ("b", "python", "their_nets:make")):
        builder = f"builder: {{library: {library}, entry: '{entry}'}}\ninput: {{size: [3, 32, 32]}}\n"
        (folder / "cards" / f"{name}.yaml").write_text(f"name: {name}\n{builder}weights: [{{file: net.safetensors}}]\n")
    return folder


def keys(folder: Path) -> list[str]:
    """The keys of fingerprint and ranks of both models, by the package in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", PRINT_KEYS], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    package, *lines = ran.stdout.split()
    assert Path(package).is_relative_to(folder) and len(lines) == len(set(lines)) == 4
    return lines


def test_an_edit_of_the_preprocessing_changes_the_keys_of_models_of_other_libraries(package_copy: Path) -> None:
    before = keys(package_copy)
    replace_once(
        package_copy / "zoo" / "models" / "builders" / "timm.py",
        "create_transform(**config, is_training=False)",
        "create_transform(**{**config, 'crop_pct': 1.0}, is_training=False)",
    )
    assert not set(before) & set(keys(package_copy))


def test_an_edit_of_code_that_does_not_measure_changes_no_key(package_copy: Path) -> None:
    before = keys(package_copy)
    for name in ("commands/verify.py", "publishing/readme.py", "weights/store.py", "errors.py", "flops/counting.py"):
        path = package_copy / "zoo" / name
        path.write_text(f"{path.read_text()}\n# edited\n")
    assert keys(package_copy) == before

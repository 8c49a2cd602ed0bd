"""Imports go one way, heavy libraries stay behind their doors, and nothing prints but the command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = """
errors interrupts malloc quantities intervals places
document
schema
report card edit correspondence
index
formats
catalog
plugins
engines
sources
part pace
crew
transfer
store
tensors
remote
housekeeping
builders conventions
tracing
counting
model
facts
costs fingerprint
pieces
datasets
grading
evaluate
diagnosis consistency
checks
verifying gate authoring listing dialects fixing changes
readme importing exporting signing validating completing
publishing
published
hub_errors
hub api scoring predicting
commands
"""
"""What stands further down may import what stands above it; a folder's file may import its own folder's contract."""
ROW = {name: index for index, row in enumerate(LAYERS.split("\n")) for name in row.split()}
SAME_ROW = {("card", "edit"), ("gate", "readme")}
"""Pairs of one row of which the second may import the first."""

DOORS = {
    "torch": (
        "builders/",
        "datasets/",
        "checks/",
        "model.py",
        "tensors.py",
        "fingerprint.py",
        "counting.py",
        "tracing.py",
        "evaluate.py",
        "grading.py",
        "conventions/",
    ),
    "timm": ("builders/",),
    "torchvision": ("builders/",),
    "requests": ("sources/https.py",),
    "huggingface_hub": ("hub.py", "hub_errors.py", "sources/hf.py", "datasets/hf.py"),
    "click": ("commands/",),
    "rich": ("commands/", "formats/text.py"),
    "yaml": ("document.py",),
    "jsonschema": ("schema.py",),
}
HEAVY = ("torch", "timm", "torchvision", "requests", "huggingface_hub", "numpy", "PIL", "safetensors", "jinja2", "rich")
FILES = sorted((ROOT / "zoo").rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """The dotted names that a file imports, `from zoo import x` as zoo.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = node.module == "zoo"
            yield from ((f"zoo.{alias.name}" if inside else node.module, node) for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def typing_only(tree: ast.Module) -> set[ast.stmt]:
    """The statements below `if TYPE_CHECKING:`."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for inner in ast.walk(block) if isinstance(inner, ast.stmt)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT / "zoo")
    own = relative.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    tree = parsed(path)
    for name, node in imports(tree):
        parts = name.split(".")
        if parts[0] != "zoo" or len(parts) == 1 or node in typing_only(tree):
            continue
        same_folder = parts[1] == own and len(relative.parts) > 1
        contract = same_folder and (len(parts) == 2 or relative.name == "__init__.py" or parts[2].startswith("_"))
        assert contract or ROW[parts[1]] < ROW[own] or (parts[1], own) in SAME_ROW, f"{relative} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_are_used_behind_their_doors_and_heavy_ones_inside_functions(path: Path) -> None:
    relative = path.relative_to(ROOT / "zoo").as_posix()
    tree = parsed(path)
    top = set(tree.body)
    for name, node in imports(tree):
        library = name.split(".")[0]
        if node in typing_only(tree):
            continue
        assert library not in DOORS or relative.startswith(DOORS[library]), f"{relative} uses {library}"
        assert library not in HEAVY or node not in top, f"{relative} imports {library} at its top"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints_but_commands_and_every_file_says_what_it_is(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree), "no docstring"
    if "commands" not in path.parts:
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print"]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]


def test_no_name_that_commands_share_is_a_commands_own() -> None:
    shared = parsed(ROOT / "zoo/commands/__init__.py")
    defined = {node.name for node in shared.body if isinstance(node, ast.FunctionDef)}
    called = {
        node.func.id for node in ast.walk(shared) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    commands = {path.stem for path in (ROOT / "zoo" / "commands").glob("[a-z]*.py")}
    assert (called | defined) & commands == set()


def test_a_command_body_has_at_most_ten_lines() -> None:
    long = {}
    for path in (ROOT / "zoo" / "commands").glob("[a-z]*.py"):
        for node in parsed(path).body:
            if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(d) for d in node.decorator_list):
                body = [line for statement in node.body[1:] for line in ast.unparse(statement).splitlines()]
                statements = [line for line in body if not line.strip().startswith(("from ", "import "))]
                if len(statements) > 10:
                    long[path.name] = len(statements)
    assert long == {}

"""A room imports itself and rooms to its left, heavy libraries stay behind their doors, modules and commands are small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers.project import ROOT

ROOMS = (
    *("errors", "plugins", "runtime", "registry", "weights", "models", "flops", "accuracy", "verification"),
    *("conversion", "publishing", "api", "commands", "contracts"),
)
DOORS = {
    "timm": ("models/builders/",),
    "torchvision": ("models/builders/",),
    "requests": ("weights/sources/",),
    "huggingface_hub": ("publishing/hub", "weights/sources/hf.py", "accuracy/datasets/hf.py"),
    "click": ("commands/",),
    "rich": ("commands/", "verification/formats/text.py"),
    "yaml": ("registry/document.py", "registry/yaml_nodes.py"),
    "jsonschema": ("registry/schema.py",),
    "model_signing": ("publishing/signing.py",),
}
EXCEPTIONS = {("errors", "zoo.runtime.text.terminal")}
"""A message is made safe where it is shown: in an error's __str__. `runtime/text.py` imports nothing of zoo."""
HEAVY = {"torch", "timm", "torchvision", "requests", "huggingface_hub", "numpy", "PIL", "safetensors", "jinja2", "rich"}
TREES = {path.relative_to(ROOT / "zoo"): ast.parse(path.read_text("utf-8")) for path in (ROOT / "zoo").rglob("*.py")}


def imports(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the dotted names that a file imports, `from zoo.room import x` as zoo.room.x, less those for type checkers."""
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unread = {inner for guard in guards for inner in ast.walk(guard)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in unread:
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from ((prefix + alias.name, node) for alias in node.names)


def test_a_file_is_in_a_room_and_has_at_most_500_lines() -> None:
    rooms = {path.parts[0] for path in TREES}
    assert rooms <= {*ROOMS, "__init__.py", "__main__.py", "api.py", "contracts.py", "errors.py", "plugins.py"}
    assert [path for path in TREES if len((ROOT / "zoo" / path).read_text("utf-8").splitlines()) > 500] == []


@pytest.mark.parametrize("path", TREES, ids=str)
def test_imports_follow_the_order_of_the_rooms_and_the_doors(path: Path) -> None:
    own = path.parts[0].removesuffix(".py")
    for name, node in imports(TREES[path]):
        library, _, rest = name.partition(".")
        if library == "zoo" and own != "__init__":
            room = rest.partition(".")[0]
            is_right = ROOMS.index(room) <= ROOMS.index(own) and (own, room) != ("accuracy", "flops")
            assert is_right or (own, name) in EXCEPTIONS, f"{path} imports {name}"
        assert library not in DOORS or path.as_posix().startswith(DOORS[library]), f"{path} uses {library}"
        assert library not in HEAVY or node not in TREES[path].body, f"{path} imports {library} at the top"


def test_no_import_is_a_cycle_and_no_class_name_stands_twice() -> None:
    modules = {".".join(("zoo", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in TREES}
    graph = {
        module: {name if name in modules else name.rpartition(".")[0] for name, _ in imports(TREES[path])} - {module}
        for module, path in modules.items()
    }
    TopologicalSorter(graph).prepare()
    classes = [node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert len(classes) == len(set(classes)), sorted(name for name in classes if classes.count(name) > 1)


def test_a_command_body_has_at_most_ten_lines() -> None:
    for path in (path for path in TREES if path.parts[0] == "commands"):
        for node in TREES[path].body:
            if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(d) for d in node.decorator_list):
                lines = [line.strip() for statement in node.body[1:] for line in ast.unparse(statement).splitlines()]
                assert len([line for line in lines if not line.startswith(("from ", "import "))]) <= 10, path

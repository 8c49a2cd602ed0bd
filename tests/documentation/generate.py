"""The generated parts of README.md and CONTRIBUTING.md: made from the schemas, the docstrings and a real run.

`python -m tests.documentation.generate` writes them; a test says when they are no longer true.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.helpers.project import ROOT

ROOMS = (
    *("runtime", "registry", "weights", "models", "flops", "accuracy", "verification", "conversion", "publishing"),
    "commands",
)
"""In the order of the flow, which is the order of imports."""


def verify_all() -> str:
    """What `zoo verify --all` prints, as a block."""
    command = [sys.executable, "-m", "zoo_cli", "verify", "--all"]
    # what a fresh machine shows: no copy of Fashion-MNIST, installed here or not
    environment = {**os.environ, "NO_COLOR": "1", "ZOO_DATA_FASHION_MNIST": ""}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return f"```console\n$ zoo verify --all\n{ran.stdout}```\n"


def commands() -> str:
    """A row for each command."""
    from zoo import plugins

    rows = "".join(f"| `zoo {name}` | {plugins.summary('commands', name)} |\n" for name in plugins.names("commands"))
    return f"| command | what it does |\n|---|---|\n{rows}"


def conventions() -> str:
    """A row for each way of counting operations."""
    from zoo import plugins

    rows = "".join(f"| `{name}` | {plugins.summary('conventions', name)} |\n" for name in plugins.names("conventions"))
    return f"| convention | what it counts |\n|---|---|\n{rows}"


def card_format() -> str:
    """A row for each field of a card, from its schema."""
    from zoo.registry.schema import schema

    return "| field | type | what it says |\n|---|---|---|\n" + "".join(_rows(schema("card"), ""))


def module_map() -> str:
    """One table: a row for each room in bold, below it a row for each of its modules."""
    top = [ROOT / "zoo_cli.py", *(ROOT / "zoo" / name for name in ("__init__.py", "api.py", "errors.py", "plugins.py"))]
    rows = [_row(path) for path in top if path.exists()]
    for room in ROOMS:
        rows += [_row(path) for path in sorted((ROOT / "zoo" / room).rglob("*.py"), key=_in_order)]
    return "| module | what it does |\n|---|---|\n" + "".join(rows)


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "verify-all": verify_all,
        "commands": commands,
        "conventions": conventions,
        "card-format": card_format,
    },
    "CONTRIBUTING.md": {"map": module_map},
}


def renew(text: str, name: str, part: str) -> str:
    """The text with what stands between the marks of that name replaced."""
    begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    assert len(pattern.findall(text)) == 1, f"the marks of {name} must stand once"
    return pattern.sub(lambda _: f"{begin}{part}{end}", text)


def _in_order(path: Path) -> tuple[Path, bool, str]:
    """Folders one after another, the contract of each first."""
    return path.parent, path.name != "__init__.py", path.name


def _row(path: Path) -> str:
    """The module with the first paragraph of its docstring; a room in bold, by its folder."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    summary = " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
    module = path.relative_to(ROOT).as_posix()
    is_room = path.name == "__init__.py"
    return (
        f"| **`{module.removesuffix('__init__.py')}`** | {summary} |\n" if is_room else f"| `{module}` | {summary} |\n"
    )


def _rows(node: dict[str, Any], at: str) -> Iterator[str]:
    for name, field in node.get("properties", {}).items():
        required = " (required)" if name in node.get("required", ()) else ""
        inner = field.get("items", field)
        kind = f"list of {inner['type']}" if field["type"] == "array" else field["type"]
        choices = f" One of {', '.join(f'`{choice}`' for choice in field['enum'])}." if "enum" in field else ""
        yield f"| `{at}{name}`{required} | {kind} | {field['description']}{choices} |\n"
        yield from _rows(inner, f"{at}{name}{'[]' if field['type'] == 'array' else ''}.")


if __name__ == "__main__":
    for document, parts in PARTS.items():
        content = (ROOT / document).read_text(encoding="utf-8")
        for part_name, make in parts.items():
            content = renew(content, part_name, make())
        (ROOT / document).write_text(content, encoding="utf-8")

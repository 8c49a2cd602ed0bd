"""Generate the parts of README.md, CONTRIBUTING.md and schemas/README.md that the code determines.

`python -m tests.documentation.generate` writes them, from the schemas, the docstrings, the plug-ins' Protocols and real
runs; with names of documents, only those. A test fails when a part is out of date.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.project import ROOT

ROOMS = (
    *("runtime", "registry", "weights", "models", "flops", "accuracy", "verification", "conversion", "publishing"),
    "commands",
)
"""The rooms in the order of imports."""
EXAMPLES = ROOT / "tests" / "documentation"
"""The folder of the README's example card, which has mistakes."""
LONGEST_EXAMPLE = 60
"""The characters of an example in a table of fields; a longer one is left out."""


def run(command: str, *, folder: Path = ROOT, code: int = 0) -> str:
    """Return a command of zoo and its output as a block; the command must exit with that code."""
    # a fresh machine has no copy of Fashion-MNIST, whether or not this one has
    environment = {
        **os.environ,
        **{"NO_COLOR": "1", "COLUMNS": "100", "ZOO_DATA_FASHION_MNIST": "", "PYTHONPATH": str(ROOT)},
    }
    words = [sys.executable, "-m", "zoo_cli", *_words(command)]
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == code, f"{command}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}"
    return f"```console\n$ {command}\n{ran.stdout}```\n"


def card(path: Path) -> str:
    """Return the text of a card as a block."""
    return f"```yaml\n{path.read_text(encoding='utf-8')}```\n"


def summaries(kind: str, heading: str, prefix: str = "") -> str:
    """Return a table with a row for each plug-in of a kind: its name and the first line of its docstring."""
    from zoo import plugins

    rows = "".join(f"| `{prefix}{name}` | {plugins.summary(kind, name)} |\n" for name in plugins.names(kind))
    return f"| {heading} | description |\n|---|---|\n{rows}"


def functions() -> str:
    """Return a table with a row for each function of the Python API: the first line of its docstring."""
    import zoo

    tree = ast.parse((ROOT / "zoo" / "api.py").read_text(encoding="utf-8"))
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in zoo.__all__]
    rows = "".join(f"| `zoo.{node.name}` | {_first_paragraph(node)} |\n" for node in public)
    return f"| function | description |\n|---|---|\n{rows}"


def fields(kind: str) -> str:
    """Return a table with a row for each field of a kind of file, from its schema."""
    from zoo.registry.schema import schema

    return "| field | type | description | example |\n|---|---|---|---|\n" + "".join(_field_rows(schema(kind), ""))


def contracts() -> str:
    """Return a table with a row for each kind of plug-in: its file, its Protocol, and the members that it requires."""
    from zoo import plugins

    rows = [
        f"| {kind} | `zoo/{folder}/NAME.py` | `{protocol}` | {', '.join(_members(folder, protocol))} |\n"
        for kind, folder in plugins.FOLDERS.items()
        for protocol in plugins.CONTRACTS[kind]
    ]
    return "| kind | file | Protocol in the folder's `__init__.py` | members |\n|---|---|---|---|\n" + "".join(rows)


def module_map() -> str:
    """Return one table: a row for each room in bold, followed by a row for each of its modules."""
    rows = [_module_row(path) for path in (ROOT / "zoo_cli.py", *sorted((ROOT / "zoo").glob("*.py")))]
    for room in ROOMS:
        rows += [_module_row(path) for path in sorted((ROOT / "zoo" / room).rglob("*.py"), key=_in_order)]
    return "| module | what it does |\n|---|---|\n" + "".join(rows)


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "list": partial(run, "zoo list --where 'params < 40M' --sort -top1"),
        "wrong-card": partial(card, EXAMPLES / "mynet.yaml"),
        "validate": partial(run, "zoo validate mynet.yaml", folder=EXAMPLES, code=1),
        "verify": partial(run, "zoo verify mynet --cards . --check build,params,flops", folder=EXAMPLES, code=1),
        "verify-all": partial(run, "zoo verify --all"),
        "eval": partial(run, "zoo eval resnest_digits"),
        "explain": partial(run, "zoo flops resnest50d --explain 6937106336"),
        "card": partial(card, ROOT / "cards" / "resnest" / "resnest50d.yaml"),
        "commands": partial(summaries, "commands", "command", "zoo "),
        "api": functions,
        "conventions": partial(summaries, "conventions", "convention"),
    },
    "CONTRIBUTING.md": {"map": module_map, "contracts": contracts},
    "schemas/README.md": {kind: partial(fields, kind) for kind in ("card", "collection", "dataset", "report")},
}


def renew(text: str, name: str, part: str) -> str:
    """Return the text with the part between the marks of that name replaced."""
    begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    assert len(pattern.findall(text)) == 1, f"the marks of {name} must occur once"
    return pattern.sub(lambda _: f"{begin}{part}{end}", text)


def _words(command: str) -> list[str]:
    import shlex

    return shlex.split(command)[1:]


def _in_order(path: Path) -> tuple[Path, bool, str]:
    """Sort by folder, with the `__init__.py` of each folder first."""
    return path.parent, path.name != "__init__.py", path.name


def _module_row(path: Path) -> str:
    """Return the module with the first paragraph of its docstring; a room in bold, by its folder."""
    summary = _first_paragraph(ast.parse(path.read_text(encoding="utf-8")))
    module = path.relative_to(ROOT).as_posix()
    if path.name == "__init__.py":
        return f"| **`{module.removesuffix('__init__.py')}`** | {summary} |\n"
    return f"| `{module}` | {summary} |\n"


def _first_paragraph(node: ast.Module | ast.FunctionDef) -> str:
    return _cell((ast.get_docstring(node) or "").partition("\n\n")[0])


def _field_rows(node: dict[str, Any], at: str) -> Iterator[str]:
    for name, field in node.get("properties", {}).items():
        required = " (required)" if name in node.get("required", ()) else ""
        yield f"| `{at}{name}`{required} | {_type(field)} | {_description(field)} | {_example(field)} |\n"
        inner, below = _contents(field)
        yield from _field_rows(inner, f"{at}{name}{below}")


def _contents(field: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the schema of what a field contains, and what its name adds to the names of the inner fields."""
    if field["type"] == "array":
        return field["items"], "[]."
    if isinstance(field.get("additionalProperties"), dict):
        return field["additionalProperties"], ".NAME."
    return field, "."


def _description(field: dict[str, Any]) -> str:
    """Return a field's description with its choices, unless the description names them."""
    choices = [f"`{choice}`" for choice in field.get("enum", ())]
    is_complete = all(choice in field["description"] for choice in choices)
    return _cell(field["description"] + ("" if is_complete else f" One of {', '.join(choices)}."))


def _type(field: dict[str, Any]) -> str:
    kinds = [field["type"]] if isinstance(field["type"], str) else field["type"]
    return f"list of {field['items']['type']}" if kinds == ["array"] else " or ".join(kinds)


def _example(field: dict[str, Any]) -> str:
    """Return the first example as YAML, or nothing when it is long, empty or an object: then the inner fields have their own."""
    from zoo.registry.edit import flow

    example = field["examples"][0]
    text = flow(example)
    is_shown = example not in ([], {}) and "{" not in text and len(text) <= LONGEST_EXAMPLE
    return f"`{_cell(text)}`" if is_shown else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _members(folder: str, protocol: str) -> Iterator[str]:
    """Yield what a Protocol requires: its properties with their types, its methods with the names of their parameters."""
    module = ast.parse((ROOT / "zoo" / folder / "__init__.py").read_text(encoding="utf-8"))
    (definition,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == protocol)
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            yield f"`{node.name}: {_cell(ast.unparse(node.returns) if node.returns else '')}`"
        elif isinstance(node, ast.FunctionDef):
            positional = [argument.arg for argument in node.args.args[1:]]
            by_name = [f"{argument.arg}=" for argument in node.args.kwonlyargs]
            yield f"`{node.name}({', '.join(positional + by_name)})`"


if __name__ == "__main__":
    for document in sys.argv[1:] or PARTS:
        content = (ROOT / document).read_text(encoding="utf-8")
        for part_name, make in PARTS[document].items():
            content = renew(content, part_name, make())
        (ROOT / document).write_text(content, encoding="utf-8")

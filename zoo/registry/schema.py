"""Document + JSON Schema of `schemas/` -> what is wrong with it, in words, at its line and column.

A validator in Rust says yes to what is right; what it refuses, jsonschema explains. This is the only module that uses
jsonschema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import nearest
from zoo.registry.document import Document
from zoo.registry.position import Pointer, Problem, json_pointer
from zoo.runtime.spelling import is_typo

if TYPE_CHECKING:
    import jsonschema


FORMAT = 1
"""The version of the card format that this zoo reads and writes: a card's `schema`."""


def problems(document: Document, kind: str) -> tuple[Problem, ...]:
    """What is wrong with the document as a `card`, `collection`, `dataset` or `report`, in the file's order."""
    if document.problems:
        return document.problems
    version = document.data.get("schema", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        what = f"written for a newer zoo: its format is {version}, this zoo reads {FORMAT}"
        return (Problem(("schema",), document.place(("schema",)), what, "upgrade zoo"),)
    fits = _fits(document.data, kind)
    if fits:
        return ()
    validator = _validator(kind)
    problem_set: set[Problem] = set()
    for error in validator.iter_errors(document.data):
        problem_set.update(_explain(document, error))
    if not problem_set and fits is False:
        problem_set.update(_quick_problems(document, kind))
    return tuple(sorted(problem_set, key=lambda problem: (problem.place.line, problem.place.column, problem.what)))


def violations(data: object, kind: str) -> tuple[str, ...]:
    """What is wrong with plain data, for what never was a file; empty when it fits the schema."""
    if _fits(data, kind):
        return ()
    return tuple(
        f"{json_pointer(tuple(error.absolute_path)) or '/'}: {error.message[:200]}"
        for error in _validator(kind).iter_errors(data)
    )


@cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of that kind of file."""
    text = (data_root() / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def data_root() -> Path:
    """The folder that holds `cards/` and `schemas/`: inside an installed package, or the repository."""
    inside = Path(__file__).parents[1] / "_data"
    return inside if inside.is_dir() else Path(__file__).parents[2]


def _fits(data: object, kind: str) -> bool | None:
    """Whether the quick validator says yes; None for what it cannot judge: numbers beyond 64 bits, text that is no Unicode."""
    try:
        return bool(_quick_validator(kind).is_valid(data))
    except (ValueError, TypeError, OverflowError):
        return None


@cache
def _quick_validator(kind: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(schema(kind))


def _quick_problems(document: Document, kind: str) -> Iterator[Problem]:
    """What only the quick validator finds: for it, as for JSON Schema, `$` is the end and not a line end before it."""
    for error in _quick_validator(kind).iter_errors(document.data):
        pointer = tuple(error.instance_path)
        yield Problem(pointer, document.place(pointer), str(error.message), "write it without a line end")


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    import jsonschema

    return jsonschema.Draft202012Validator(schema(kind))


_PYTHON_TYPE_NAMES = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "empty",
}
_JSON_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "empty",
}


def _explain(document: Document, error: Any) -> Iterator[Problem]:
    """The schema's complaint in words; one Problem for each unknown or missing key."""
    pointer = tuple(error.absolute_path)
    place = document.place(pointer)
    rule, expected, value = error.validator, error.validator_value, error.instance
    if rule == "additionalProperties":
        yield from _unknown_keys(document, pointer, value, error.schema["properties"])
    elif rule == "required":
        for name in expected:
            if name not in value:
                yield Problem(pointer, place, f"the field {name!r} is missing", f"add `{name}: ...`")
    elif rule == "type":
        written = str(document.written(pointer)).strip() if pointer in document.marks else ""
        is_unquoted = (
            expected == "string" and isinstance(value, (int, float)) and not isinstance(value, bool) and written
        )
        fix = ("replace", written) if is_unquoted else None
        yield Problem(pointer, place, *_wrong_type(document, pointer, value, expected), fix)
    elif rule == "enum":
        near = nearest(str(value), map(str, expected))
        what = f"{value!r} is none of {', '.join(map(str, expected))}"
        sure = [name for name in near if isinstance(value, str) and (is_typo(value, name) or value.lower() == name)]
        hint, fix = f"did you mean {near[0]}?" if near else "", ("replace", sure[0]) if len(sure) == 1 else None
        yield Problem(pointer, place, what, hint, fix)
    else:
        is_capital = rule == "pattern" and isinstance(value, str) and bool(re.search(expected, value.lower()))
        fix = ("replace", value.lower()) if is_capital and pointer[-1:] == ("sha256",) else None
        yield Problem(pointer, place, *_out_of_bounds(error), fix)


def _unknown_keys(
    document: Document, pointer: Pointer, value: Mapping[str, Any], fields: Mapping[str, Any]
) -> Iterator[Problem]:
    for name in value:
        if name not in fields:
            near = nearest(name, fields)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the fields here are {', '.join(sorted(fields))}"
            here, what = (*pointer, name), f"no field is called {name!r} here"
            sure = [field for field in near if is_typo(name, field) and field not in value]
            yield Problem(here, document.place(here), what, hint, ("rename", sure[0]) if len(sure) == 1 else None)


def _wrong_type(document: Document, pointer: Pointer, value: object, expected: str | list[str]) -> tuple[str, str]:
    names = [_JSON_TYPE_NAMES[name] for name in ([expected] if isinstance(expected, str) else expected)]
    written = document.written(pointer).strip() if pointer in document.marks else str(value)
    short = written if len(written) <= 60 and "\n" not in written else _PYTHON_TYPE_NAMES[type(value)]
    what = f"{short} is {_PYTHON_TYPE_NAMES[type(value)]}, and must be {' or '.join(names)}"
    if expected == "string" and isinstance(value, (int, float)):
        return what, f'quote it: "{written}"'
    return what, ""


def _out_of_bounds(error: Any) -> tuple[str, str]:
    value = json.dumps(error.instance, ensure_ascii=False)
    short = value if len(value) <= 80 else value[:77] + "..."
    examples = error.schema.get("examples")
    hint = f"write it like {json.dumps(examples[0], ensure_ascii=False)[:100]}" if examples else ""
    if error.validator == "pattern":
        return f"{short} does not fit: {error.schema.get('description', error.validator_value)}", hint
    words = {"minimum": "less than", "exclusiveMinimum": "not more than", "maximum": "more than"}
    if error.validator in words:
        return f"{short} is {words[error.validator]} {error.validator_value}", hint
    return f"{short} breaks the rule {error.validator}: {error.validator_value}", hint

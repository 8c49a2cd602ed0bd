"""Validate documents against the JSON Schemas in `schemas/`, and explain each problem at its line and column.

A validator in Rust accepts valid documents quickly; jsonschema explains the documents that it rejects. Only this module uses
jsonschema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from zoo.errors import did_you_mean, nearest
from zoo.registry import bounds
from zoo.registry.document import Document
from zoo.registry.files import INSTALLED
from zoo.registry.position import LONG, Pointer, Problem, json_pointer, shortened
from zoo.runtime.spelling import is_typo

FORMAT = 1
"""The version of the card format that this zoo reads and writes: the card's field `schema`."""
MOST_PROBLEMS = 100
"""The problems that are explained in one file. A hand-written file has few; a hostile one may have a hundred thousand."""


def problems(document: Document, kind: str) -> tuple[Problem, ...]:
    """Return the problems of the document as a `card`, `collection`, `dataset` or `report`, in the file's order."""
    if document.problems:
        return _in_order(document.problems)
    version = document.data.get("schema", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        what = f"format {_short(version)} is newer than format {FORMAT}, the newest that this zoo reads"
        return (Problem(("schema",), document.place(("schema",)), what, "pip install --upgrade zoo-verify"),)
    fits = _fits(document.data, kind)
    found = () if fits else _in_order(_explained(document, kind))
    if not found and fits is False:
        found = _in_order(_quick_problems(document, kind))
    return found or tuple(bounds.problems(document, kind))


def _explained(document: Document, kind: str) -> Iterator[Problem]:
    for error in _validator(kind).iter_errors(document.data):
        yield from _explain(document, error)


def _in_order(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems, each once, in the file's order; MOST_PROBLEMS at most, and one that says that there are more."""
    unique: dict[Problem, None] = {}
    for problem in found:
        if len(unique) == MOST_PROBLEMS and problem not in unique:
            break
        unique[problem] = None
    else:
        return tuple(sorted(unique, key=_position))
    more = Problem((), max(unique, key=_position).place, f"more than {MOST_PROBLEMS} problems", "fix those first")
    return (*sorted(unique, key=_position), more)


def _position(problem: Problem) -> tuple[int, int, str]:
    return problem.place.line, problem.place.column, problem.what


def violations(data: object, kind: str) -> tuple[str, ...]:
    """Return the violations of the schema in plain data that is not from a file, a line each; empty when it is valid."""
    if _fits(data, kind):
        return ()
    return tuple(
        f"{json_pointer(tuple(error.absolute_path)) or '/'}: {error.message[:200]}"
        for error in islice(_validator(kind).iter_errors(data), MOST_PROBLEMS)
    )


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of that kind of file."""
    text = (data_root() / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def data_root() -> Path:
    """Return the folder that has `cards/` and `schemas/`: inside the installed package, or the repository."""
    return INSTALLED if INSTALLED.is_dir() else Path(__file__).parents[2]


def _fits(data: object, kind: str) -> bool | None:
    """Return whether the quick validator accepts the data.

    None means that it cannot decide: the data has integers of more than 64 bits, or text that is not valid Unicode.
    """
    try:
        return bool(_quick_validator(kind).is_valid(data))
    except (ValueError, TypeError, OverflowError):
        return None


@cache
def _quick_validator(kind: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(schema(kind))


def _quick_problems(document: Document, kind: str) -> Iterator[Problem]:
    """Yield what only the quick validator finds: as JSON Schema requires, its `$` does not match before a final line break."""
    for error in _quick_validator(kind).iter_errors(document.data):
        pointer = tuple(error.instance_path)
        what = shortened(str(error.message))
        yield Problem(pointer, document.place(pointer), what, "remove the line break at its end")


@cache
def _validator(kind: str) -> Any:
    import jsonschema

    # jsonschema's own uniqueItems compares each item with all others when the items are of several types
    validators: Any = jsonschema.validators
    return validators.extend(jsonschema.Draft202012Validator, {"uniqueItems": _repeated_item})(schema(kind))


def _repeated_item(validator: Any, required: bool, instance: object, schema: object) -> Iterator[Exception]:
    import jsonschema

    if required and isinstance(instance, list):
        first_seen: dict[str, None] = {}
        for item in instance:
            if (text := json.dumps(item, sort_keys=True)) in first_seen:
                yield jsonschema.ValidationError("has non-unique elements")
                return
            first_seen[text] = None


_PYTHON_TYPE_NAMES = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}
_JSON_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "nothing",
}


def _explain(document: Document, error: Any) -> Iterator[Problem]:
    """Explain an error of jsonschema; yields one Problem for each unknown or missing field."""
    pointer = tuple(error.absolute_path)
    place = document.place(pointer)
    rule, expected, value = error.validator, error.validator_value, error.instance
    if rule == "additionalProperties":
        yield from _unknown_keys(document, pointer, value, error.schema["properties"])
    elif rule == "required":
        for name in expected:
            if name not in value:
                yield Problem(pointer, place, f"missing field {name!r}", f"add `{name}: ...`")
    elif rule == "type":
        written = str(document.written(pointer)).strip() if pointer in document.marks else ""
        is_unquoted = (
            expected == "string" and isinstance(value, (int, float)) and not isinstance(value, bool) and written
        )
        fix = ("replace", written) if is_unquoted else None
        yield Problem(pointer, place, *_wrong_type(document, pointer, value, expected), fix)
    elif rule == "enum":
        near = nearest(str(value), map(str, expected)) if len(_short(value)) < LONG else []
        what = f"{_short(value)} is not one of {', '.join(map(str, expected))}"
        sure = [name for name in near if isinstance(value, str) and (is_typo(value, name) or value.lower() == name)]
        fix = ("replace", sure[0]) if len(sure) == 1 else None
        yield Problem(pointer, place, what, did_you_mean(near[:1]), fix)
    else:
        is_capital = rule == "pattern" and isinstance(value, str) and bool(re.search(expected, value.lower()))
        fix = ("replace", value.lower()) if is_capital and pointer[-1:] == ("sha256",) else None
        yield Problem(pointer, place, _out_of_bounds(error, pointer), _example(error), fix)


def _unknown_keys(
    document: Document, pointer: Pointer, value: Mapping[str, Any], fields: Mapping[str, Any]
) -> Iterator[Problem]:
    for name in value:
        if name not in fields:
            near = nearest(name, fields) if len(name) < LONG else []
            hint = did_you_mean(near, f"use one of {', '.join(sorted(fields))}")
            here, what = (*pointer, name), f"unknown field {shortened(name)!r}"
            sure = [field for field in near if is_typo(name, field) and field not in value]
            yield Problem(here, document.place(here), what, hint, ("rename", sure[0]) if len(sure) == 1 else None)


_NUMBER = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\Z|0[xo][0-9a-fA-F]+\Z")
"""A plain scalar that would be a number if it was smaller; see `yaml_nodes.scalar`."""


def _wrong_type(document: Document, pointer: Pointer, value: object, expected: str | list[str]) -> tuple[str, str]:
    names = [_JSON_TYPE_NAMES[name] for name in ([expected] if isinstance(expected, str) else expected)]
    written = document.written(pointer).strip() if pointer in document.marks else str(value)
    is_short = value is not None and len(written) <= 60 and "\n" not in written
    is_number = isinstance(value, str) and bool(_NUMBER.match(written))
    got = "a number that is too large" if is_number else _PYTHON_TYPE_NAMES[type(value)]
    got += f": {written}" if is_short else ""
    what = f"expected {' or '.join(names)}, got {got}"
    if expected == "string" and isinstance(value, (int, float)):
        return what, f'quote it: "{written}"'
    return what, ""


_BOUNDS = {
    "minimum": ("at least", ""),
    "exclusiveMinimum": ("more than", ""),
    "maximum": ("at most", ""),
    "minItems": ("at least", "item"),
    "maxItems": ("at most", "item"),
    "minLength": ("at least", "character"),
    "maxLength": ("at most", "character"),
    "maxProperties": ("at most", "item"),
}


def _out_of_bounds(error: Any, pointer: Pointer) -> str:
    short, limit = _short(error.instance), error.validator_value
    if error.validator == "pattern":
        field = next((part for part in reversed(pointer) if isinstance(part, str)), "")
        description = re.split(r"\.(?: (?=[A-Z])|$)", error.schema.get("description", f"it must match {limit}"))[0]
        return f"{short} is not a valid value for {field!r}: {description[:1].lower()}{description[1:]}"
    if error.validator in _BOUNDS:
        words, unit = _BOUNDS[error.validator]
        count = f"{limit} {unit}{'s' if limit != 1 else ''}" if unit else limit
        return f"expected {words} {count}, got {short}"
    if error.validator == "uniqueItems":
        return f"an item is listed twice: {short}"
    return f"{short} violates {error.validator}: {limit}"


def _example(error: Any) -> str:
    examples = error.schema.get("examples")
    return f"write it like {json.dumps(examples[0], ensure_ascii=False)[:100]}" if examples else ""


def _short(value: object) -> str:
    """Return the value as JSON, cut to LONG characters."""
    return shortened(json.dumps(value, ensure_ascii=False))

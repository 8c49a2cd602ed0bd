"""Check the form of JSON values that zoo reads back from its own files: types, bounds and keys.

A file below ZOO_HOME may be damaged, or written by something else. A reader states the form of everything that it uses, and
takes a value of another form as missing.

A form is one of:

    a predicate     a function that returns whether a value has the form: `is_count`, `is_text`, ...
    a dict          an object with exactly these keys, each value of its form; a key that ends with `?` may be missing
    a list          of one form: an array of values of that form
    a tuple         an array of exactly these forms
    anything else   that value and no other, of the same type: `2`, `"fp32"`, `None`
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

Predicate = Callable[[Any], bool]
MAX_COUNT = 2**63 - 1
MAX_DEPTH = 32
"""The depth of a value that `is_plain` accepts. zoo writes values of depth 6 at most."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def has_form(value: Any, form: Any) -> bool:
    """Return whether a JSON value has a form. Never raises."""
    if callable(form):
        return bool(form(value))
    if isinstance(form, dict):
        return isinstance(value, dict) and _has_keys(value, form)
    if isinstance(form, list):
        (item_form,) = form
        return isinstance(value, list) and all(has_form(item, item_form) for item in value)
    if isinstance(form, tuple):
        return isinstance(value, list) and len(value) == len(form) and all(map(has_form, value, form))
    return type(value) is type(form) and bool(value == form)


def is_count(value: Any) -> bool:
    """Return whether it is an integer from 0 to MAX_COUNT. True and False are none."""
    return type(value) is int and 0 <= value <= MAX_COUNT


def is_number(value: Any) -> bool:
    """Return whether it is a finite number. True and False are none."""
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) <= MAX_COUNT)


def is_text(value: Any) -> bool:
    """Return whether it is a text that can be written as UTF-8."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value))


def is_sha256(value: Any) -> bool:
    """Return whether it is a digest of 64 hex digits in lower case."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def is_plain(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Return whether it consists of texts, finite numbers, booleans and null, in objects and arrays up to a depth."""
    if isinstance(value, dict):
        return depth > 0 and all(is_text(key) and is_plain(item, depth - 1) for key, item in value.items())
    if isinstance(value, list):
        return depth > 0 and all(is_plain(item, depth - 1) for item in value)
    return value is None or isinstance(value, bool) or is_text(value) or is_number(value)


def one_of(*forms: Any) -> Predicate:
    """Return the form of a value that has one of these forms."""
    return lambda value: any(has_form(value, form) for form in forms)


def object_with(form: dict[str, Any]) -> Predicate:
    """Return the form of an object that has these keys, each with a value of its form, and may have others."""
    return lambda value: isinstance(value, dict) and _has_keys(value, form, others=True)


def mapping_of(form: Any) -> Predicate:
    """Return the form of an object with any keys, whose values have this form."""
    return lambda value: (
        isinstance(value, dict) and all(is_text(key) and has_form(item, form) for key, item in value.items())
    )


def _has_keys(value: dict[str, Any], form: dict[str, Any], *, others: bool = False) -> bool:
    forms = {key.removesuffix("?"): item_form for key, item_form in form.items()}
    if any(key not in value for key in form if not key.endswith("?")):
        return False
    return all(has_form(item, forms[key]) if key in forms else others and is_plain(item) for key, item in value.items())

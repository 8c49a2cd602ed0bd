"""Hypothesis strategies of cards, drawn from the schema itself: whatever it accepts may come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from zoo.registry import schema
from zoo.registry.document import Document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NUMBERS = st.integers(-(10**9), 10**12) | st.floats(1e-9, 1e12)


def cards() -> st.SearchStrategy[dict[str, Any]]:
    """Data that schemas/card.schema.json accepts."""
    return of(schema.schema("card")).filter(lambda data: schema.problems(_document(data), "card") == ())


def _document(data: dict[str, Any]) -> Document:
    return Document(Path("drawn.yaml"), "drawn.yaml", data, (), "")


def of(rule: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a schema; bounds that this does not know are left to the filter."""
    if "anyOf" in rule or "oneOf" in rule:
        return st.one_of([of(option) for option in rule.get("anyOf", rule.get("oneOf"))])
    if "enum" in rule:
        return st.sampled_from(rule["enum"])
    kind = rule.get("type")
    if kind == "object":
        return _object(rule)
    if kind == "array":
        low, high = rule.get("minItems", 0), min(rule.get("maxItems", 3), 3)
        return st.lists(
            of(rule.get("items", {"type": "string"})), min_size=low, max_size=max(low, high), unique_by=repr
        )
    if kind == "string":
        pattern = rule.get("pattern")
        text = (
            st.from_regex(pattern, fullmatch=True)
            if pattern
            else st.text(min_size=rule.get("minLength", 0), max_size=30)
        )
        return text.filter(lambda value: len(value) <= rule.get("maxLength", 200))
    if kind == "integer":
        return st.integers(max(rule.get("minimum", -5), -5), rule.get("maximum", 10**12))
    if kind == "number":
        low = rule.get("minimum", rule.get("exclusiveMinimum", -100))
        return st.integers(int(low) + 1, 100) | st.floats(low + 1e-6, rule.get("maximum", 1e12), allow_nan=False)
    return st.booleans() if kind == "boolean" else JSON


def _object(rule: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in rule:
        more = rule.get("additionalProperties")
        return st.dictionaries(st.text(max_size=10), of(more) if isinstance(more, Mapping) else JSON, max_size=3)
    required = set(rule.get("required", ()))
    fixed = {name: of(inner) for name, inner in rule["properties"].items() if name in required}
    free = {name: of(inner) for name, inner in rule["properties"].items() if name not in required}
    return st.fixed_dictionaries(fixed, optional=free)

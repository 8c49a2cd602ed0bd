"""Parse the text of `--where` into a condition on a card's row."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from zoo.errors import UnknownName, UsageError
from zoo.registry.index import Row

FIELDS = tuple(item.name for item in fields(Row))
MAX_CHARACTERS = 1000
"""The length of `--where`."""
Condition = Callable[[Row], bool]


def condition(text: str) -> Condition:
    """Return the condition in a text of `--where`: comparisons of fields, joined by and, or, not, with units as in 50M.

    A comparison is false for a card that does not state the value. Raises UsageError when the text is not a valid condition,
    UnknownName for an unknown field.
    """
    if not text.strip():
        return lambda row: True
    if len(text) > MAX_CHARACTERS:
        what = f"--where has {len(text)} characters, more than the limit of {MAX_CHARACTERS}"
        raise UsageError(what, hint="shorten the condition")
    plain = re.sub(r"(?<![\w.'\"])(\d+(?:\.\d+)?)([kMGB])\b", lambda match: f"{match[1]}e{_POWERS[match[2]]}", text)
    try:
        evaluate = _condition(ast.parse(plain.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"--where is not a valid condition: {text}", hint='write it like "top1 > 80 and params < 50M"'
        ) from error
    return lambda row: bool(evaluate(row))


_POWERS = MappingProxyType({"k": 3, "M": 6, "G": 9, "B": 9})
_OPERATORS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = MappingProxyType(
    {
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.In: lambda left, right: left in right,
        ast.NotIn: lambda left, right: left not in right,
    }
)


def _condition(node: ast.expr) -> Callable[[Row], Any]:
    if isinstance(node, ast.BoolOp):
        parts = [_condition(part) for part in node.values]
        every = isinstance(node.op, ast.And)
        return lambda row: (all if every else any)(part(row) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _condition(node.operand)
        return lambda row: not inner(row)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        negated = _condition(node.operand)
        return lambda row: -negated(row)
    if isinstance(node, ast.Compare):
        return _comparison(node)
    if isinstance(node, ast.Name):
        name = known_field(node.id)
        return lambda row: getattr(row, name)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        value = node.value
        return lambda row: value
    raise ValueError(ast.unparse(node))


def _comparison(node: ast.Compare) -> Callable[[Row], bool]:
    sides = [_condition(side) for side in (node.left, *node.comparators)]
    operators = [_OPERATORS[type(op)] for op in node.ops if type(op) in _OPERATORS]
    if len(operators) != len(node.ops):
        raise ValueError(ast.unparse(node))

    def meets(row: Row) -> bool:
        values = [side(row) for side in sides]
        try:
            return all(value is not None for value in values) and all(
                compare(values[at], values[at + 1]) for at, compare in enumerate(operators)
            )
        except TypeError as error:
            raise UsageError(
                f"--where compares a number with text: {ast.unparse(node)}",
                hint="put text in quotes, and numbers without quotes",
            ) from error

    return meets


def known_field(name: str) -> str:
    """Return the name if a row has that field; raises UnknownName with the nearest names."""
    if name not in FIELDS:
        raise UnknownName("field", name, FIELDS)
    return name

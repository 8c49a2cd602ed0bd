"""Render cards as tables and pages, for `zoo list`, `zoo show` and `zoo compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from zoo.registry.card import Card, Collection
from zoo.registry.catalog import Catalog
from zoo.registry.index import Row, row_of
from zoo.registry.query import FIELDS, condition, known_field
from zoo.runtime.text import json_text, terminal

DEFAULT_COLUMNS = ("name", "collection", "params", "macs", "top1", "dataset", "license")
"""The columns of a table unless others are given."""


def rows(catalog: Catalog, query: str = "", *, where: str = "", sort: str = "") -> list[Row]:
    """Return a row for each card whose name contains the query and that meets the condition.

    sort: a field, with `-` before it for descending order; rows without a value come last. The default order is by name.
    Raises UsageError for a condition that is not valid, UnknownName for an unknown field.
    """
    part, meets = query.lower(), condition(where)
    entries = (entry for entry in catalog.cards.entries if part in entry.name.lower())
    matching = sorted((row for entry in entries if meets(row := entry.as_row())), key=lambda row: row.name)
    if not sort:
        return matching
    name = known_field(sort.removeprefix("-"))
    with_value = [row for row in matching if getattr(row, name) is not None]
    without_value = [row for row in matching if getattr(row, name) is None]
    return sorted(with_value, key=lambda row: getattr(row, name), reverse=sort.startswith("-")) + without_value


def render(rows: Sequence[Row], format_name: str, columns: Sequence[str] = ()) -> str:
    """Return the rows as `text` (a table), `json` or `names` (one per line), with these fields of Row."""
    names = [known_field(column) for column in columns] or list(DEFAULT_COLUMNS)
    if format_name == "json":
        data = [asdict(row) if not columns else {name: getattr(row, name) for name in names} for row in rows]
        return json_text(json.dumps(data, indent=2)) + "\n"
    if format_name == "names":
        return "".join(f"{terminal(row.name)}\n" for row in rows)
    lines = [tuple(names), *(tuple(_cell(name, getattr(row, name)) for name in names) for row in rows)]
    return _table(lines) if rows else "no models\n"


def render_comparison(cards: Sequence[Card], format_name: str) -> str:
    """Return a comparison of cards: one field per line, one card per column, with an asterisk where the cards differ."""
    rows = [row_of(card) for card in cards]
    results = [{f"{c.dataset} {c.metric}": f"{c.value:g}" for c in card.results} for card in cards]
    if format_name == "json":
        data = [{**asdict(row), "results": result} for row, result in zip(rows, results, strict=True)]
        return json_text(json.dumps(data, indent=2)) + "\n"
    cells_by_field = {
        name: [_cell(name, getattr(row, name)) for row in rows]
        for name in FIELDS
        if name not in ("name", "where", "top1", "top5", "dataset")
    }
    cells_by_field |= {
        key: [result.get(key, "-") for result in results]
        for key in dict.fromkeys(key for result in results for key in result)
    }
    lines = [("", *(row.name for row in rows))]
    lines += [
        (f"{'*' if len(set(cells)) > 1 else ' '} {name}", *cells)
        for name, cells in cells_by_field.items()
        if set(cells) != {"-"}
    ]
    return _table(lines)


def render_card(card: Card, collection: Collection | None, format_name: str) -> str:
    """Return everything that a card and its family say, as `text` with their file names, or as `json`."""
    if format_name == "json":
        family = dict(collection.where.document.data) if collection else None
        data = {"card": dict(card.where.document.data), "collection": family}
        return json_text(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"
    parts = [card.where.document] + ([collection.where.document] if collection else [])
    lines = (line for part in parts for line in (f"# {part.label}", *_lines(part.data, 0)))
    return "".join(f"{terminal(line)}\n" for line in lines)


_UNITS = MappingProxyType(
    {"params": (1e6, "M", 2), "macs": (1e9, "G", 3), "flops": (1e9, "G", 3), "size_bytes": (1e6, " MB", 1)}
)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _UNITS:
        scale, unit, digits = _UNITS[name]
        return f"{value / scale:,.{digits}f}{unit}"
    return f"{value:.2f}%" if name in ("top1", "top5") else str(value)


def _table(cells: Sequence[tuple[str, ...]]) -> str:
    lines = [tuple(map(terminal, line)) for line in cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _lines(data: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Yield the lines about a card's fields; the lines of a text are indented below its key."""
    for key, value in data.items():
        pad = "  " * depth
        if isinstance(value, Mapping):
            yield f"{pad}{key}:"
            yield from _lines(value, depth + 1)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                yield f"{pad}{key} {index + 1}:"
                yield from _lines(item if isinstance(item, Mapping) else {"": item}, depth + 1)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value).strip()
            first, *more = text.split("\n") if isinstance(value, str) else [text]
            yield f"{pad}{key}: {first}"
            yield from (f"{pad}  {line}" for line in more)

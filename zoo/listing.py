"""Cards -> tables and pages: what `zoo list` and `zoo show` print. Pure. Imports card and catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zoo.card import Card, Collection
from zoo.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Row:
    """What a list shows of a card, all of it claimed. params and macs are counts, top1 is in percent."""

    name: str
    collection: str | None
    params: int | None
    macs: float | None
    top1: float | None
    dataset: str | None
    license: str | None
    where: str


def rows(catalog: Catalog, query: str = "") -> list[Row]:
    """A row for each card whose name has the query in it, by name."""
    wanted = query.lower()
    return sorted((_row(card) for card in catalog.cards if wanted in card.name.lower()), key=lambda row: row.name)


def render(rows: Sequence[Row], format_name: str) -> str:
    """The rows as `text` (a table), `json`, or `names` (one a line)."""
    if format_name == "json":
        return json.dumps([asdict(row) for row in rows], indent=2) + "\n"
    if format_name == "names":
        return "".join(f"{row.name}\n" for row in rows)
    head = ("name", "collection", "params", "macs", "top1", "dataset", "license")
    return _table([head, *(_cells(row) for row in rows)]) if rows else "no models\n"


def whole(card: Card, collection: Collection | None, format_name: str) -> str:
    """All that a card and its family say, with places as `text`, as data as `json`."""
    if format_name == "json":
        family = dict(collection.where.document.data) if collection else None
        return (
            json.dumps({"card": dict(card.where.document.data), "collection": family}, indent=2, ensure_ascii=False)
            + "\n"
        )
    parts = [card.where.document] + ([collection.where.document] if collection else [])
    return "".join(f"# {part.label}\n" + "".join(_lines(part.data, 0)) for part in parts)


def _row(card: Card) -> Row:
    top1 = next((claim for claim in card.results if claim.metric == "top1"), None)
    macs = next((claim.value for claim in card.flops if claim.convention == "macs"), None)
    percent = None if top1 is None else top1.value * (100 if top1.unit == "fraction" else 1)
    params = card.claims.params.value if card.claims and card.claims.params else None
    return Row(
        card.name, card.collection, params, macs, percent, top1.dataset if top1 else None, card.license, str(card.where)
    )


def _cells(row: Row) -> tuple[str, ...]:
    params = f"{row.params / 1e6:,.2f}M" if row.params is not None else "-"
    macs = f"{row.macs / 1e9:,.3f}G" if row.macs is not None else "-"
    top1 = f"{row.top1:.2f}%" if row.top1 is not None else "-"
    return (row.name, row.collection or "-", params, macs, top1, row.dataset or "-", row.license or "-")


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _lines(data: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, value in data.items():
        pad = "  " * depth
        if isinstance(value, Mapping):
            yield f"{pad}{key}:\n"
            yield from _lines(value, depth + 1)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                yield f"{pad}{key} {index + 1}:\n"
                yield from _lines(item if isinstance(item, Mapping) else {"": item}, depth + 1)
        else:
            shown = (
                ", ".join(map(str, value))
                if isinstance(value, list)
                else str(value).strip().replace("\n", f"\n{pad}  ")
            )
            yield f"{pad}{key}: {shown}\n"

"""timm's own pretrained configurations: architecture and tag, weights on the Hub or elsewhere, input, licence.

`timm:PATTERN` as in timm.list_models. timm's tables have no accuracies; a results file (`--results`) gives them, with the
input at which they were measured.
"""

from __future__ import annotations

import csv as table
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.conversion.dialects import Draft, ReadResult
from zoo.models.builders import Published
from zoo.runtime.environment import version_of

_csv = "csv"


def published(pattern: str, results: Path | None) -> ReadResult:
    """A draft for each of timm's models that fits the pattern, and for each family that they are of."""
    models = plugins.load("builders", "timm").published(pattern)
    rows = _rows(results) if results else {}
    document = f"timm {version_of('timm')}"
    cards = [_draft(item, document, index, rows.get(item.name, ()), results) for index, item in enumerate(models)]
    families = dict.fromkeys(item.family for item in models)
    collections = [Draft("collection", name, {}, document, 1, index, name) for index, name in enumerate(families)]
    return ReadResult((*collections, *cards), notes=tuple(note for item in models for note in item.notes))


def _rows(path: Path) -> dict[str, list[tuple[int, dict[str, str]]]]:
    """The rows of a results file by model, with their lines."""
    rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line, row in enumerate(table.DictReader(file), 2):
            rows.setdefault(row.get("model", ""), []).append((line, row))
    return rows


def _draft(item: Published, document: str, index: int, rows: Any, results: Path | None) -> Draft:
    data: dict[str, Any] = {"collection": item.family, **item.card, "extra": {"timm": dict(item.extra)}}
    if rows and results is not None:
        dialect: Any = plugins.load("dialects", _csv)
        line, row = _own_input(rows, item.card.get("input", {}))
        dataset = dialect.DATASETS.get(results.name, "imagenet-1k")
        data["claims"] = dialect.claims_of(row, f"{results.name}:{line}", dataset)
        data["input"] = {**item.card.get("input", {}), **dialect.input_of(row)}
        other_results = [other_row for at, other_row in rows if at != line]
        data["extra"] = {**data["extra"], **({"other_results": other_results} if other_results else {})}
    return Draft("card", item.name, data, document, 1, index, {"name": item.name, "extra": dict(item.extra)})


def _own_input(rows: list[tuple[int, dict[str, str]]], input_fields: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    """The row that was measured at the configuration's own input, else the first."""
    side = str((input_fields.get("size") or [0, 0, 0])[1])
    return next(((line, row) for line, row in rows if row.get("img_size") == side), rows[0])

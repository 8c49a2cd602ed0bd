"""Read timm's own pretrained configurations: architecture and tag, URLs of the weights, input, licence.

`timm:PATTERN` takes the patterns of timm.list_models. timm's configurations have no accuracies; a results file
(`--results`) gives them, with the input at which they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.conversion.dialects import Draft, ReadResult, csv
from zoo.models.builders import Published
from zoo.models.builders import timm as builder
from zoo.runtime.environment import version_of


def published(pattern: str, results: Path | None) -> ReadResult:
    """Return a draft for each of timm's models that matches the pattern, and for each of their collections."""
    models = builder.published(pattern)
    rows: dict[str, list[csv.TableRow]] = {}
    for row in csv.rows_of(results.read_text(encoding="utf-8-sig"), results.name) if results else ():
        rows.setdefault(row.name, []).append(row)
    document = f"timm {version_of('timm')}"
    cards = [_draft(item, document, index, rows.get(item.name, ())) for index, item in enumerate(models)]
    families = dict.fromkeys(item.family for item in models)
    collections = [Draft("collection", name, {}, document, 1, index, name) for index, name in enumerate(families)]
    return ReadResult((*collections, *cards), notes=tuple(note for item in models for note in item.notes))


def _draft(item: Published, document: str, index: int, rows: Sequence[csv.TableRow]) -> Draft:
    data: dict[str, Any] = {"collection": item.family, **item.card, "extra": {"timm": dict(item.extra)}}
    if rows:
        row = _own_input(rows, item.card.get("input", {}))
        data["claims"] = row.claims
        data["input"] = {**item.card.get("input", {}), **row.input}
        others = [dict(other.cells) for other in rows if other is not row]
        data["extra"] = {**data["extra"], **({"other_results": others} if others else {})}
    return Draft("card", item.name, data, document, 1, index, {"name": item.name, "extra": dict(item.extra)})


def _own_input(rows: Sequence[csv.TableRow], input_fields: Mapping[str, Any]) -> csv.TableRow:
    """Return the row that was measured at the configuration's own input size, else the first."""
    side = str((input_fields.get("size") or [0, 0, 0])[1])
    return next((row for row in rows if row.cells.get("img_size") == side), rows[0])

"""Read and write tables of models: timm's results files, and tables of what cards claim.

Columns are found by their headings, in any order: timm's (results-imagenet.csv: model, img_size, top1, top5, param_count in
millions, crop_pct, interpolation; huggingface/pytorch-image-models, results/, seen 2026-11-24) and those that `write` makes.
A text that a spreadsheet would compute, such as `=1+1`, is written with a quote before it, which `read` removes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.conversion.card_fields import crop_pct, file_name, flops_claim, interpolation, params_claim, result_fields
from zoo.conversion.dialects import Draft, ReadResult, SourceFile, WrittenDocument
from zoo.errors import UsageError
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.index import row_of
from zoo.registry.metrics import METRICS
from zoo.registry.position import Place, Problem
from zoo.registry.quantities import count, digest_in_name, image_size, measure
from zoo.runtime.text import csv_cell, csv_text

suffixes: tuple[str, ...] = (".csv",)
only_if_asked = True
"""Most tables in a folder are measurements of models that its documents describe, so a table is read only when named."""
DATASETS = {"results-imagenet.csv": "imagenet-1k", "results-imagenet-real.csv": "imagenet-real"}
"""The data sets of timm's results files, by file name."""
DEFAULT_DATASET = "imagenet-1k"
"""The data set of other tables, when they have no column `dataset`."""
COLUMNS = (
    *("name", "collection", "task", "license", "library", "entry", "params", "macs", *METRICS, "dataset"),
    *("size_bytes", "sha256", "url", "image_size", "crop_pct", "interpolation"),
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table: its cells by heading, the name of the table and the line of the row."""

    cells: Mapping[str, str]
    table: str
    line: int

    @property
    def name(self) -> str:
        """The name of the model, empty when the row has none."""
        return (self.cells.get("model") or self.cells.get("name") or "").strip()

    @property
    def source(self) -> dict[str, str]:
        """`{"source": "table:line"}`."""
        return {"source": f"{self.table}:{self.line}"}

    @property
    def claims(self) -> dict[str, Any]:
        """The claimed parameters, multiply-adds and accuracies."""
        cells, claims = self.cells, dict[str, Any]()
        params = count(cells.get("param_count") or "", times=6) or count(cells.get("params") or "")
        if params is not None:
            claims["params"] = params_claim(params, self.source)
        macs = count(cells.get("macs") or "") or count(cells.get("infer_gmacs") or "", times=9)
        if macs is not None:
            claims["flops"] = [flops_claim(macs, self.source, convention="macs")]
        dataset = cells.get("dataset") or DATASETS.get(Path(self.table).name, DEFAULT_DATASET)
        results = [
            {"dataset": dataset, "metric": metric, **result_fields(value, self.source, unit="percent")}
            for metric in METRICS
            if (value := measure(cells.get(metric) or "")) is not None
        ]
        return {**claims, **({"results": results} if results else {})}

    @property
    def input(self) -> dict[str, Any]:
        """The input at which the row was measured."""
        size = next(
            (self.cells[key] for key in ("img_size", "image_size", "infer_img_size") if self.cells.get(key)), ""
        )
        values = {
            "size": list(image_size(size) or ()) or None,
            "interpolation": interpolation(self.cells.get("interpolation")),
            "crop_pct": crop_pct(self.cells.get("crop_pct") or ""),
        }
        return {key: value for key, value in values.items() if value is not None}


def recognises(file: SourceFile) -> bool:
    """Return whether the first line has a heading for names and one for a number."""
    headings = set(file.text.partition("\n")[0].strip().replace('"', "").split(","))
    return bool(headings & {"model", "name"}) and bool(headings & {"top1", "param_count", "params", "infer_gmacs"})


def read(file: SourceFile) -> ReadResult:
    """Return a draft for each row that has a name."""
    try:
        rows = rows_of(file.text, file.label)
    except UsageError as error:
        return ReadResult(problems=(Problem((), Place(file.label, 1, 1), error.what),))
    return ReadResult(tuple(_draft(row) for row in rows if row.name))


def rows_of(text: str, table: str) -> list[TableRow]:
    """Return the rows of a CSV text, without those that have more cells than headings. Raises UsageError for other text."""
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise UsageError(f"not a valid CSV table: {error}", where=table) from error
    texts = ({key: cell and csv_text(cell) for key, cell in row.items()} if None not in row else None for row in rows)
    return [TableRow(row, table, line) for line, row in enumerate(texts, 2) if row is not None]


def _draft(row: TableRow) -> Draft:
    cells = row.cells
    data: dict[str, Any] = {key: cells[key] for key in ("collection", "task", "license") if cells.get(key)}
    if cells.get("library") and cells.get("entry"):
        data["builder"] = {"library": cells["library"], "entry": cells["entry"]}
    if cells.get("url"):
        data["weights"] = [_weights(row)]
    data |= {key: value for key, value in (("input", row.input), ("claims", row.claims)) if value}
    data["extra"] = {"csv": {key: value for key, value in cells.items() if value}}
    return Draft("card", row.name, data, row.table, row.line, row.line - 2, cells)


def _weights(row: TableRow) -> dict[str, Any]:
    url, size = row.cells["url"], row.cells.get("size_bytes") or ""
    digest = row.cells.get("sha256") or digest_in_name(url)
    optional = {
        **({"size_bytes": int(size)} if size.isascii() and size.isdigit() and len(size) <= 15 else {}),
        **({"sha256": digest} if digest else {}),
    }
    return {"file": file_name(url), **optional, "urls": [url], **row.source}


def write(cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
    """Return one table with a row for each card."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([_cells(card) for card in cards])
    return (WrittenDocument("models.csv", out.getvalue()),)


def _cells(card: Card) -> list[Any]:
    row = row_of(card)
    weights = card.weights[0] if card.weights else None
    more: dict[str, Callable[[], Any]] = {
        "entry": lambda: card.builder.entry if card.builder else None,
        "sha256": lambda: weights.sha256 if weights else None,
        "url": lambda: weights.urls[0] if weights and weights.urls else None,
        "crop_pct": lambda: card.input.crop_pct if card.input else None,
        "interpolation": lambda: card.input.interpolation if card.input else None,
    }
    values = (more[name]() if name in more else getattr(row, name) for name in COLUMNS)
    return ["" if value is None else csv_cell(value) if isinstance(value, str) else value for value in values]

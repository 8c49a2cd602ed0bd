"""Tables of models: timm's results files, and a table of what the cards of a zoo claim.

Columns by their headings, in any order: timm's (results-imagenet.csv: model, img_size, top1, top5, param_count in millions,
crop_pct, interpolation; huggingface/pytorch-image-models, results/, seen 2026-11-24) and those that `write` makes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.conversion.dialects import Draft, ReadResult, SourceFile, WrittenDocument
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.index import row_of
from zoo.registry.position import Place, Problem
from zoo.registry.quantities import count, digest_in_name, image_size, measure

suffixes: tuple[str, ...] = (".csv",)
only_if_asked = True
"""A folder's tables are mostly measurements of models that its documents describe: they are read when they are named."""
DATASETS = {"results-imagenet.csv": "imagenet-1k", "results-imagenet-real.csv": "imagenet-real"}
"""The data sets of timm's results files, by the files' names."""
COLUMNS = (
    *("name", "collection", "task", "license", "library", "entry", "params", "macs", "top1", "top5", "dataset"),
    *("size_bytes", "sha256", "url", "image_size", "crop_pct", "interpolation"),
)


def recognises(file: SourceFile) -> bool:
    """Whether the first line has a heading for names and one for a number."""
    headings = set(file.text.partition("\n")[0].strip().replace('"', "").split(","))
    return bool(headings & {"model", "name"}) and bool(headings & {"top1", "param_count", "params", "infer_gmacs"})


def read(file: SourceFile) -> ReadResult:
    """A draft for each row."""
    try:
        rows = list(csv.DictReader(io.StringIO(file.text), strict=True))
    except csv.Error as error:
        return ReadResult(problems=(Problem((), Place(file.label, 1, 1), f"is no table: {error}"),))
    dataset = DATASETS.get(file.path.name, "imagenet-1k")
    drafts = [
        Draft("card", name, _data(row, f"{file.label}:{line}", dataset), file.label, line, line - 2, row)
        for line, row in enumerate(rows, 2)
        if (name := (row.get("model") or row.get("name") or "").strip()) and None not in row
    ]
    return ReadResult(tuple(drafts))


def claims_of(row: Mapping[str, str], source: str, dataset: str) -> dict[str, Any]:
    """What a row claims: parameters and accuracies, each with its origin and place."""
    origin = {"origin": "upstream", "source": source}
    millions = count(row.get("param_count") or "", times=6)
    exact = millions or count(row.get("params") or "")
    claims: dict[str, Any] = {}
    if exact is not None:
        rounded = {"rounded_to": int(exact.rounded_to)} if exact.rounded_to > 1 else {}
        claims["params"] = {"value": round(exact.value), **rounded, **origin}
    macs = count(row.get("macs") or "") or count(row.get("infer_gmacs") or "", times=9)
    if macs is not None:
        rounded = {"rounded_to": int(macs.rounded_to)} if macs.rounded_to > 1 else {}
        claims["flops"] = [{"value": macs.value, "convention": "macs", **rounded, **origin}]
    results = [
        {
            "dataset": row.get("dataset") or dataset,
            "metric": metric,
            "value": read.value,
            "unit": "percent",
            "rounded_to": read.rounded_to,
            **origin,
        }
        for metric in ("top1", "top5")
        if (read := measure(row.get(metric) or "")) is not None
    ]
    return {**claims, **({"results": results} if results else {})}


def input_of(row: Mapping[str, str]) -> dict[str, Any]:
    """The input that a row was measured at."""
    size = image_size(row.get("img_size") or row.get("image_size") or row.get("infer_img_size") or "")
    crop = measure(row.get("crop_pct") or "")
    return {
        **({"size": list(size)} if size else {}),
        **({"interpolation": row["interpolation"]} if row.get("interpolation") else {}),
        **({"crop_pct": float(crop.value)} if crop and 0 < crop.value <= 2 else {}),
    }


def _data(row: Mapping[str, str], source: str, dataset: str) -> dict[str, Any]:
    claims, input_fields = claims_of(row, source, dataset), input_of(row)
    data = {key: row[key] for key in ("collection", "task", "license") if row.get(key)}
    if row.get("library") and row.get("entry"):
        data["builder"] = {"library": row["library"], "entry": row["entry"]}  # type: ignore[assignment]  # a mapping
    if row.get("url"):
        file = row["url"].rpartition("/")[2] or "weights"
        digest = row.get("sha256") or digest_in_name(row["url"])
        size = {"size_bytes": int(row["size_bytes"])} if (row.get("size_bytes") or "").isdigit() else {}
        data["weights"] = [
            {"file": file, **size, **({"sha256": digest} if digest else {}), "urls": [row["url"]], "source": source}
        ]  # type: ignore[assignment]  # a list
    cells = {key: value for key, value in row.items() if value}
    return {
        **data,
        **({"input": input_fields} if input_fields else {}),
        **({"claims": claims} if claims else {}),
        "extra": {"csv": cells},
    }


def write(cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
    """One table, a row for each card."""
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
    return ["" if value is None else value for value in values]

"""Read and write model cards of the Hugging Face Hub: a README.md with licence, task and results in its front matter.

`hf:ORG/NAME[@REVISION]` reads the card of a repository and the list of its weights files. Format: huggingface.co/docs/hub/model-cards and
github.com/huggingface/hub-docs/blob/main/modelcard.md (`model-index` there is a list of models with results), seen 2026-11-24.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.conversion.card_fields import result_fields, weights_format
from zoo.conversion.dialects import Draft, ReadResult, SourceFile, WrittenDocument
from zoo.conversion.mapping import MISSING, Field, SourceValue, read_text, to_card, to_entry, unchanged
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.document import Document, parse_foreign
from zoo.registry.edit import card_text
from zoo.registry.metrics import METRICS, metric_name
from zoo.registry.position import Place, Problem
from zoo.registry.quantities import measure
from zoo.weights.sources import hf as hf_source
from zoo.weights.sources.hf import RepositoryFile

suffixes: tuple[str, ...] = (".md", ".markdown")
only_if_asked = False
OWN = "hf"
"""The key under `extra` for the front matter that the card's fields cannot hold."""
BODY = "readme"
"""The key under `extra` for the text below the front matter."""
STALL_SECONDS = 60.0
WEIGHTS = re.compile(r"(?:.*\.safetensors|pytorch_model.*\.bin|.*\.(?:pth|pt|ckpt))\Z")
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_KEYS = re.compile(r"(?m)^(model-index|license|library_name|pipeline_tag|base_model)[ \t]*:")


def recognises(file: SourceFile) -> bool:
    """Return whether the text begins with front matter that has results, or a licence and another key of a model card."""
    front = _FRONT.match(file.text)
    keys = set(_KEYS.findall(front[1])) if front else set()
    return "model-index" in keys or ("license" in keys and len(keys) > 1)


def read(file: SourceFile) -> ReadResult:
    """Return the draft of the README's model."""
    front = _FRONT.match(file.text)
    if front is None:
        problem = Problem(
            (), Place(file.label, 1, 1), "the file has no front matter", "start it with `---` and `license: ...`"
        )
        return ReadResult(problems=(problem,))
    document = parse_foreign("\n" + front[1], file.path, file.label)
    if document.problems:
        return ReadResult(problems=document.problems)
    return ReadResult((_draft(document, file.text[front.end() :], file.path.resolve().parent.name, file.label),))


def published(pattern: str, results: Path | None) -> ReadResult:
    """Return the draft of a repository's README with its weights files, at the current commit of the revision."""
    repository, _, revision = pattern.partition("@")
    commit, files = hf_source.repository_files(repository, revision or None)
    with tempfile.TemporaryDirectory() as folder:
        url = f"hf://{repository}@{commit}/README.md"
        path = hf_source.open_source().download(
            url, Path(folder), timeout_seconds=STALL_SECONDS, on_bytes=lambda count: None
        )
        file = SourceFile(path, f"hf:{repository}/README.md", path.read_text(encoding="utf-8"))
        read_result = read(file)
    weights = [_weights(repository, commit, item) for item in files if WEIGHTS.match(item.path)]
    weights.sort(key=lambda item: item["format"] != "safetensors")
    drafts = [_with_weights(draft, repository, weights) for draft in read_result.drafts]
    return ReadResult(tuple(drafts), problems=read_result.problems)


def write(cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
    """Return a README.md for each card: front matter, then the text that the card was imported with."""
    return tuple(WrittenDocument(f"{card.name}/README.md", _readme(card)) for card in cards)


def _draft(document: Document, body: str, folder: str, label: str) -> Draft:
    data, residue = to_card(document.data, FIELDS, SourceValue(document))
    index = document.data.get("model-index")
    named = index[0].get("name") if isinstance(index, list) and index and isinstance(index[0], Mapping) else None
    extra = {**({OWN: residue} if residue else {}), **({BODY: body} if body.strip() else {})}
    title = named if isinstance(named, str) and named.strip() else folder
    return Draft("card", title, {**data, **({"extra": extra} if extra else {})}, label, 1, 0, [document.data, body])


def _weights(repository: str, commit: str, item: RepositoryFile) -> dict[str, Any]:
    size = {"size_bytes": item.size_bytes} if item.size_bytes else {}
    digest = {"sha256": item.sha256} if item.sha256 else {}
    url = f"hf://{repository}@{commit}/{item.path}"
    return {"file": item.path.replace("/", "_"), **weights_format(item.path), **size, **digest, "urls": [url]}


def _with_weights(draft: Draft, repository: str, weights: list[dict[str, Any]]) -> Draft:
    data = {**draft.data, **({"weights": weights} if weights else {})}
    name = repository.partition("/")[2]
    if data.get("extra", {}).get(OWN, {}).get("library_name") == "timm":
        data["builder"] = {"library": "timm", "entry": name}
    return replace(draft, title=name, data=data)


# --- the fields ---------------------------------------------------------------------------------------------------


def _read_results(raw: Any, location: SourceValue) -> Any:
    claims = [claim for result, where in _results(raw, location) for claim in _claims(result, where)]
    return claims or MISSING


def _results(raw: Any, location: SourceValue) -> Iterator[tuple[Mapping[str, Any], SourceValue]]:
    for at, model in enumerate(raw if isinstance(raw, list) else [raw]):
        results = model.get("results") if isinstance(model, Mapping) else None
        for number, result in enumerate(results if isinstance(results, list) else ()):
            if isinstance(result, Mapping):
                yield result, location / at / "results" / number


def _claims(result: Mapping[str, Any], location: SourceValue) -> Iterator[dict[str, Any]]:
    dataset = result.get("dataset")
    about = dataset if isinstance(dataset, Mapping) else {}
    name = about.get("name") or about.get("type") or "unknown"
    split = {"split": about["split"]} if isinstance(about.get("split"), str) and about["split"] else {}
    metrics = result.get("metrics")
    for number, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        if not isinstance(metric, Mapping):
            continue
        where = location / "metrics" / number / "value"
        quantity = measure(where.written(metric.get("value")))
        if quantity is not None and isinstance(name, str):
            yield {"dataset": name, **split, "metric": _metric(metric), **result_fields(quantity, where.source)}


def _metric(metric: Mapping[str, Any]) -> str:
    """Return the card's name of a metric that zoo knows by its name or type there, else the type."""
    names = [str(metric[key]) for key in ("name", "type") if metric.get(key)]
    known = next((metric_name(name) for name in names if metric_name(name) in METRICS), None)
    return known or str(metric.get("type") or metric.get("name") or "unknown")


def _write_results(value: Any, data: Mapping[str, Any]) -> Any:
    results: list[dict[str, Any]] = []
    for claim in value:
        about = {"name": claim["dataset"], "type": claim["dataset"].lower().replace(" ", "-")}
        about |= {"split": claim["split"]} if claim.get("split") else {}
        if not results or results[-1]["dataset"] != about:
            task = data.get("task", "image-classification")
            results.append({"task": {"type": task}, "dataset": about, "metrics": []})
        metric = METRICS.get(claim["metric"])
        names = (metric.hub_type, metric.hub_name) if metric else (claim["metric"], claim["metric"])
        results[-1]["metrics"].append({"type": names[0], "name": names[1], "value": claim["value"]})
    return [{"name": data["name"], "results": results}] if "name" in data else MISSING


FIELDS: tuple[Field, ...] = (
    Field(("license",), ("license",), read_text, unchanged),
    Field(("pipeline_tag",), ("task",), read_text, unchanged),
    Field(("base_model",), ("base_model",), read_text, unchanged),
    Field(("model-index",), ("claims", "results"), _read_results, _write_results),
)


def _readme(card: Card) -> str:
    document = card.where.document
    foreign = parse_foreign(document.text, document.path, document.label).data
    extra = foreign.get("extra") or {}
    residue = extra.get(OWN) if isinstance(extra, Mapping) else None
    entry = to_entry(document.data, residue if isinstance(residue, Mapping) else {}, FIELDS)
    if residue is None and card.builder is not None:
        entry = {"library_name": card.builder.library, **entry}
    body = extra.get(BODY) if isinstance(extra, Mapping) else None
    return f"---\n{card_text(entry)}---\n{body if isinstance(body, str) else ''}"

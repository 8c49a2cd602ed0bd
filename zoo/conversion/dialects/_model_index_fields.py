"""Map the fields of a model-index to the fields of a card, and convert values in both directions.

A text that cannot be parsed with certainty is MISSING in the card's field; it stays in the residue that the card keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from zoo.conversion.card_fields import (
    crop_pct,
    file_name,
    flops_claim,
    interpolation,
    params_claim,
    result_fields,
    weights_format,
)
from zoo.conversion.mapping import MISSING, Field, SourceValue, normalize, read_text, strip_origin, unchanged
from zoo.registry.metrics import METRICS, metric_name
from zoo.registry.quantities import (
    count,
    digest_in_name,
    heading_multiple,
    image_size,
    measure,
    percent_text,
    whole_bytes,
)

NO_DATASET = "unknown"
"""The data set of a result whose source does not name one."""
_NOTHING = frozenset({"", "-", "_", "none", "null", "na", "n/a", "tbd", "todo", "coming soon"})


def _read_present(raw: Any, location: SourceValue) -> Any:
    return MISSING if raw is None or raw == "" else raw


def _read_params(raw: Any, location: SourceValue) -> Any:
    quantity = count(location.written(raw), times=heading_multiple(location.key))
    return MISSING if quantity is None or quantity.value < 0 else params_claim(quantity, location.source)


def _write_params(value: Any, data: Mapping[str, Any]) -> Any:
    return value["value"]


def _read_flops(raw: Any, location: SourceValue) -> Any:
    heading = normalize(location.key)
    multiple = {"g": 9, "m": 6}.get(heading[:1] if heading[1:5] in ("flop", "macs") else "", 0)
    quantity = count(location.written(raw), times=heading_multiple(location.key) or multiple)
    if quantity is None or quantity.value < 0:
        return MISSING
    convention = "macs" if "mac" in heading or "multadd" in heading else ""
    return [flops_claim(quantity, location.source, convention=convention)]


def _write_flops(value: Any, data: Mapping[str, Any]) -> Any:
    return value[0]["value"] if len(value) == 1 and strip_origin(value[0]).keys() == {"value"} else MISSING


def _read_size(raw: Any, location: SourceValue) -> Any:
    return MISSING if (size := whole_bytes(raw)) is None else size


def _write_size(value: Any, data: Mapping[str, Any]) -> Any:
    """Return the size of the file that `Weights` names; MISSING for a file without URL, which the format cannot name."""
    return value if data["weights"][0].get("urls") else MISSING


def _read_weights(raw: Any, location: SourceValue) -> Any:
    urls = raw if isinstance(raw, list) else [raw]
    if not urls or not all(isinstance(url, str) and _is_address(url) for url in urls):
        return MISSING
    files: dict[str, dict[str, Any]] = {}
    for index, url in enumerate(urls):
        where = location / index if isinstance(raw, list) else location
        fields = files.setdefault(file_name(url), {"urls": [], **where.source})
        if url.strip() not in fields["urls"]:
            fields["urls"].append(url.strip())
    return [_weights(file, fields) for file, fields in files.items()]


def _weights(file: str, fields: dict[str, Any]) -> dict[str, Any]:
    digest = next(filter(None, map(digest_in_name, fields["urls"])), None)
    return {"file": file, **weights_format(file), **({"sha256": digest} if digest else {}), **fields}


def _is_address(text: str) -> bool:
    """Return whether a text can be an address or a path: one word with a slash, colon or full stop in it."""
    word = text.strip()
    return word.lower() not in _NOTHING and not re.search(r"\s", word) and bool(re.search(r"[/\\:.：／]", word))


def _write_weights(value: Any, data: Mapping[str, Any]) -> Any:
    urls = [url for item in value for url in item.get("urls", ())]
    return MISSING if not urls else urls[0] if len(urls) == 1 else urls


def _same_urls(first: Any, second: Any) -> bool:
    return [item.get("urls", []) for item in first] == [item.get("urls", []) for item in second]


def _read_input_size(raw: Any, location: SourceValue) -> Any:
    size = image_size(raw)
    return MISSING if size is None else list(size)


def _write_input_size(value: Any, data: Mapping[str, Any]) -> Any:
    channels, height, width = value
    return str(height) if channels == 3 and height == width else "x".join(map(str, value))


def _read_crop(raw: Any, location: SourceValue) -> Any:
    return MISSING if (value := crop_pct(raw)) is None else value


def _read_interpolation(raw: Any, location: SourceValue) -> Any:
    return MISSING if interpolation(raw) is None else raw


def _text_of(value: Any, data: Mapping[str, Any]) -> Any:
    return str(value)


def results_of(raw: Any, location: SourceValue) -> Iterator[tuple[str, Any, Any, SourceValue]]:
    """Yield (data set, task, metrics, location of the metrics) for each result, in each layout that documents use."""
    if isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from results_of(item, location / index)
    elif isinstance(raw, Mapping):
        names = {normalize(key): key for key in raw}
        if names.keys() & {"metrics", "dataset", "task"}:
            dataset, task, metrics = (raw.get(names.get(name, "")) for name in ("dataset", "task", "metrics"))
            yield _dataset_name(dataset), task, metrics, location / names.get("metrics", "")
        else:
            for key, item in raw.items():
                if isinstance(item, Mapping):
                    yield (str(key).strip() or NO_DATASET), None, item, location / key


def _dataset_name(raw: Any) -> str:
    """Return the name of a data set that is given as text, as a list of texts or as a mapping with a name."""
    if isinstance(raw, Mapping):
        raw = raw.get("Name", raw.get("name"))
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        raw = ", ".join(raw)
    return raw.strip() if isinstance(raw, str) and raw.strip().lower() not in _NOTHING else NO_DATASET


def _metrics(raw: Any, location: SourceValue, outer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (metric, claim fields) for each number, the names of nested metrics joined by a slash."""
    if isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from _metrics(item, location / index, outer)
    elif isinstance(raw, Mapping):
        names = {normalize(key): key for key in raw}
        if {"name", "value"} <= names.keys():
            raw, location = {str(raw[names["name"]]): raw[names["value"]]}, location / names["value"]
            yield from _named_metric(next(iter(raw.items())), location, outer)
            return
        for key, value in raw.items():
            yield from _named_metric((str(key), value), location / key, outer)


def _named_metric(item: tuple[str, Any], location: SourceValue, outer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    key, value = item
    name = f"{outer}/{key}" if outer else metric_name(key)
    if isinstance(value, (Mapping, list)):
        yield from _metrics(value, location, name)
        return
    quantity = measure(location.written(value))
    if quantity is not None:
        yield name, result_fields(quantity, location.source)


def _read_results(raw: Any, location: SourceValue) -> Any:
    claims = [
        {"dataset": dataset, "metric": metric, **value}
        for dataset, _, metrics, where in results_of(raw, location)
        for metric, value in _metrics(metrics, where)
    ]
    return claims or MISSING


def _write_results(value: Any, data: Mapping[str, Any]) -> Any:
    results: list[dict[str, Any]] = []
    task = str(data.get("task", "")).replace("-", " ").title()
    for claim in value:
        if not results or results[-1]["Dataset"] != claim["dataset"]:
            results.append({**({"Task": task} if task else {}), "Dataset": claim["dataset"], "Metrics": {}})
        written = (
            percent_text(claim["value"], claim.get("rounded_to")) if claim.get("unit") == "percent" else claim["value"]
        )
        metric = METRICS.get(claim["metric"])
        results[-1]["Metrics"][metric.model_index if metric else claim["metric"]] = written
    return results


def _read_texts(raw: Any, location: SourceValue) -> Any:
    return (
        raw
        if isinstance(raw, list) and raw and all(read_text(item, location) is not MISSING for item in raw)
        else MISSING
    )


def _training(heading: str, name: str, *spellings: str) -> Field:
    return Field(("Metadata", heading), ("training", name), _read_present, unchanged, frozenset(spellings))


_FLOPS = frozenset(
    {"flopsg", "flopsm", "gflops", "mflops", "flop", "macs", "gmacs", "mmacs", "macsg", "macsm", "multadds"}
)
_PARAMS = frozenset(
    {"params", "param", "paramsm", "parametersm", "parameter", "numparams", "numberofparameters", "paramcount"}
)
NAME = Field(("Name",), ("name",), _read_present, unchanged)
TASKS = Field(("Metadata", "Tasks"), ("task",), _read_present, unchanged, frozenset({"task"}))
ID = Field(("Metadata", "ID"), ("builder", "entry"), _read_present, unchanged)
RESULTS = Field(("Results",), ("claims", "results"), _read_results, _write_results)
_SHARED_TRAINING = (
    _training("Training Data", "data"),
    _training("Training Resources", "resources"),
    _training("Training Time", "time"),
    _training("Epochs", "epochs"),
    _training("Iterations", "iterations"),
    _training("Batch Size", "batch_size"),
    _training("LR", "learning_rate", "learningrate"),
    _training("Momentum", "momentum"),
    _training("Weight Decay", "weight_decay"),
    _training("Dropout", "dropout"),
    _training("Optimizer", "optimizer"),
)
MODEL: tuple[Field, ...] = (
    Field(("In Collection",), ("collection",), read_text, unchanged, frozenset({"incollections"})),
    Field(("License",), ("license",), read_text, unchanged, frozenset({"licence"})),
    Field(("Code",), ("code",), lambda raw, location: read_text(_link(raw), location), unchanged),
    Field(("Metadata", "Image Size"), ("input", "size"), _read_input_size, _write_input_size, frozenset({"inputsize"})),
    Field(("Metadata", "Interpolation"), ("input", "interpolation"), _read_interpolation, unchanged),
    Field(("Metadata", "Crop Pct"), ("input", "crop_pct"), _read_crop, _text_of),
    Field(("Weights",), ("weights",), _read_weights, _write_weights, same=_same_urls),
    Field(("Metadata", "File Size"), ("weights", 0, "size_bytes"), _read_size, _write_size),
    Field(("Metadata", "Parameters"), ("claims", "params"), _read_params, _write_params, _PARAMS),
    Field(("Metadata", "FLOPs"), ("claims", "flops"), _read_flops, _write_flops, _FLOPS),
    _training("Training Techniques", "techniques"),
    _training("Layers", "layers"),
    *_SHARED_TRAINING,
    RESULTS,
)
COLLECTION: tuple[Field, ...] = (
    Field(("Paper", "Title"), ("paper", "title"), read_text, unchanged),
    Field(("Paper", "URL"), ("paper", "url"), read_text, unchanged),
    Field(("Code",), ("code",), lambda raw, location: read_text(_link(raw), location), unchanged),
    Field(("Metadata", "Architecture"), ("architecture",), _read_texts, unchanged),
    Field(("Metadata", "Training Techniques"), ("techniques",), _read_texts, unchanged),
    *_SHARED_TRAINING,
)


def _link(raw: Any) -> Any:
    return next((raw[key] for key in raw if normalize(key) == "url"), None) if isinstance(raw, Mapping) else raw

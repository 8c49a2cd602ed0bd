"""The fields of model-index, each with the field of a card that it is: values of one -> values of the other, both ways.

What a field's text does not say for sure is MISSING: it then stays in the residue that the card keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from zoo.conversion.mapping import MISSING, Field, SourceValue, normalize, plain_text, strip_origin
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
"""The dataset of a result whose source names none."""
_NOTHING = frozenset({"", "-", "_", "none", "null", "na", "n/a", "tbd", "todo", "coming soon"})


def _read_text_field(raw: Any, location: SourceValue) -> Any:
    return MISSING if plain_text(raw) is None else raw


def _same(raw: Any, location: SourceValue) -> Any:
    return MISSING if raw is None or raw == "" else raw


def _as_it_is(value: Any, data: Mapping[str, Any]) -> Any:
    return value


def _read_params(raw: Any, location: SourceValue) -> Any:
    quantity = count(location.written(raw), times=heading_multiple(location.key))
    if quantity is None or quantity.value < 0:
        return MISSING
    return {"value": round(quantity.value), **_rounding(quantity.rounded_to), "origin": "upstream", **location.source}


def _write_params(value: Any, data: Mapping[str, Any]) -> Any:
    return value["value"]


def _read_flops(raw: Any, location: SourceValue) -> Any:
    heading = normalize(location.key)
    times = heading_multiple(location.key) or {"g": 9, "m": 6}.get(
        heading[:1] if heading[1:5] in ("flop", "macs") else "", 0
    )
    quantity = count(location.written(raw), times=times)
    if quantity is None or quantity.value < 0:
        return MISSING
    convention = {"convention": "macs"} if "mac" in heading or "multadd" in heading else {}
    return [
        {
            "value": quantity.value,
            **convention,
            **_rounding(quantity.rounded_to),
            "origin": "upstream",
            **location.source,
        }
    ]


def _write_flops(value: Any, data: Mapping[str, Any]) -> Any:
    return value[0]["value"] if len(value) == 1 and strip_origin(value[0]).keys() == {"value"} else MISSING


def _rounding(step: float) -> dict[str, float]:
    return {"rounded_to": int(step) if step == int(step) else step} if step > 1 else {}


def _read_size(raw: Any, location: SourceValue) -> Any:
    return MISSING if (size := whole_bytes(raw)) is None else size


def _write_size(value: Any, data: Mapping[str, Any]) -> Any:
    """The size of the file that `Weights` names; a file without URL is none that the format could name."""
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
    form = {"format": "safetensors"} if file.endswith(".safetensors") else {}
    form = {"format": "pickle"} if re.search(r"\.(pth|pt|ckpt|bin|pkl|tar)$", file) else form
    return {"file": file, **form, **({"sha256": digest} if digest else {}), **fields}


def _is_address(text: str) -> bool:
    """Whether a text can be meant as an address or a path: a word with a slash, colon or point in it."""
    word = text.strip()
    return word.lower() not in _NOTHING and not re.search(r"\s", word) and bool(re.search(r"[/\\:.：／]", word))


def file_name(url: str) -> str:
    """The name that a URL gives its file; `weights` where it gives none that a file can have."""
    try:
        path = unquote(urlsplit(url.strip()).path)
    except ValueError:
        path = url
    name = re.sub(r"[/\\\x00-\x1f]", "_", re.split(r"[/\\]", path.rstrip("/\\"))[-1])
    return name[-255:] if name.strip(".") else "weights"


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
    quantity = measure(raw)
    return float(quantity.value) if quantity and not quantity.unit and 0 < quantity.value <= 2 else MISSING


def _read_interpolation(raw: Any, location: SourceValue) -> Any:
    known = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming", "random")
    return raw if isinstance(raw, str) and raw in known else MISSING


def _text_of(value: Any, data: Mapping[str, Any]) -> Any:
    return str(value)


_METRICS = {"top1": "Top 1 Accuracy", "top5": "Top 5 Accuracy"}
_METRIC = re.compile(
    r"(?:top([15])(?:acc(?:uracy)?)?|acc(?:uracy)?(?:top|at)?([15])|acc(?:uracy)?@([15]))(?:percent|%)?\Z"
)


def metric_name(written: str) -> str:
    """`top1` or `top5` for the ways in which they are spelt, any other name as it is."""
    match = _METRIC.match(re.sub(r"[^a-z0-9@%]", "", written.lower()))
    return f"top{next(filter(None, match.groups()))}" if match else written.strip() or "unknown"


def results_of(raw: Any, location: SourceValue) -> Iterator[tuple[str, Any, Any, SourceValue]]:
    """(dataset, task, metrics, where the metrics are) of each result, whichever way they are listed."""
    if isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from results_of(item, location / index)
    elif isinstance(raw, Mapping):
        names = {normalize(key): key for key in raw}
        if names.keys() & {"metrics", "dataset", "task"}:
            dataset = raw.get(names.get("dataset", ""))
            dataset = dataset.get("Name", dataset.get("name")) if isinstance(dataset, Mapping) else dataset
            named = (
                ", ".join(dataset)
                if isinstance(dataset, list) and all(isinstance(d, str) for d in dataset)
                else dataset
            )
            name = named.strip() if isinstance(named, str) and named.strip().lower() not in _NOTHING else NO_DATASET
            yield (
                name,
                raw.get(names.get("task", "")),
                raw.get(names.get("metrics", "")),
                location / names.get("metrics", ""),
            )
        else:
            for key, item in raw.items():
                if isinstance(item, Mapping):
                    yield (str(key).strip() or NO_DATASET), None, item, location / key


def _metrics(raw: Any, location: SourceValue, outer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(metric, value with unit and rounding) of each number below, nested names joined by a slash."""
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
        unit = {"unit": quantity.unit} if quantity.unit else {}
        yield (
            name,
            {
                "value": quantity.value,
                **unit,
                "rounded_to": quantity.rounded_to,
                "origin": "upstream",
                **location.source,
            },
        )


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
        results[-1]["Metrics"][_METRICS.get(claim["metric"], claim["metric"])] = written
    return results


def _read_texts(raw: Any, location: SourceValue) -> Any:
    return raw if isinstance(raw, list) and raw and all(plain_text(item) is not None for item in raw) else MISSING


def _training(heading: str, name: str, *spellings: str) -> Field:
    return Field(("Metadata", heading), ("training", name), _same, _as_it_is, frozenset(spellings))


_FLOPS = frozenset(
    {"flopsg", "flopsm", "gflops", "mflops", "flop", "macs", "gmacs", "mmacs", "macsg", "macsm", "multadds"}
)
_PARAMS = frozenset(
    {"params", "param", "paramsm", "parametersm", "parameter", "numparams", "numberofparameters", "paramcount"}
)
NAME = Field(("Name",), ("name",), _same, _as_it_is)
TASKS = Field(("Metadata", "Tasks"), ("task",), _same, _as_it_is, frozenset({"task"}))
ID = Field(("Metadata", "ID"), ("builder", "entry"), _same, _as_it_is)
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
    Field(("In Collection",), ("collection",), _read_text_field, _as_it_is, frozenset({"incollections"})),
    Field(("License",), ("license",), _read_text_field, _as_it_is, frozenset({"licence"})),
    Field(("Code",), ("code",), lambda raw, location: _read_text_field(_link(raw), location), _as_it_is),
    Field(("Metadata", "Image Size"), ("input", "size"), _read_input_size, _write_input_size, frozenset({"inputsize"})),
    Field(("Metadata", "Interpolation"), ("input", "interpolation"), _read_interpolation, _as_it_is),
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
    Field(("Paper", "Title"), ("paper", "title"), _read_text_field, _as_it_is),
    Field(("Paper", "URL"), ("paper", "url"), _read_text_field, _as_it_is),
    Field(("Code",), ("code",), lambda raw, location: _read_text_field(_link(raw), location), _as_it_is),
    Field(("Metadata", "Architecture"), ("architecture",), _read_texts, _as_it_is),
    Field(("Metadata", "Training Techniques"), ("techniques",), _read_texts, _as_it_is),
    *_SHARED_TRAINING,
)


def _link(raw: Any) -> Any:
    return next((raw[key] for key in raw if normalize(key) == "url"), None) if isinstance(raw, Mapping) else raw

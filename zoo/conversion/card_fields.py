"""Build fields of a card from values in foreign documents. Claims get the origin `upstream`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from zoo.registry.quantities import Quantity, measure
from zoo.registry.schema import schema


def params_claim(quantity: Quantity, source: Mapping[str, str]) -> dict[str, Any]:
    """Return the claim of a number of parameters. source: `{"source": "file:line"}`, or empty."""
    return {"value": round(quantity.value), **_rounding(quantity), "origin": "upstream", **source}


def flops_claim(quantity: Quantity, source: Mapping[str, str], *, convention: str = "") -> dict[str, Any]:
    """Return the claim of a count of operations, with its convention when the document names one."""
    named = {"convention": convention} if convention else {}
    return {"value": quantity.value, **named, **_rounding(quantity), "origin": "upstream", **source}


def result_fields(quantity: Quantity, source: Mapping[str, str], *, unit: str = "") -> dict[str, Any]:
    """Return value, unit, rounding, origin and source of an evaluation result. unit: for a number without a % sign."""
    units = {"unit": quantity.unit or unit} if quantity.unit or unit else {}
    return {"value": quantity.value, **units, "rounded_to": quantity.rounded_to, "origin": "upstream", **source}


def crop_pct(raw: object) -> float | None:
    """Return the crop's share of the resized image, None when the value is not a number that a card accepts."""
    quantity = measure(raw)
    return float(quantity.value) if quantity and not quantity.unit and 0 < quantity.value <= 2 else None


def interpolation(raw: object) -> str | None:
    """Return the interpolation, None when the value is not one that a card accepts."""
    known = schema("card")["properties"]["input"]["properties"]["interpolation"]["enum"]
    return raw if isinstance(raw, str) and raw in known else None


def file_name(url: str) -> str:
    """Return the name of a file from its URL, `weights` when the URL has no valid file name."""
    try:
        path = unquote(urlsplit(url.strip()).path)
    except ValueError:
        path = url
    name = re.sub(r"[/\\\x00-\x1f]", "_", re.split(r"[/\\]", path.rstrip("/\\"))[-1])
    return name[-255:] if name.strip(".") else "weights"


def weights_format(file: str) -> dict[str, str]:
    """Return `{"format": ...}` for a weights file by its suffix, or empty for an unknown suffix."""
    if file.endswith(".safetensors"):
        return {"format": "safetensors"}
    return {"format": "pickle"} if re.search(r"\.(pth|pt|ckpt|bin|pkl|tar)$", file) else {}


def _rounding(quantity: Quantity) -> dict[str, float]:
    """Return the step of a rounded count; a step of 1 is exact."""
    step = quantity.rounded_to
    return {"rounded_to": int(step) if step == int(step) else step} if step > 1 else {}

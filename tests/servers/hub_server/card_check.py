"""The Hub's check of a README's metadata, as `/api/validate-yaml` and the commit make it.

The client turns errors into one ValueError with every message and warnings into one Python warning. Rules:
the front matter's delimiters as in huggingface_hub/repocard.py ("same regex as in the Hub server"); zoo's licences; the
wording `"x" must be one of [...]`, `"x" must be an array` from huggingface/huggingface_hub issue 4218 (2026-05-10);
the keys that model-index requires from huggingface/hub-docs, modelcard.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from zoo.publishing.licenses import LICENSES

FRONT_MATTER = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")


@dataclass(frozen=True, slots=True)
class CardCheck:
    """What is wrong with a README's metadata, and what it says when nothing is."""

    metadata: dict[str, Any]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys; the Hub's parser refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"duplicated mapping key {key}"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def check_card(content: str) -> CardCheck:
    """Read and judge the metadata at the top of a README."""
    match = FRONT_MATTER.match(content)
    if match is None or not match.group(2).strip():
        return CardCheck({}, warnings=("empty or missing yaml metadata in repo card",))
    try:
        metadata = yaml.load(match.group(2), Loader=_UniqueKeys)  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        return CardCheck({}, errors=(str(error),))
    if not isinstance(metadata, dict):
        return CardCheck({}, errors=("metadata must be a mapping",))
    return CardCheck(metadata, errors=tuple(_problems(metadata)))


def _problems(metadata: dict[str, Any]) -> Iterator[str]:
    licenses = metadata.get("license", [])
    for license_id in licenses if isinstance(licenses, list) else [licenses]:
        if license_id not in LICENSES:
            yield f'"license" must be one of [{", ".join(sorted(LICENSES))}, array]'
    for key in ("tags", "datasets", "metrics"):
        value = metadata.get(key, [])
        if isinstance(value, str) and key != "tags":
            continue
        if not isinstance(value, list):
            yield f'"{key}" must be an array'
        else:
            yield from (f'"{key}[{n}]" must be a string' for n, item in enumerate(value) if not isinstance(item, str))
    yield from _model_index_problems(metadata.get("model-index", []))


def _model_index_problems(entries: object) -> Iterator[str]:
    if not isinstance(entries, list):
        yield '"model-index" must be an array'
        return
    for number, entry in enumerate(entries):
        where = f"model-index[{number}]"
        yield from _missing(entry, where, "name", "results")
        for place, result in _items(entry, f"{where}.results"):
            yield from _missing(result, place, "task", "dataset", "metrics")
            yield from _missing(result.get("task", {"type": ""}), f"{place}.task", "type")
            yield from _missing(result.get("dataset", {"type": "", "name": ""}), f"{place}.dataset", "type", "name")
            for metric_place, metric in _items(result, f"{place}.metrics"):
                yield from _missing(metric, metric_place, "type", "value")


def _items(parent: object, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings in a list, each with its place; what is no mapping is reported by the check of its parent."""
    values = parent.get(where.rsplit(".", 1)[1], []) if isinstance(parent, dict) else []
    for number, value in enumerate(values if isinstance(values, list) else []):
        yield f"{where}[{number}]", value if isinstance(value, dict) else {}


def _missing(value: object, where: str, *keys: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f'"{where}" must be of type object'
        return
    yield from (f'"{where}.{key}" is required' for key in keys if value.get(key) is None)

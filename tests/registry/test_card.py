"""The dataclasses agree with the schemas: same names, same types, same required fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from zoo.registry import schema
from zoo.registry.card import (
    Card,
    Collection,
    Dataset,
    ResultClaim,
    SplitName,
    card_sha256,
    from_document,
    required_fields,
)
from zoo.registry.document import parse

PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool}


def hint_of(cls: type, name: str) -> Any:
    """Return the field's type without `| None`."""
    hint = typing.get_type_hints(cls)[name]
    if typing.get_origin(hint) is types.UnionType:
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return hint


def differences(cls: type, node: dict[str, Any], at: str) -> list[str]:
    """Return the differences between a dataclass and an object of a schema."""
    names = {field.name for field in dataclasses.fields(cls)} - {"where"}
    different = [f"{at}: {name}" for name in names ^ set(node["properties"])]
    if sorted(required_fields(cls)) != sorted(node.get("required", [])):
        different.append(f"{at}: required {required_fields(cls)} and {node.get('required')}")
    for name in names & set(node["properties"]):
        different += type_differences(hint_of(cls, name), node["properties"][name], f"{at}.{name}")
    return different


def type_differences(hint: Any, node: dict[str, Any], at: str) -> list[str]:
    if node["type"] in PLAIN:
        return [] if hint is PLAIN[node["type"]] else [f"{at}: {hint} and {node['type']}"]
    if node["type"] == "array":
        if typing.get_origin(hint) is not tuple:
            return [f"{at}: {hint} and array"]
        return type_differences(typing.get_args(hint)[0], node["items"], f"{at}[]")
    if dataclasses.is_dataclass(hint):
        return differences(typing.cast(type, hint), node, at)
    inner = node.get("additionalProperties")
    if isinstance(inner, dict):
        return type_differences(typing.get_args(hint)[1], inner, f"{at}.*")
    return [] if typing.get_origin(hint) is not None and "properties" not in node else [f"{at}: {hint} and object"]


@pytest.mark.parametrize(("cls", "kind"), [(Card, "card"), (Collection, "collection"), (Dataset, "dataset")])
def test_schema_and_dataclass_agree(cls: type, kind: str) -> None:
    assert differences(cls, schema.schema(kind), kind) == []


def nodes(node: Any, at: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return every property of a schema with its path."""
    properties: list[tuple[str, dict[str, Any]]] = []
    if isinstance(node, dict):
        for name, inner in node.get("properties", {}).items():
            properties += [(f"{at}/{name}", inner), *nodes(inner, f"{at}/{name}")]
        for name in ("items", "additionalProperties"):
            properties += nodes(node.get(name), f"{at}/{name}")
    return properties


@pytest.mark.parametrize("kind", ["card", "collection", "dataset", "report"])
def test_every_property_has_a_description_and_an_example(kind: str) -> None:
    properties = nodes(schema.schema(kind))
    assert len(properties) > 5
    assert [at for at, node in properties if not node.get("description") or "examples" not in node] == []


@pytest.mark.parametrize("kind", ["card", "collection", "dataset", "report"])
def test_every_object_is_closed_or_free_on_purpose(kind: str) -> None:
    open_objects = [
        at
        for at, node in nodes(schema.schema(kind))
        if "properties" in node and node.get("additionalProperties") is not False
    ]
    assert open_objects == []


CARD = (
    "name: a\nclaims:\n  params: {value: 5, rounded_to: 10}\n  results:\n    - {dataset: d, metric: top1, value: 80}\n"
)


def test_every_value_knows_its_line_and_column() -> None:
    card = from_document(Card, parse(CARD, Path("cards/a.yaml"), "cards/a.yaml"))
    assert card.claims is not None and card.claims.params is not None
    assert str(card.claims.params.where["value"]) == "cards/a.yaml:3:12"
    assert str(card.results[0].where["metric"]) == "cards/a.yaml:5:20"
    assert str(card.where["license"]) == "cards/a.yaml:1:1"


def test_the_digest_covers_claims_but_not_prose() -> None:
    def digest(text: str, family: str = "name: f\n") -> str:
        collection = from_document(Collection, parse(family, Path("collection.yaml")))
        return card_sha256(from_document(Card, parse(text, Path("a.yaml"))), collection)

    assert digest(CARD) == digest("# a comment\n" + CARD + "training: {epochs: 3}\nextra: {x: 1}\n")
    assert digest(CARD) == digest(CARD, "name: f\ndescription: new words\ncitation: x\n")
    assert digest(CARD) != digest(CARD.replace("value: 5", "value: 6"))
    assert digest(CARD) != digest(CARD, "name: f\ntitle: T\n")


@pytest.mark.parametrize(
    ("text", "dataset", "split"), [("digits", "digits", ""), ("digits/train", "digits", "train"), ("a/b/c", "a/b", "c")]
)
def test_a_split_name_is_read_and_written(text: str, dataset: str, split: str) -> None:
    assert SplitName.parse(text) == SplitName(dataset, split)
    assert str(SplitName(dataset, split)) == text


def test_a_result_is_in_percent_unless_its_unit_is_fraction() -> None:
    def claim(more: str) -> ResultClaim:
        return from_document(Card, parse(CARD.replace("value: 80", f"value: {more}"), Path("a.yaml"))).results[0]

    assert [
        (claim(more).percent, claim(more).whole) for more in ("80", "80, unit: percent", "0.8, unit: fraction")
    ] == [
        (80, 100.0),
        (80, 100.0),
        (80.0, 1.0),
    ]
    assert claim("80").key == "d/validation/top1"

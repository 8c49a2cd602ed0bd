"""A file of weights and an architecture -> the text of a first card, with everything filled in that can be measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.models.build import build_model
from zoo.registry import edit, schema
from zoo.registry.card import Builder, Card, from_document
from zoo.registry.document import Document, parse
from zoo.weights import store, tensors


def draft(name: str, weights: Path, library: str, entry: str, options: Mapping[str, Any]) -> str:
    """The text of a card for this file: params, macs, size, sha256, input and dtype are measured, nothing is guessed.

    Raises WrongContent when the architecture does not exist or the file's tensors do not fit it.
    """
    from zoo.flops.counting import count, measure_state
    from zoo.models.meta import meta_build

    card = _initial_card(name, weights, {"library": library, "entry": entry, "options": dict(options)})
    assert card.builder is not None  # _first has put it in
    artifact = store.measure(card.weights[0], weights)
    contents = tensors.read(artifact)
    with meta_build():
        module = build_model(card.builder, allow_code=True)  # its builder was named on the command line, not by a card
    tensors.refuse_misfit(module, contents.tensors, weights.name)
    input_fields = _input(card.builder, module)
    macs = count(module, input_fields["size"]).value
    return edit.card_text({
        "schema": 1,
        "name": name,
        "builder": dict(card.where.document.data["builder"]),
        "input": input_fields,
        "weights": [{"file": weights.name, "format": contents.format,
                     "dtype": tensors.main_dtype(contents.tensors), "size_bytes": artifact.size_bytes, "sha256": artifact.sha256}],
        "claims": {"params": {"value": measure_state(module).params, "origin": "computed"},
                   "flops": [{"value": macs, "convention": "macs", "origin": "computed"}]},
    })  # fmt: skip


def parse_options(pairs: Mapping[str, str]) -> dict[str, Any]:
    """`channels=[8,16]` as values, read as a card would be. Raises UsageError when one is no YAML."""
    options: dict[str, Any] = {}
    for key, text in pairs.items():
        document = parse(f"value: {text}", Path("--option"), "--option")
        if document.problems:
            raise UsageError(
                f"{key}={text}: {document.problems[0].what}", hint="write it as in a card: 10, true, [8, 16]"
            )
        options[key] = document.data["value"]
    return options


def _initial_card(name: str, weights: Path, builder: Mapping[str, Any]) -> Card:
    """The card before anything is measured; raises UsageError when the name or the file is none."""
    if not weights.is_file():
        raise UsageError(f"there is no file {weights}", hint="give --weights the file that holds the tensors")
    text = edit.card_text({"name": name, "builder": builder, "weights": [{"file": weights.name}]})
    document: Document = parse(text, weights.parent / f"{name}.yaml")
    wrong = schema.problems(document, "card")
    if wrong:
        raise UsageError(wrong[0].what, hint=wrong[0].hint)
    return from_document(Card, document)


def _input(builder: Builder, module: Any) -> dict[str, Any]:
    """The architecture's own input, as the builder's library gives it."""
    from zoo import plugins

    defaults: Mapping[str, Any] = plugins.load("builders", builder.library).default_input(module)
    if "size" not in defaults:
        raise UsageError(f"{builder.library} does not say what {builder.entry} takes", hint="write the card by hand")
    return dict(defaults)


def parse_builder(text: str) -> tuple[str, str]:
    """`timm:resnet18` as (library, entry). Raises UsageError when it is not of that form."""
    match = re.fullmatch(r"([a-z][a-z0-9_]*):(.+)", text)
    if match is None:
        raise UsageError(f"{text!r} names no builder", hint="give --builder timm:ARCHITECTURE")
    return match[1], match[2]

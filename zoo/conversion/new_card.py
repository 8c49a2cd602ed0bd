"""Write a first card for a file of weights and an architecture, with every field that can be measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.models.build import build_model
from zoo.registry import edit, schema
from zoo.registry.card import Builder, Card, from_document
from zoo.registry.document import parse
from zoo.runtime import limits, sandbox
from zoo.weights import store, tensors


def create(name: str, weights: Path, *, builder: str, options: Mapping[str, Any]) -> Path:
    """Write the card `name` beside the file of weights and return its path.

    builder: `LIBRARY:ENTRY`, such as `timm:resnet18`. options: keyword arguments of the architecture. The file's size,
    SHA-256, format and dtype and the model's parameters, multiply-adds and input are measured; other fields stay empty.
    Raises UsageError when the arguments are not valid or the card's file exists, WrongContent when the architecture does
    not exist or the file's tensors do not fit it.
    """
    library, entry = _parse_builder(builder)
    path = weights.parent / f"{name}.yaml"
    fields = {"library": library, "entry": entry, "options": dict(options)}
    _initial_card(name, weights, fields)  # refuses arguments that are not valid, before a worker starts
    call_limits = limits.for_files(weights.stat().st_size, hint="give another --builder or --option")
    edit.create(path, sandbox.call(_measured_text, name, weights, fields, limits=call_limits))
    return path


def parse_options(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of options such as `channels=[8,16]`, each text read as in a card.

    Raises UsageError when a text is not valid YAML.
    """
    options: dict[str, Any] = {}
    for key, text in pairs.items():
        document = parse(f"value: {text}", Path("--option"), "--option")
        if document.problems:
            raise UsageError(
                f"--option {key}={text}: {document.problems[0].what}",
                hint="write the value as in a card: 10, true, [8, 16]",
            )
        options[key] = document.data["value"]
    return options


def _parse_builder(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([a-z][a-z0-9_]*):(.+)", text)
    if match is None:
        raise UsageError(f"not a builder: {text}", hint="write LIBRARY:ENTRY, such as timm:resnet18")
    return match[1], match[2]


def _measured_text(name: str, weights: Path, builder_fields: Mapping[str, Any]) -> str:
    """Return the text of the card, with what was measured."""
    from zoo.flops.counting import count, measure_state
    from zoo.models.meta import meta_build

    card = _initial_card(name, weights, builder_fields)
    builder = card.required_builder
    artifact = store.measure(card.weights[0], weights)
    contents = tensors.read(artifact)
    with meta_build():
        module = build_model(builder, allow_code=True)  # the command line names this builder, not a downloaded card
    tensors.refuse_misfit(module, contents.tensors, weights.name)
    input_fields = _default_input(builder, module)
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


def _initial_card(name: str, weights: Path, builder_fields: Mapping[str, Any]) -> Card:
    """Return the card before anything is measured; raise UsageError when the name or the file is not valid."""
    if not weights.is_file():
        raise UsageError(f"file not found: {weights}", hint="give the file of weights with --weights FILE")
    text = edit.card_text({"name": name, "builder": builder_fields, "weights": [{"file": weights.name}]})
    document = parse(text, weights.parent / f"{name}.yaml")
    problems = schema.problems(document, "card")
    if problems:
        raise UsageError(problems[0].what, hint=problems[0].hint)
    return from_document(Card, document)


def _default_input(builder: Builder, module: Any) -> dict[str, Any]:
    """Return the architecture's own input, as the builder's library gives it."""
    from zoo import plugins

    defaults: Mapping[str, Any] = plugins.load("builders", builder.library).default_input(module)
    if "size" not in defaults:
        raise UsageError(
            f"{builder.library} does not give the input size of {builder.entry}",
            hint="write the card by hand, with `input: {size: [3, 224, 224]}`",
        )
    return dict(defaults)

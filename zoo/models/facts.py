"""Cache what was measured, each fact under a key of everything that can change it.

A key is the SHA-256 of the fact's kind, inputs, library versions, and the source of the code that measures. A cached fact
is not measured again, and after a change of any of these the old fact is not found. Each fact is one JSON file, written to
a unique temporary file and renamed, so that concurrent runs can share a cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from zoo import plugins
from zoo.registry.card import Builder, canonical_json
from zoo.runtime import source_code, storage
from zoo.runtime.environment import version_of
from zoo.runtime.json_form import has_form, is_number, is_plain, is_text, mapping_of, one_of

Value = int | float | str | None
"""A claimed or measured value: a number in the finding's unit, a digest or a name; None when there is none."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A measured value, and the evidence for it as JSON values."""

    value: Value
    evidence: Mapping[str, Any] = field(default_factory=dict)


BOUNDARIES: Mapping[str, str] = {
    "zoo.errors": "an error is raised, and never cached as a fact",
    "zoo.models.facts": "it caches what other modules measure",
    "zoo.plugins": "it finds plug-ins; a plug-in that can change a fact is itself in the key",
    "zoo.registry": "it reads cards; the values that a measurement takes from a card are in the key",
    "zoo.runtime": "it decides where and when code runs, and reads versions, which are in the key",
    "zoo.verification.report": "it turns facts into findings",
    "zoo.weights.remote": "it asks servers about files, and their answers are not cached as facts",
    "zoo.weights.store": "it finds, downloads and hashes files; the SHA-256 of the file is in the key",
}
"""Modules and packages that cannot change a fact, so that their source is not part of its key, and the reason for each."""


def fact_key(kind: str, *, measured_by: Iterable[str], libraries: Iterable[str], **inputs: Any) -> str:
    """Return the key of a fact: 64 hex digits over everything that can change its value.

    measured_by: dotted names of the modules that measure the fact, with `__name__` for the caller's own; everything that
    they import up to BOUNDARIES is part of the key. libraries: distributions whose versions matter. inputs: JSON values.
    """
    parts = {
        "kind": kind,
        "code": code_sha256(*measured_by),
        "libraries": {name: version_of(name) for name in libraries},
        "inputs": inputs,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def code_sha256(*modules: str) -> str:
    """Return the SHA-256, in hex, of the source of these modules and of everything that they import up to BOUNDARIES."""
    return source_code.sha256(modules, tuple(BOUNDARIES))


def architecture_key(kind: str, builder: Builder, *, measured_by: Iterable[str], **inputs: Any) -> str:
    """Return the key of a fact about an architecture. Cards of one architecture share it; the builder's code is part of it."""
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    source = library.source_sha256(builder.entry)
    return fact_key(
        kind,
        measured_by=(*measured_by, module_name(library)),
        libraries=library.versions(),
        **({} if source is None else {"source": source}),
        library=builder.library,
        entry=builder.entry,
        options=dict(builder.options),
        **inputs,
    )


def module_name(plugin: object) -> str:
    """Return the dotted name of a module that `plugins.load` returned."""
    return cast(ModuleType, plugin).__name__


FactCheck = Callable[[Fact], bool]
"""Whether a cached fact has the form of what its measurement returns."""


def is_fact(fact: Fact) -> bool:
    """Return whether the value is one that a finding can have: the check of a kind of fact that has no other one."""
    return has_form(fact.value, one_of(None, is_text, is_number))


def with_form(value: Any, evidence: Any) -> FactCheck:
    """Return the check of a kind of fact whose value and evidence have these forms; see zoo.runtime.json_form."""
    return lambda fact: has_form(fact.value, value) and has_form(fact.evidence, evidence)


def recall_or_measure(
    key: str, measure: Callable[[], Fact], check: FactCheck = is_fact, *, refresh: bool = False
) -> Fact:
    """Return the cached fact, or measure and cache it; with `refresh` it is always measured."""
    known = None if refresh else recall(key, check)
    if known is not None:
        return known
    fact = measure()
    keep(key, fact)
    return fact


def recall(key: str, check: FactCheck = is_fact) -> Fact | None:
    """Return the cached fact of that key; None when there is none, its file is damaged, or it fails the check."""
    data = storage.read_json(_path(key), _is_stored_fact)
    fact = None if data is None else Fact(data["value"], data["evidence"])
    if fact is not None and check(fact):
        return fact
    storage.expect_writes()
    return None


def keep(key: str, fact: Fact) -> None:
    """Cache the fact. When its file cannot be written, a later run measures again."""
    storage.keep_json(_path(key), {"value": fact.value, "evidence": dict(fact.evidence)})


def _is_stored_fact(data: Any) -> bool:
    return has_form(data, {"value": is_plain, "evidence": mapping_of(is_plain)})


def _path(key: str) -> Path:
    return storage.state_folder("facts", key[:2]) / f"{key}.json"

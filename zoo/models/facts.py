"""What was measured -> a store of facts, found by everything that can change the answer.

A fact's key is the SHA-256 of its question: kind, inputs, library versions, and the source of the code that measures.
What is known is never measured again, and a changed measure never answers from the past. One JSON file a fact, written
by unique temporary file and `os.replace`, so that concurrent runs can share a store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.registry.card import BUILDERS_OF_CODE, Builder, canonical_json
from zoo.runtime.environment import version_of
from zoo.runtime.storage import state_folder, write_atomically

Value = int | float | str | None
"""What is claimed or measured: a number in the finding's unit, a digest or a name; None where there is nothing."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was measured: a value, and what it rests on as JSON values."""

    value: Value
    evidence: Mapping[str, Any] = field(default_factory=dict)


def fact_key(kind: str, *, code: Iterable[str], libraries: Iterable[str], **inputs: Any) -> str:
    """The key of a fact: 64 hex digits over all that can change its value.

    code: files below `zoo/` whose source measures it. libraries: distributions whose versions matter.
    inputs: JSON values.
    """
    parts = {
        "kind": kind,
        "code": {name: _source_sha256(name) for name in code},
        "libraries": {name: version_of(name) for name in libraries},
        "inputs": inputs,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def architecture_key(kind: str, builder: Builder, *, code: Iterable[str], **inputs: Any) -> str:
    """The key of a fact about an architecture, whichever card names it."""
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    if builder.library in BUILDERS_OF_CODE:
        inputs = {**inputs, "source": library.source_sha256(builder.entry)}
    return fact_key(
        kind,
        code=(*code, f"models/builders/{builder.library}.py"),
        libraries=library.versions(),
        library=builder.library,
        entry=builder.entry,
        options=dict(builder.options),
        **inputs,
    )


def recall_or_measure(key: str, measure: Callable[[], Fact], *, refresh: bool = False) -> Fact:
    """The known fact, or the one measured now and kept; `refresh` measures in any case."""
    known = None if refresh else recall(key)
    if known is not None:
        return known
    fact = measure()
    keep(key, fact)
    return fact


def recall(key: str) -> Fact | None:
    """The fact of that key if the store has it; a damaged file counts as not there."""
    try:
        data = json.loads(_path(key).read_text(encoding="utf-8"))
        return Fact(data["value"], data["evidence"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(key: str, fact: Fact) -> None:
    """Put the fact into the store. A store that cannot be written costs a repetition later, not this run."""
    text = json.dumps({"value": fact.value, "evidence": dict(fact.evidence)}, ensure_ascii=False)
    try:
        write_atomically(_path(key), text)
    except OSError:
        return


def _path(key: str) -> Path:
    return state_folder("facts", key[:2]) / f"{key}.json"


@cache
def _source_sha256(name: str) -> str:
    return hashlib.sha256((Path(__file__).parents[1] / name).read_bytes()).hexdigest()

"""Merge the generated part of a README with the text that people wrote around it.

What is generated (the metadata's own keys, and the text between two marks) belongs to zoo; whatever a person writes
around it is kept. The first mark carries a digest of what was generated, so that a change on either side is noticed.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import Refused
from zoo.registry.card import canonical_json
from zoo.registry.document import parse as parse_yaml
from zoo.registry.document import to_yaml

BEGIN = re.compile(r"^<!-- zoo:begin sha256=([0-9a-f]{64}) .*-->\n", re.MULTILINE)
END = "<!-- zoo:end -->\n"
FRONT_MATTER = re.compile(r"\A---\n(.*?\n)?---\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Generated:
    """What zoo says in a README: metadata under its own keys, and the text between the marks."""

    metadata: Mapping[str, Any]
    body: str

    @property
    def text(self) -> str:
        """Both, for a comparison by people."""
        return to_yaml(self.metadata) + self.body

    @property
    def sha256(self) -> str:
        """The digest that the first mark carries."""
        return hashlib.sha256(f"{canonical_json(self.metadata)}\n{self.body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Existing:
    """A README as it is: its metadata, and its text before, between and after the marks."""

    metadata: Mapping[str, Any]
    before: str
    body: str | None
    after: str
    recorded_sha256: str
    """What the first mark says was generated; empty without marks."""


FindReadme = Callable[[Callable[[str], bool]], "str | None"]
"""Looks through the READMEs that were published before, the newest first, for one that matches."""


def merge(generated: Generated, text: str | None, find_readme: FindReadme = lambda matches: None) -> str:
    """The README with what is generated now and what a person wrote around it.

    Where only a person changed the generated part, it stays as the person left it. Raises Refused where both sides
    changed it, with the differences of both from what zoo had generated, if `find_readme` finds that.
    """
    if text is None:
        return _text(generated.metadata, {}, "", generated, "")
    existing = parse(text)
    own = {key: value for key, value in existing.metadata.items() if key not in KEYS}
    theirs = _generated_part(existing)
    if existing.body is None:
        contradicted = {key: value for key, value in theirs.metadata.items() if generated.metadata.get(key) != value}
        if contradicted:
            raise _both_changed(None, theirs, generated)
        return _text(
            generated.metadata, own, "", generated, f"\n{existing.before.lstrip()}" if existing.before.strip() else ""
        )
    if theirs.sha256 not in (existing.recorded_sha256, generated.sha256):
        if generated.sha256 == existing.recorded_sha256:
            return text
        base = find_readme(lambda readme: _is_recorded(readme, existing.recorded_sha256))
        raise _both_changed(_generated_part(parse(base)) if base else None, theirs, generated)
    return _text(generated.metadata, own, existing.before, generated, existing.after)


def parse(text: str) -> Existing:
    """The parts of a README; raises Refused when its metadata cannot be read."""
    text = text.replace("\r\n", "\n")
    match = FRONT_MATTER.match(text)
    metadata: Mapping[str, Any] = {}
    if match and (match.group(1) or "").strip():
        document = parse_yaml(match.group(1), Path("README.md"), "README.md")
        if document.problems:
            problem = document.problems[0]
            raise Refused(
                f"the metadata of the README that is there cannot be read: {problem.what}", hint="correct it there"
            )
        metadata = document.data
    rest = text[match.end() :] if match else text
    begin = BEGIN.search(rest)
    if begin is None or END not in rest[begin.end() :]:
        return Existing(metadata, rest, None, "", "")
    body, _, after = rest[begin.end() :].partition(END)
    return Existing(metadata, rest[: begin.start()], body, after, begin.group(1))


def is_as_generated(text: str) -> bool:
    """Whether the generated part of a README is as zoo left it, whatever was written around it."""
    existing = parse(text)
    return existing.body is not None and _generated_part(existing).sha256 == existing.recorded_sha256


def _generated_part(existing: Existing) -> Generated:
    return Generated({key: value for key, value in existing.metadata.items() if key in KEYS}, existing.body or "")


def _is_recorded(text: str, sha256: str) -> bool:
    return is_as_generated(text) and parse(text).recorded_sha256 == sha256


def difference(old: str, new: str, old_name: str, new_name: str) -> str:
    """A unified diff, empty when the texts are equal."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)


KEYS = (
    "license", "license_name", "license_link", "library_name", "pipeline_tag", "tags", "datasets", "metrics",
    "base_model", "model-index",
)  # fmt: skip
"""The metadata that zoo generates. Any other key is a person's."""


def _text(metadata: Mapping[str, Any], own: Mapping[str, Any], before: str, generated: Generated, after: str) -> str:
    begin = f"<!-- zoo:begin sha256={generated.sha256} generated by zoo: write outside of these two lines, or in the card -->\n"
    front = to_yaml({**metadata, **own})
    return f"---\n{front}---\n{before or chr(10)}{begin}{generated.body}{END}{after}"


def _both_changed(base: Generated | None, theirs: Generated, ours: Generated) -> Refused:
    """What each side changed, for a person to decide: nothing is overwritten."""
    here, new = "README.md as it is there", "README.md as zoo would write it"
    if base is None:
        differences = difference(theirs.text, ours.text, here, new)
    else:
        old = "README.md as zoo wrote it"
        differences = difference(base.text, theirs.text, old, here) + difference(base.text, ours.text, old, new)
    return Refused(
        "README.md is not overwritten: its generated part was edited by hand, and what zoo generates changed as well\n"
        + differences,
        hint="move what was written by hand out of the marked part (or put it into the card), then publish again",
    )

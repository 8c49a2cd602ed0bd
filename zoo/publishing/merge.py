"""Merge the generated part of a README with the text that people wrote around it.

zoo owns what it generates: some keys of the metadata, and the text between two marks. It keeps everything else. The
first mark has the digest of the generated part, so that an edit of that part is detected. zoo never publishes such an edit.
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
from zoo.runtime.text import terminal_lines

BEGIN = re.compile(r"^<!-- zoo:begin sha256=([0-9a-f]{64}) .*-->\n", re.MULTILINE)
END = "<!-- zoo:end -->\n"
ANY_MARK = re.compile(r"<!--\s*zoo\s*:\s*(begin|end)", re.IGNORECASE)
"""What looks like a mark, wherever it stands. A README has one of each, or none."""
FRONT_MATTER = re.compile(r"\A---\n(.*?\n)?---\n", re.DOTALL)
PUBLISHED_README, NEW_README = "published README.md", "new README.md"
"""What a diff calls the two."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The generated part of a README: metadata under zoo's own keys, and the text between the marks."""

    metadata: Mapping[str, Any]
    body: str

    @property
    def text(self) -> str:
        """Both, for a diff."""
        return to_yaml(self.metadata) + self.body

    @property
    def sha256(self) -> str:
        """The digest that stands in the first mark."""
        return hashlib.sha256(f"{canonical_json(self.metadata)}\n{self.body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Existing:
    """A published README: its metadata, and its text before, between and after the marks; no marks, no body."""

    metadata: Mapping[str, Any]
    before: str
    body: str | None
    after: str
    recorded_sha256: str
    """The digest in the first mark; empty without marks."""


FindReadme = Callable[[Callable[[str], bool]], "str | None"]
"""Returns the newest of the READMEs published earlier that matches; None when none does."""


def merge(
    generated: Generated,
    text: str | None,
    find_readme: FindReadme = lambda matches: None,
    *,
    regenerate: bool = False,
) -> str:
    """Return the README with the newly generated part, and the text that a person wrote around it.

    text: the published README. regenerate: discard edits of its generated part, which otherwise raise Refused; the message has
    the diff of each side from the earlier generated part, if `find_readme` finds that. Raises Refused also when the README has
    marks that are not one pair.
    """
    if text is None:
        return _text(generated.metadata, {}, "", generated, "")
    existing = parse(text)
    _refuse_other_marks(text, existing)
    own = {key: value for key, value in existing.metadata.items() if key not in KEYS}
    theirs = _generated_part(existing)
    if existing.body is None:
        contradicted = {key: value for key, value in theirs.metadata.items() if generated.metadata.get(key) != value}
        if contradicted and not regenerate:
            raise _edited(None, theirs, generated)
        return _text(
            generated.metadata, own, "", generated, f"\n{existing.before.lstrip()}" if existing.before.strip() else ""
        )
    if theirs.sha256 not in (existing.recorded_sha256, generated.sha256) and not regenerate:
        base = find_readme(lambda readme: _is_recorded(readme, existing.recorded_sha256))
        raise _edited(_generated_part(parse(base)) if base else None, theirs, generated)
    return _text(generated.metadata, own, existing.before, generated, existing.after)


def parse(text: str) -> Existing:
    """Split a README into its parts; raises Refused when its metadata is not valid YAML."""
    text = text.replace("\r\n", "\n")
    match = FRONT_MATTER.match(text)
    metadata: Mapping[str, Any] = {}
    if match and (match.group(1) or "").strip():
        document = parse_yaml(match.group(1), Path("README.md"), "README.md")
        if document.problems:
            problem = document.problems[0]
            raise Refused(
                f"the metadata of the published README is not valid: {problem.what}",
                hint="correct the published README, then publish again",
            )
        metadata = document.data
    rest = text[match.end() :] if match else text
    begin = BEGIN.search(rest)
    if begin is None or END not in rest[begin.end() :]:
        return Existing(metadata, rest, None, "", "")
    body, _, after = rest[begin.end() :].partition(END)
    return Existing(metadata, rest[: begin.start()], body, after, begin.group(1))


def is_as_generated(text: str, sha256: str = "") -> bool:
    """Whether the generated part of a README is unchanged since zoo wrote it; the text around it does not matter.

    sha256: the digest that it must have besides being that in the first mark; empty when it is not known.
    """
    existing = parse(text)
    is_one_pair = existing.body is not None and _marks(text) == ["begin", "end"]
    return is_one_pair and _generated_part(existing).sha256 == existing.recorded_sha256 == (
        sha256 or existing.recorded_sha256
    )


def _marks(text: str) -> list[str]:
    return [match[1].lower() for match in ANY_MARK.finditer(text)]


def _refuse_other_marks(text: str, existing: Existing) -> None:
    """Raise Refused unless the marks are one pair, or there is none: with others, it is not clear what zoo generated."""
    marks = _marks(text)
    if marks == (["begin", "end"] if existing.body is not None else []):
        return
    raise Refused(
        f"the published README has {marks.count('begin')} marks zoo:begin and {marks.count('end')} marks zoo:end,"
        " but it must have one pair, each on a line of its own, or none",
        hint="remove the other marks from the published README, then publish again",
    )


def _generated_part(existing: Existing) -> Generated:
    return Generated({key: value for key, value in existing.metadata.items() if key in KEYS}, existing.body or "")


def _is_recorded(text: str, sha256: str) -> bool:
    return is_as_generated(text) and parse(text).recorded_sha256 == sha256


def difference(old: str, new: str, old_name: str, new_name: str) -> str:
    """Return a unified diff, empty when the texts are equal."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)


KEYS = (
    "license", "license_name", "license_link", "library_name", "pipeline_tag", "tags", "datasets", "metrics",
    "base_model", "model-index",
)  # fmt: skip
"""The metadata keys that zoo generates. All other keys belong to people."""


def _text(metadata: Mapping[str, Any], own: Mapping[str, Any], before: str, generated: Generated, after: str) -> str:
    begin = f"<!-- zoo:begin sha256={generated.sha256} generated by zoo; edit the card, or the text outside these two lines -->\n"
    front = to_yaml({**metadata, **own})
    return f"---\n{front}---\n{before or chr(10)}{begin}{generated.body}{END}{after}"


def _edited(base: Generated | None, theirs: Generated, ours: Generated) -> Refused:
    """Return the error with what each side changed, so that a person can decide."""
    here, new = PUBLISHED_README, NEW_README
    if base is None:
        differences = difference(theirs.text, ours.text, here, new)
    else:
        old = "README.md as zoo generated it"
        differences = difference(base.text, theirs.text, old, here) + difference(base.text, ours.text, old, new)
    return Refused(
        terminal_lines(["cannot update README.md: its generated part was edited by hand", *differences.splitlines()]),
        hint="move the edits out of the marked part, or into the card, then publish again; --regenerate discards them",
    )

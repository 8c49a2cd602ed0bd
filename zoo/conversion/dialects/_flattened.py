"""A page whose lines lost their indentation, with a `|` line after each -> its YAML, line for line, or the line that refutes it.

The nesting is found again from the keys that a model-index has. Where a line could stand in no place, or in two, the page
is refused: a document is read whole or not at all.
"""

from __future__ import annotations

import re

from zoo.registry.position import Place, Problem

_KEY = re.compile(r"(?P<key>[^\s:#'\"\-\[{][^:#]*?)\s*:(?:\s+(?P<value>.*))?\Z")
_TOP = ("type", "collections", "models", "library")
_ENTRY = ("name", "in collection", "metadata", "code", "weights", "results", "config", "readme", "image", "paper")
_INSIDE = {"paper": ("title", "url"), "results": ("task", "dataset", "metrics")}
LEAST_BARS = 3
"""A page with fewer lines that are nothing but `|` was not flattened in this way."""


def is_flattened(text: str) -> bool:
    """Whether the text has lines of a lone `|` and no line of it is indented below a key."""
    lines = text.splitlines()
    bars = sum(line.strip() == "|" for line in lines)
    indented = sum(bool(re.match(r"\s+(?:- |[A-Z][\w ]*:)", line)) for line in lines)
    return bars >= LEAST_BARS and not indented


def recover_indentation(text: str, label: str) -> str | Problem:
    """The YAML with its indentation, each line at its own number; or why and where the page makes no sense."""
    recovery = _Recovery(label)
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        written = line.strip()
        if written in ("", "|"):
            lines.append("")
            continue
        if recovery.continues(written):
            lines.append("")
            last = next(at for at in range(len(lines) - 2, -1, -1) if lines[at])
            lines[last] += f" {written}"
            continue
        indented = recovery.line(written, number)
        if isinstance(indented, Problem):
            return indented
        lines.append(indented)
    return recovery.end(text.count("\n") + 1) or "\n".join(lines)


class _Recovery:
    """What the lines so far have opened: a top-level list, an entry of it, a field of that, a mapping inside the field."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.top = ""
        self.field = ""
        self.inner = ""
        self.items: int | None = None  # the indentation of the items of an open list
        self.quote = ""
        self.is_text_open = False
        self.keys_by_scope: dict[tuple[str, ...], set[str]] = {}
        self.entries = 0

    def continues(self, written: str) -> bool:
        """Whether the line goes on with the text of the one before: in quotes, or plain words without a key."""
        if self.quote:
            self.quote = "" if re.search(rf"(?<!{self.quote}){self.quote}\Z", written) else self.quote
            return True
        return self.is_text_open and not written.startswith("- ") and _KEY.match(written) is None

    def line(self, written: str, number: int) -> str | Problem:
        """The line with its indentation."""
        item = written.startswith("- ")
        body = written[2:].strip() if item else written
        key = _KEY.match(body)
        if item:
            return self._item(body, key, number)
        if key is None:
            return self._refuse(number, f"{_short(written)} is no `key: value`, no item and continues no text")
        return self._key(key["key"], key["value"] or "", body, number)

    def end(self, number: int) -> Problem | None:
        if self.quote:
            return self._refuse(number, "a quoted text does not end")
        if self.entries == 0:
            return self._refuse(number, "the page has no `- Name:` of a model or collection")
        return None

    def _item(self, body: str, key: re.Match[str] | None, number: int) -> str | Problem:
        name = key["key"].lower() if key else ""
        if name == "name" and self.top in ("collections", "models"):
            self.field = self.inner = ""
            self.items = None
            self.entries += 1
            self.keys_by_scope = {}
            return self._write(0, f"- {body}", key["value"] or "" if key else "", ("",), "name", number)
        if self.field == "results" and name in _INSIDE["results"]:
            self.inner, self.items = (name if not (key and key["value"]) else ""), None
            self.keys_by_scope = {path: keys for path, keys in self.keys_by_scope.items() if path[:1] != ("results",)}
            return self._write(2, f"- {body}", (key["value"] or "") if key else "", ("results",), name, number)
        if self.items is not None and (key is None or not key["value"] or not self.top):
            if key is not None and not key["value"]:
                return self._refuse(number, f"{_short(body)} begins a mapping in a list of texts")
            return self._write(self.items, f"- {body}", body, None, "", number)
        if self.items is not None:
            return self._refuse(number, f"{_short(body)} may be an item or a key: which, the page no longer says")
        return self._refuse(number, f"the item {_short(body)} belongs to no list")

    def _key(self, key: str, value: str, body: str, number: int) -> str | Problem:
        name = key.lower()
        if name in _TOP and (not value or name == "type"):
            self.top, self.field, self.inner, self.items = name, "", "", None
            return self._write(0, body, value, ("top",), name, number)
        if not self.top or not self.entries:
            return self._refuse(number, f"{_short(body)} stands before the first `- Name:`")
        if self.field == "results" and name in _INSIDE["results"]:
            self.inner, self.items = (name if not value else ""), None
            return self._write(4, body, value, ("results",), name, number)
        if self.field == "paper" and name in _INSIDE["paper"]:
            return self._write(4, body, value, ("paper",), name, number)
        if name in _ENTRY and name != "name":
            self.field, self.inner = (name if not value else ""), ""
            self.items = 2 if not value and name == "weights" else None
            return self._write(2, body, value, ("entry",), name, number)
        if self.inner == "metrics":
            return self._write(6, body, value, ("results", "metrics"), name, number)
        if self.field == "metadata":
            self.items = 4 if not value else None
            return self._write(4, body, value, ("metadata",), name, number)
        return self._refuse(number, f"the key {_short(key)} has no place here")

    def _write(
        self, indent: int, line: str, value: str, scope: tuple[str, ...] | None, name: str, number: int
    ) -> str | Problem:
        if scope is not None:
            keys = self.keys_by_scope.setdefault(scope, set())
            if name in keys:
                return self._refuse(number, f"{name!r} is here twice")
            keys.add(name)
        self.is_text_open = bool(value) and value[-1] not in "'\"]}"
        self.quote = value[0] if value[:1] in ("'", '"') and not re.search(rf"{value[0]}\Z", value[1:]) else ""
        return " " * indent + line

    def _refuse(self, number: int, what: str) -> Problem:
        place = Place(self.label, number, 1)
        return Problem(
            (), place, f"the page makes no sense from here on: {what}", "get the page's source, with its indentation"
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")

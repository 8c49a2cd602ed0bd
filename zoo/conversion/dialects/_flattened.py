"""Restore the indentation of a model-index page that was saved as plain text, with a `|` line after each line.

The nesting follows from the keys of a model-index. When a line fits in no place, or in two, the page is rejected: a
document is read completely or not at all.
"""

from __future__ import annotations

import re

from zoo.registry.position import Place, Problem

_KEY = re.compile(r"(?P<key>[^\s:#'\"\-\[{][^:#]*?)\s*:(?:\s+(?P<value>.*))?\Z")
_TOP = ("type", "collections", "models", "library")
_ENTRY = ("name", "in collection", "metadata", "code", "weights", "results", "config", "readme", "image", "paper")
_INSIDE = {"paper": ("title", "url"), "results": ("task", "dataset", "metrics")}
MIN_BARS = 3
"""The minimum number of lines with only `|` in a flattened page."""


def is_flattened(text: str) -> bool:
    """Return whether the text has lines with only `|`, and no line that is indented below a key."""
    lines = text.splitlines()
    bars = sum(line.strip() == "|" for line in lines)
    indented = sum(bool(re.match(r"\s+(?:- |[A-Z][\w ]*:)", line)) for line in lines)
    return bars >= MIN_BARS and not indented


class _Rejection(Exception):
    """The reason why a line fits in no place of a model-index, or in two."""


def recover_indentation(text: str, label: str) -> str | Problem:
    """Return the YAML with its indentation and unchanged line numbers, or the first problem and its line."""
    recovery = _Recovery()
    lines: list[str] = []
    try:
        for line in text.split("\n"):
            written = line.strip()
            if written in ("", "|"):
                lines.append("")
            elif recovery.continues(written):
                last = next(at for at in range(len(lines) - 1, -1, -1) if lines[at])
                lines[last] += f" {written}"
                lines.append("")
            else:
                lines.append(recovery.line(written))
        recovery.end()
    except _Rejection as reason:
        place = Place(label, min(len(lines) + 1, text.count("\n") + 1), 1)
        what = f"cannot restore the indentation of the page: {reason}"
        return Problem((), place, what, "download the page's source, which has its indentation")
    return "\n".join(lines)


class _Recovery:
    """The open scopes at a line: a top-level list, an entry of it, a field of the entry, a mapping in the field."""

    def __init__(self) -> None:
        self.top = ""
        self.field = ""
        self.inner = ""
        self.items: int | None = None  # the indentation of the items of an open list
        self.quote = ""
        self.is_text_open = False
        self.keys: set[tuple[str, ...]] = set()  # of the open entry, by their path
        self.entries = 0

    def continues(self, written: str) -> bool:
        """Return whether the line continues the text of the previous line: within quotes, or plain words without a key."""
        if self.quote:
            self.quote = "" if re.search(rf"(?<!{self.quote}){self.quote}\Z", written) else self.quote
            return True
        return self.is_text_open and not written.startswith("- ") and _KEY.match(written) is None

    def line(self, written: str) -> str:
        """Return the line with its indentation. Raises _Rejection."""
        is_item = written.startswith("- ")
        body = written[2:].strip() if is_item else written
        key = _KEY.match(body)
        if is_item:
            return self._item(body, key)
        if key is None:
            raise _Rejection(f"{_short(written)} is not a `key: value` or an item, and does not continue a text")
        return self._key(key["key"], key["value"] or "", body)

    def end(self) -> None:
        """Raise _Rejection when the page ends within a quoted text, or has no entry."""
        if self.quote:
            raise _Rejection("a quoted text has no closing quote")
        if self.entries == 0:
            raise _Rejection("the page has no `- Name:` of a model or collection")

    def _item(self, body: str, key: re.Match[str] | None) -> str:
        name = key["key"].lower() if key else ""
        value = (key["value"] or "") if key else ""
        if name == "name" and self.top in ("collections", "models"):
            self.field = self.inner = ""
            self.items = None
            self.entries += 1
            self.keys = set()
            return self._indented(0, f"- {body}", value, ("", "name"))
        if self.field == "results" and name in _INSIDE["results"]:
            self.inner, self.items = (name if not value else ""), None
            self.keys = {path for path in self.keys if path[0] != "results"}
            return self._indented(2, f"- {body}", value, ("results", name))
        if self.items is None:
            raise _Rejection(f"the item {_short(body)} is not in a list")
        if key is None:
            return self._indented(self.items, f"- {body}", body)
        if not value:
            raise _Rejection(f"{_short(body)} starts a mapping in a list of texts")
        raise _Rejection(f"{_short(body)} can be an item or a key")

    def _key(self, key: str, value: str, body: str) -> str:
        name = key.lower()
        if name in _TOP and (not value or name == "type"):
            self.top, self.field, self.inner, self.items = name, "", "", None
            return self._indented(0, body, value, ("top", name))
        if not self.top or not self.entries:
            raise _Rejection(f"{_short(body)} comes before the first `- Name:`")
        if self.field == "results" and name in _INSIDE["results"]:
            self.inner, self.items = (name if not value else ""), None
            return self._indented(4, body, value, ("results", name))
        if self.field == "paper" and name in _INSIDE["paper"]:
            return self._indented(4, body, value, ("paper", name))
        if name in _ENTRY and name != "name":
            self.field, self.inner = (name if not value else ""), ""
            self.items = 2 if not value and name == "weights" else None
            return self._indented(2, body, value, ("entry", name))
        if self.inner == "metrics":
            return self._indented(6, body, value, ("results", "metrics", name))
        if self.field == "metadata":
            self.items = 4 if not value else None
            return self._indented(4, body, value, ("metadata", name))
        raise _Rejection(f"the key {_short(key)} does not belong here")

    def _indented(self, indent: int, line: str, value: str, path: tuple[str, ...] | None = None) -> str:
        """Return the line with that indentation. value: its text, which may continue. path: of its key, if it has one."""
        if path is not None and path in self.keys:
            raise _Rejection(f"duplicate key {path[-1]!r}")
        if path is not None:
            self.keys.add(path)
        self.is_text_open = bool(value) and value[-1] not in "'\"]}"
        self.quote = value[0] if value[:1] in ("'", '"') and not re.search(rf"{value[0]}\Z", value[1:]) else ""
        return " " * indent + line


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")

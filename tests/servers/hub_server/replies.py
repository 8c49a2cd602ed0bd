"""What a handler gives back: a `Reply`, or a `Refusal` that becomes one.

The client reads a failure from three places: the status, the header `X-Error-Code` (which decides the type of the
exception) and the JSON body's `error`. `Refusal` fills all three.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FileSpan:
    """`size_bytes` bytes of a file from `start` on, sent without being read into memory."""

    path: Path
    start: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; `cut_after_bytes` breaks the connection in the middle of the body."""

    status: int = 200
    body: bytes | FileSpan = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        return self.body.size_bytes if isinstance(self.body, FileSpan) else len(self.body)


class Refusal(Exception):
    """A request that the Hub answers with an error.

    `code` is one of RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo: the client turns these into exceptions
    of their own over any scheme. `extra` are further keys of the JSON body (a 409 of create_repo must carry `url`),
    `headers` further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def reply(self) -> Reply:
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return json_reply({"error": self.message, **self.extra}, status=self.status, headers=headers)


def json_reply(data: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(data).encode()
    return Reply(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


def content_reply(content: bytes | Path, *, byte_range: str | None, headers: Mapping[str, str]) -> Reply:
    """The content, or the part of it that a `Range: bytes=first-last` header asks for (RFC 9110, section 14)."""
    total = len(content) if isinstance(content, bytes) else content.stat().st_size
    headers = {"Accept-Ranges": "bytes", **headers}
    if byte_range is None:
        return Reply(200, _span(content, 0, total), headers)
    try:
        start, end = parse_range(byte_range, total)
    except ValueError:
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{total}"})
    return Reply(206, _span(content, start, end), {**headers, "Content-Range": f"bytes {start}-{end - 1}/{total}"})


def parse_range(byte_range: str, total: int) -> tuple[int, int]:
    """The half-open interval that a single-range header names; ValueError when it holds no byte of `total`."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", byte_range.strip())
    if match is None or match.group(1) == match.group(2) == "":
        raise ValueError(byte_range)
    first, last = match.groups()
    start = int(first) if first else max(0, total - int(last))
    end = min(total, int(last) + 1) if first and last else total
    if start >= end:
        raise ValueError(byte_range)
    return start, end


def _span(content: bytes | Path, start: int, end: int) -> bytes | FileSpan:
    return content[start:end] if isinstance(content, bytes) else FileSpan(content, start, end - start)

"""Faults on demand: which requests go wrong, and how.

A rule picks requests (method, path pattern, from the n-th on, how often); its action stands between the request and
its handler. An action is any callable `(handle) -> Reply`: it may call `handle()` before, after or not at all, so
"the commit was made and the reply was lost" is `handle(); raise Dropped`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from .replies import Reply

Action = Callable[[Callable[[], Reply]], Reply]


class Dropped(Exception):
    """The connection ends without an answer: closed in order (FIN), or by a reset (RST)."""

    def __init__(self, *, by_reset: bool = False) -> None:
        super().__init__()
        self.by_reset = by_reset


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Action:
    """Answer this and handle nothing, for example `answer(429, headers={"Retry-After": "2"})`."""
    return lambda handle: Reply(status, body, headers or {})


def answer_html(status: int) -> Action:
    """A proxy's error page where JSON is expected."""
    page = b"<html><head><title>Bad gateway</title></head><body>cloudfront</body></html>"
    return answer(status, page, {"Content-Type": "text/html; charset=utf-8"})


def drop_before(*, by_reset: bool = False) -> Action:
    """Take the request in, do nothing, hang up."""

    def action(handle: Callable[[], Reply]) -> Reply:
        raise Dropped(by_reset=by_reset)

    return action


def drop_after(*, by_reset: bool = False) -> Action:
    """Do what was asked, then hang up without an answer: the client cannot know that it was done."""

    def action(handle: Callable[[], Reply]) -> Reply:
        handle()
        raise Dropped(by_reset=by_reset)

    return action


def call_before(function: Callable[[], object]) -> Action:
    """Run `function` and then handle the request: another publisher's commit, a kill, a wait for an event."""

    def action(handle: Callable[[], Reply]) -> Reply:
        function()
        return handle()

    return action


def cut_body(after_bytes: int) -> Action:
    """Answer as usual, but hang up in the middle of the body."""
    return lambda handle: replace(handle(), cut_after_bytes=after_bytes)


@dataclass(frozen=True, slots=True)
class Rule:
    """Act on the requests `first` to `first + times - 1` (all further ones when `times` is None) that match."""

    method: str
    path: str
    action: Action
    first: int
    times: int | None


class Faults:
    """The rules in force; each counts the requests that it matches. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._seen: list[int] = []

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)
            self._seen.append(0)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()
            self._seen.clear()

    def action_for(self, method: str, path: str) -> Action | None:
        """The action of the first rule that is due for this request; every matching rule counts it."""
        chosen: Action | None = None
        with self._lock:
            for index, rule in enumerate(self._rules):
                if rule.method not in (method, "*") or not fnmatchcase(path, rule.path):
                    continue
                self._seen[index] += 1
                is_due = self._seen[index] >= rule.first
                is_over = rule.times is not None and self._seen[index] >= rule.first + rule.times
                if chosen is None and is_due and not is_over:
                    chosen = rule.action
        return chosen

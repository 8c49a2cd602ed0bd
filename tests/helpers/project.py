"""What tests share: where the project lies, what a command printed, and how a file is changed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it exited."""

    code: int
    out: str
    err: str


RunZoo = Callable[..., Ran]


def replace_once(path: Path, old: str, new: str) -> None:
    """Change a file where the old text stands, which must be exactly once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def may_be_interrupted() -> None:
    """For a child before it starts: SIGINT has its meaning, also where the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

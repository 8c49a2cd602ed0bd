"""Keep the report of each verified card below ZOO_HOME, where `zoo publish` finds the newest one.

The name of a report's file has its time, and the beginning of a digest over the card, the time and the content: a report that
was changed, cut off, renamed or copied from another card is noticed.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from zoo.errors import CannotCheck, UsageError
from zoo.runtime.storage import read_file, state_folder, write_file
from zoo.verification import report as reports
from zoo.verification.report import MAX_BYTES, Report

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d{6}Z)-([0-9a-f]{32})\.json")


def folder(card_sha256: str) -> Path:
    """Return the folder of the reports about the card with that digest."""
    return state_folder("reports", card_sha256)


def store(report: Report, card_sha256: str) -> None:
    """Store a report that is the newest about its card. Raises OSError when writing fails."""
    time, content = report.created.replace(":", ""), report.to_json().encode()
    name = f"{time}-{_digest(card_sha256, time, content)}.json"
    write_file(folder(card_sha256) / name, content)
    for path in _paths(card_sha256):  # of the same second: the time in the name does not order them
        if path.name.startswith(time) and path.name != name:
            path.unlink(missing_ok=True)


def newest(card_sha256: str) -> Report | None:
    """Return the newest report about the card with that digest; None when there is none.

    When it is damaged, all reports about the card are removed: an older one could hide what the newest one found. Raises
    CannotCheck then.
    """
    paths = _paths(card_sha256)
    if not paths:
        return None
    report = _read(paths[-1])
    if report is None:
        for path in paths:
            with suppress(OSError):
                path.unlink()
        raise CannotCheck("the report of the last `zoo verify` is damaged", where=str(paths[-1]))
    return report


def _read(path: Path) -> Report | None:
    content = read_file(path, MAX_BYTES)
    match = _NAME.fullmatch(path.name)
    if content is None or match is None or _digest(path.parent.name, match[1], content) != match[2]:
        return None
    with suppress(UsageError, UnicodeDecodeError):
        return reports.from_json(content.decode(), where=str(path))
    return None


def _paths(card_sha256: str) -> list[Path]:
    """Return the paths of a card's reports, the newest last."""
    with suppress(OSError):
        return sorted(path for path in folder(card_sha256).iterdir() if _NAME.fullmatch(path.name))
    return []


def _digest(card_sha256: str, time: str, content: bytes) -> str:
    return hashlib.sha256(f"{card_sha256} {time}\n".encode() + content).hexdigest()[:32]

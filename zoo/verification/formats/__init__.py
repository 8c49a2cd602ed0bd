"""Define the contract of an output format: one module per format, with a pure function from a Report to text."""

from __future__ import annotations

from typing import Protocol

from zoo.verification.report import Report


class Format(Protocol):
    """What a module in this folder offers."""

    def render(self, report: Report) -> str:
        """Return the whole report, ending in a newline. Text in a finding passes the function of zoo.runtime.text for the medium."""

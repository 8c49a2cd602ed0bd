"""The report as `schemas/report.schema.json` describes it: what programs read, and what `zoo publish` takes."""

from __future__ import annotations

from zoo.verification.report import Report


def render(report: Report) -> str:
    """The report as JSON."""
    return report.to_json()

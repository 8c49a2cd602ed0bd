"""Write a report as JSON, for programs and for `zoo publish`; `schemas/report.schema.json` describes it."""

from __future__ import annotations

from zoo.verification.report import Report


def render(report: Report) -> str:
    """Return the report as JSON."""
    return report.to_json()

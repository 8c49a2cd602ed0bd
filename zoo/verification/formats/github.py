"""Write a report as GitHub workflow commands: an annotation at the line of each finding that is not ok.

Source: docs.github.com/actions/reference/workflow-commands-for-github-actions, "Setting a notice message", seen 2026-11-24.
"""

from __future__ import annotations

from zoo.registry.position import position
from zoo.runtime.text import github, github_property
from zoo.verification.formats import text
from zoo.verification.report import Finding, Report, Status

LEVELS = {Status.WRONG: "error", Status.UNKNOWN: "warning", Status.SUSPECT: "warning"}


def render(report: Report) -> str:
    """Return a line for each finding that is wrong, unknown or suspect, then the summary as plain text."""
    lines = [_annotation(finding) for finding in report.findings if finding.status in LEVELS]
    return "".join(lines) + text.summary(report.findings)


def _annotation(finding: Finding) -> str:
    file, line, column = position(finding.where)
    details = "; ".join(part for part in (finding.reason, text.comparison(finding)) if part)
    message = f"{finding.model}: {details}" + (f"\nhint: {finding.hint}" if finding.hint else "")
    places = f"file={github_property(file)},line={line},col={column}," if file else ""
    title = github_property(f"{finding.check} {finding.key}")
    return f"::{LEVELS[finding.status]} {places}title={title}::{github(message)}\n"

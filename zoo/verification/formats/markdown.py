"""Write a report as Markdown, for a comment on a pull request or a CI summary: a table, then the findings that are not ok."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from zoo.runtime.text import markdown, markdown_code, markdown_message
from zoo.verification.formats import text
from zoo.verification.report import Finding, Report, Status


def render(report: Report) -> str:
    """Return the whole report as Markdown."""
    models = [(name, tuple(findings)) for name, findings in groupby(report.findings, key=lambda finding: finding.model)]
    rows = "".join(f"| {markdown(name)} | {text.counts(findings)} |\n" for name, findings in models)
    details = "".join(_details(findings) for _, findings in models)
    return f"| model | findings |\n|---|---|\n{rows}\n{details}{text.summary(report.findings, markdown_message)}"


def _details(findings: Sequence[Finding]) -> str:
    statuses = (Status.WRONG, Status.UNKNOWN, Status.SUSPECT)
    return "".join(_line(finding) for finding in findings if finding.status in statuses)


def _line(finding: Finding) -> str:
    where, what = markdown_code(finding.where), markdown(f"{finding.check} {finding.key}")
    details = "; ".join(part for part in (finding.reason, text.comparison(finding), finding.hint) if part)
    return f"- **{finding.status.value}** {where} {what}: {markdown_message(details)}\n"

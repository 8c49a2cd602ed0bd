"""Write a report as Markdown, for a comment on a pull request or a CI summary: a table, then the findings that are not ok."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from zoo.verification.formats import text
from zoo.verification.report import Finding, Report, Status


def render(report: Report) -> str:
    """Return the whole report as Markdown."""
    models = [(name, tuple(findings)) for name, findings in groupby(report.findings, key=lambda finding: finding.model)]
    rows = "".join(f"| {name} | {text.counts(findings)} |\n" for name, findings in models)
    details = "".join(_details(findings) for _, findings in models)
    return f"| model | findings |\n|---|---|\n{rows}\n{details}{text.summary(report.findings)}"


def _details(findings: Sequence[Finding]) -> str:
    statuses = (Status.WRONG, Status.UNKNOWN, Status.SUSPECT)
    return "".join(_line(finding) for finding in findings if finding.status in statuses)


def _line(finding: Finding) -> str:
    details = "; ".join(_parts(finding))
    return f"- **{finding.status.value}** `{finding.where}` {finding.check} {finding.key}: {details}\n"


def _parts(finding: Finding) -> Iterable[str]:
    for part in (finding.reason, text.comparison(finding), finding.hint):
        if part:
            yield part.replace("|", "\\|")

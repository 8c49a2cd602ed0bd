"""The report as Markdown, for a pull request's comment or a CI summary: a table, then what is not ok."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from zoo.verification.formats import text
from zoo.verification.report import Finding, Report, Status


def render(report: Report) -> str:
    """The whole report as Markdown."""
    models = [(name, tuple(found)) for name, found in groupby(report.findings, key=lambda finding: finding.model)]
    rows = "".join(f"| {name} | {text.counts(found)} |\n" for name, found in models)
    details = "".join(_details(found) for _, found in models)
    return f"| model | findings |\n|---|---|\n{rows}\n{details}{text.summary(report.findings)}"


def _details(findings: Sequence[Finding]) -> str:
    shown = (Status.WRONG, Status.UNKNOWN, Status.SUSPECT)
    return "".join(_line(finding) for finding in findings if finding.status in shown)


def _line(finding: Finding) -> str:
    said = "; ".join(_parts(finding))
    return f"- **{finding.status.value}** `{finding.where}` {finding.check} {finding.key}: {said}\n"


def _parts(finding: Finding) -> Iterable[str]:
    for part in (finding.reason, text.compared(finding), finding.hint):
        if part:
            yield part.replace("|", "\\|")

"""The report for people: one line a model, the details of what is not ok, and a summary line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from zoo.report import Finding, Report, Status, count

Paint = Callable[[Status, str], str]
"""Gives a word the colour of its status; the command decides whether there are colours."""

WORST_FIRST = (Status.WRONG, Status.UNKNOWN, Status.SUSPECT, Status.SKIPPED, Status.OK, Status.UNCLAIMED)


def render(report: Report) -> str:
    """The whole report, without colours."""
    models = groupby(report.findings, key=lambda finding: finding.model)
    return "".join(model(tuple(findings)) for _, findings in models) + summary(report.findings)


def model(findings: Sequence[Finding], paint: Paint = lambda status, text: text) -> str:
    """The lines about one model."""
    if not findings:
        return ""
    verdict = next(status for status in WORST_FIRST if any(finding.status is status for finding in findings))
    head = f"{findings[0].model:<24} {paint(verdict, f'{verdict.value:<9}')} {counts(findings)}\n"
    return head + "".join(_details(findings, paint))


def summary(findings: Iterable[Finding]) -> str:
    """The last line: how many models, how many findings of each status."""
    findings = tuple(findings)
    models = len({finding.model for finding in findings})
    return f"{models} model{'s' if models != 1 else ''}: {counts(findings) or 'nothing to check'}\n"


def counts(findings: Iterable[Finding]) -> str:
    """`12 ok, 3 skipped`."""
    return ", ".join(f"{number} {status.value}" for status, number in count(findings).items())


def number(value: object) -> str:
    """A number with its thousands apart, anything else as it is; `-` where there is nothing."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)


def compared(finding: Finding) -> str:
    """`claimed 84.53, measured 84.1 percent`, or what there is of it."""
    if finding.measured is None:
        return ""
    unit = f" {finding.unit}" if finding.unit else ""
    if finding.claimed is None:
        return f"measured {number(finding.measured)}{unit}"
    within = f" (within {finding.tolerance:g})" if finding.tolerance else ""
    return f"claimed {number(finding.claimed)}, measured {number(finding.measured)}{unit}{within}"


def _details(findings: Iterable[Finding], paint: Paint) -> Iterable[str]:
    rest: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.status in (Status.WRONG, Status.UNKNOWN, Status.SUSPECT):
            yield _whole(finding, paint)
        elif finding.status is Status.SKIPPED:
            rest.setdefault((finding.mend, "" if finding.mend else finding.reason), []).append(finding)
    for (mend, reason), alike in rest.items():
        checks = ", ".join(dict.fromkeys(finding.check for finding in alike))
        yield f"  {paint(Status.SKIPPED, 'skipped')} {checks}: {mend or reason}\n"


def _whole(finding: Finding, paint: Paint) -> str:
    said = "; ".join(part for part in (finding.reason, compared(finding)) if part)
    mend = f"\n    mend: {finding.mend}" if finding.mend else ""
    return f"  {finding.where}: {paint(finding.status, finding.status.value)} {finding.check} {finding.key}: {said}{mend}\n"

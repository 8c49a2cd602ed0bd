"""Write a report for people: one line per model, the details of what is not ok, a summary, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from zoo.runtime.text import shell, terminal
from zoo.verification.report import Finding, Report, Status, count

Paint = Callable[[Status, str], str]
"""A function that gives a word the colour of a status. The command decides whether there are colours."""
WORST_FIRST = (Status.WRONG, Status.UNKNOWN, Status.SUSPECT, Status.SKIPPED, Status.OK, Status.UNCLAIMED)
MOST_NAMES = 10
"""The most models that a hint in the summary names."""


def render(report: Report) -> str:
    """Return the whole report, without colours."""
    models = groupby(report.findings, key=lambda finding: finding.model)
    return "".join(model(tuple(findings)) for _, findings in models) + summary(report.findings)


def model(findings: Sequence[Finding], paint: Paint = lambda status, text: text) -> str:
    """Return the lines about one model: its worst status and counts, then the findings that are wrong, suspect or unknown."""
    if not findings:
        return ""
    verdict = next(status for status in WORST_FIRST if any(finding.status is status for finding in findings))
    skipped = dict.fromkeys(finding.check for finding in findings if finding.status is Status.SKIPPED)
    which = f" ({', '.join(skipped)})" if skipped else ""
    name = terminal(findings[0].model)
    head = f"{name:<24} {paint(verdict, f'{verdict.value:<9}')} {counts(findings)}{terminal(which)}\n"
    statuses = (Status.WRONG, Status.UNKNOWN, Status.SUSPECT)
    return head + "".join(_finding_lines(finding, paint) for finding in findings if finding.status in statuses)


def summary(findings: Iterable[Finding], safe: Callable[[str], str] = terminal) -> str:
    """Return the last lines: the number of models, of findings of each status, and how to check what was skipped.

    safe: makes text safe for the medium.
    """
    findings = tuple(findings)
    models = len({finding.model for finding in findings})
    head = f"{models} model{'s' if models != 1 else ''}: {counts(findings) or 'nothing to check'}\n"
    skipped = (finding for finding in findings if finding.status is Status.SKIPPED)
    return head + "".join(f"  {safe(hint)}\n" for hint in _hints(skipped))


def counts(findings: Iterable[Finding]) -> str:
    """Return the number of findings of each status: `12 ok, 3 skipped`."""
    return ", ".join(f"{number} {status.value}" for status, number in count(findings).items())


def format_number(value: object) -> str:
    """Return a number with commas between thousands, any other value as text, `-` for None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)


def comparison(finding: Finding) -> str:
    """Return `claimed 84.53, measured 84.1 percent`, without `claimed` if there is no claim; empty if nothing was measured."""
    if finding.measured is None or finding.check == "consistency":  # the reason of a rule has both values
        return ""
    unit = f" {finding.unit}" if finding.unit else ""
    if finding.claimed is None:
        return f"measured {format_number(finding.measured)}{unit}"
    within = f" (within {finding.tolerance:g})" if finding.tolerance else ""
    return f"claimed {format_number(finding.claimed)}, measured {format_number(finding.measured)}{unit}{within}"


def _hints(skipped: Iterable[Finding]) -> Iterator[str]:
    """Yield a line for each hint, with the checks and models that need it: `skipped files, loading: zoo fetch a b c`."""
    to_do: dict[tuple[str, bool], tuple[dict[str, None], dict[str, None]]] = {}
    for finding in skipped:
        hint = finding.hint or finding.reason
        names_it = hint.endswith(f" {finding.model}")
        key = (hint.removesuffix(finding.model) if names_it else hint, names_it)
        checks, models = to_do.setdefault(key, ({}, {}))
        checks[finding.check] = models[finding.model] = None
    for (hint, names_them), (checks, models) in to_do.items():
        few = [*map(shell, [*models][:MOST_NAMES]), *(["..."] if len(models) > MOST_NAMES else [])]
        yield f"skipped {', '.join(checks)}: {hint}{' '.join(few) if names_them else ''}"


def _finding_lines(finding: Finding, paint: Paint) -> str:
    details = "; ".join(part for part in (finding.reason, comparison(finding)) if part)
    hint = f"\n    {terminal(f'hint: {finding.hint}')}" if finding.hint else ""
    where, what = terminal(f"{finding.where}: "), terminal(f"{finding.check} {finding.key}: {details}")
    return f"  {where}{paint(finding.status, finding.status.value)} {what}{hint}\n"

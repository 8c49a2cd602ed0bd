"""Validate cards: choose them, fix their files if asked to, and apply the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from zoo.verification import lint, report
from zoo.verification.fix import fix as fix_document
from zoo.verification.lint import LintResult
from zoo.verification.report import Report
from zoo.verification.selection import ReportLine, ignore_line, select


def validate(
    targets: Sequence[str],
    folders: Sequence[Path],
    *,
    everything: bool = False,
    changed_since: str | None = None,
    shard: str | None = None,
    rules: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fix: bool = False,
    report_line: ReportLine = ignore_line,
) -> Iterator[LintResult]:
    """Yield what the rules find in each card, and the problems of each broken file.

    targets, folders, everything, changed_since: see `selection.select`; shard: `I/N`. rules, ignore: see `lint.validate`.
    fix: first change the files as `fix.fix` does, and report each change. Raises UsageError and UnknownName as these do.
    """
    choose = partial(select, targets, folders, everything=everything, changed_since=changed_since)
    chosen = choose(report_line=report_line)
    if fix:
        changes = [line for document in chosen.documents for line in fix_document(document)]
        for line in changes:
            report_line(line)
        chosen = choose() if changes else chosen
    positions = lint.shard(chosen.positions, shard) if shard else chosen.positions
    yield from lint.validate(chosen.catalog, positions, chosen.broken, select=rules, ignore=ignore)


def as_report(results: Iterable[LintResult], *, options: Mapping[str, object]) -> Report:
    """Return the report of these results."""
    parts = list(results)
    subjects = [part.card() for part in parts if part.card is not None]
    return report.make(subjects, [finding for part in parts for finding in part.findings], options=options)

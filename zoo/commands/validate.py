"""Validate the format and the consistency of cards, without a network or torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.commands import all_option, cards_option, format_option, paint, part_options, print_error, split_commas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.verification.lint import LintResult
    from zoo.verification.report import Finding


def _explain(context: click.Context, parameter: click.Parameter, rule: str | None) -> None:
    if rule is not None and not context.resilient_parsing:
        from zoo.verification import lint

        click.echo(lint.explain_rule(rule), nl=False)
        context.exit()


@click.command()
@click.argument("targets", nargs=-1, metavar="[NAME|PATH]...")
@all_option
@part_options
@click.option("--select", "rules", multiple=True, callback=split_commas, metavar="RULE,...",
              help="Apply only these rules.")  # fmt: skip
@click.option("--ignore", multiple=True, callback=split_commas, metavar="RULE,...", help="Do not apply these rules.")
@click.option("--fix", is_flag=True, help="First fix unambiguous errors in the files; comments and layout are kept.")
@click.option("--strict", is_flag=True, help="Treat suspect findings as failures.")
@click.option(
    "--explain",
    metavar="RULE",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Explain a rule and exit; `all` lists the rules.",
)
@cards_option
@format_option
def command(
    targets: tuple[str, ...],
    everything: bool,
    changed_since: str | None,
    shard: str | None,
    rules: tuple[str, ...],
    ignore: tuple[str, ...],
    fix: bool,
    strict: bool,
    cards_dirs: tuple[Path, ...],
    format_name: str,
) -> None:
    """Validate the format and the consistency of cards, without a network or torch.

    PATH is a card file or a folder of cards. Its cards are compared with the other cards of the zoo.
    """
    from zoo.verification import validation

    results = validation.validate(targets, cards_dirs, everything=everything, changed_since=changed_since, shard=shard,
                                  rules=rules, ignore=ignore, fix=fix, report_line=print_error)  # fmt: skip
    options = {"command": "validate", "strict": strict, "select": list(rules), "ignore": list(ignore)}
    sys.exit(_print_results(results, format_name, options, strict=strict))


def _print_results(results: Iterator[LintResult], format_name: str, options: dict[str, object], *, strict: bool) -> int:
    """Print the findings, text card by card, and return the exit code."""
    from zoo import plugins
    from zoo.verification import lint, report, validation
    from zoo.verification.formats import text

    if format_name != "text":
        full_report = validation.as_report(results, options=options)
        click.echo(plugins.load("formats", format_name).render(full_report), nl=False)
        return full_report.exit_code
    findings: list[Finding] = []
    for lines, parts in lint.render_batches(results, lambda findings: text.model(findings, paint)):
        click.echo(lines, nl=False)
        findings += [finding for part in parts for finding in part.findings_to_count]
    click.echo(text.summary(findings), nl=False)
    not_ok = [finding for finding in findings if finding.status is not report.Status.OK]
    return report.exit_code(not_ok, strict=strict)

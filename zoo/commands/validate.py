"""Check cards without network and without torch: format, and whether what they say can be true."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.commands import cards_option, find, format_option, paint, part_options, split_commas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.registry.catalog import Broken, Catalog
    from zoo.verification.lint import LintResult
    from zoo.verification.report import Finding


def _explain(context: click.Context, parameter: click.Parameter, rule: str | None) -> None:
    if rule is not None and not context.resilient_parsing:
        from zoo.verification import lint

        click.echo(lint.explain_rule(rule), nl=False)
        context.exit()


@click.command()
@click.argument("targets", nargs=-1, metavar="[PATH|NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@part_options
@click.option("--select", multiple=True, callback=split_commas, metavar="RULE,...", help="Only these rules.")
@click.option("--ignore", multiple=True, callback=split_commas, metavar="RULE,...", help="All but these rules.")
@click.option("--fix", is_flag=True, help="First mend what can be mended without a choice; comments and layout stay.")
@click.option("--strict", is_flag=True, help="Let suspicions count as errors.")
@click.option(
    "--explain",
    metavar="RULE",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Say what a rule says; `all` lists them.",
)
@cards_option
@format_option
def command(
    targets: tuple[str, ...],
    everything: bool,
    changed_since: str | None,
    shard: str | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fix: bool,
    strict: bool,
    cards_dirs: tuple[Path, ...],
    format_name: str,
) -> None:
    """Check cards without network and without torch: format, and whether what they say can be true.

    A PATH is a card's file or a folder of cards; it is checked together with the zoo's other cards.
    """
    from zoo.verification import lint

    catalog, positions, broken = _select(targets, everything, changed_since, cards_dirs)
    if fix and _fix_files(catalog, positions, broken):
        catalog, positions, broken = _select(targets, everything, changed_since, cards_dirs)
    positions = lint.shard(positions, shard) if shard else positions
    results = lint.validate(catalog, positions, broken, select=select, ignore=ignore)
    options = {"command": "validate", "strict": strict, "select": list(select), "ignore": list(ignore)}
    sys.exit(_print_results(results, format_name, options, strict=strict))


def _select(
    targets: tuple[str, ...], everything: bool, revision: str | None, folders: tuple[Path, ...]
) -> tuple[Catalog, list[int], list[Broken]]:
    """The catalogue, and which of its cards and unreadable files were asked for."""
    from zoo.errors import CardError, UsageError
    from zoo.registry.catalog import load_catalog, used_folders
    from zoo.verification import lint

    paths = [
        Path(target)
        for target in targets
        if "/" in target or target.endswith((".yaml", ".yml")) or Path(target).exists()
    ]
    catalog = load_catalog(folders).with_files(paths)
    if revision is not None:
        return catalog, *lint.changed_since(catalog, revision, used_folders(folders))
    if everything:
        return catalog, list(range(len(catalog.cards))), list(catalog.broken)
    names = [target for target in targets if Path(target) not in paths]
    if not targets:
        raise UsageError("no model was named", hint="name some, or give --all")
    positions = {position for position, entry in enumerate(catalog.cards.entries) if entry.path in catalog.selected}
    broken = [item for item in catalog.broken if item.document.path in catalog.selected]
    for name in names:
        try:
            positions.add(catalog.names.index(find(catalog, name).name))
        except CardError:
            broken += [item for item in catalog.broken if item.name == name]
    return catalog, sorted(positions), broken


def _fix_files(catalog: Catalog, positions: list[int], broken: list[Broken]) -> bool:
    """Mend the files and say on stderr what was changed; whether anything was."""
    from zoo.verification import fix

    documents = [catalog.cards.entries[position].document for position in positions]
    documents += [item.document for item in broken]
    changes = [line for document in documents for line in fix.fix(document)]
    click.echo("".join(f"{line}\n" for line in changes), nl=False, err=True)
    return bool(changes)


def _print_results(results: Iterator[LintResult], format_name: str, options: dict[str, object], *, strict: bool) -> int:
    """Print what was found, text as it comes; the exit code."""
    from zoo import plugins
    from zoo.verification import lint, report

    if format_name != "text":
        parts = list(results)
        subjects = [part.card() for part in parts if part.card is not None]
        full_report = report.make(subjects, [finding for part in parts for finding in part.findings], options=options)
        click.echo(plugins.load("formats", format_name).render(full_report), nl=False)
        return full_report.exit_code
    text = plugins.load("formats", "text")
    findings: list[Finding] = []
    for lines, parts in lint.render_batches(results, lambda findings: text.model(findings, paint)):
        click.echo(lines, nl=False)
        findings += [finding for part in parts for finding in part.findings_to_count]
    click.echo(text.summary(findings), nl=False)
    not_ok = [finding for finding in findings if finding.status is not report.Status.OK]
    return report.exit_code(not_ok, strict=strict)

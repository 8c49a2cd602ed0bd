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

        click.echo(lint.explained(rule), nl=False)
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

    found, positions, broken = _chosen(targets, everything, changed_since, cards_dirs)
    if fix and _fixed(found, positions, broken):
        found, positions, broken = _chosen(targets, everything, changed_since, cards_dirs)
    positions = lint.shard(positions, shard) if shard else positions
    checked = lint.validate(found, positions, broken, select=select, ignore=ignore)
    options = {"command": "validate", "strict": strict, "select": list(select), "ignore": list(ignore)}
    sys.exit(_tell(checked, format_name, options, strict=strict))


def _chosen(
    targets: tuple[str, ...], everything: bool, revision: str | None, folders: tuple[Path, ...]
) -> tuple[Catalog, list[int], list[Broken]]:
    """The catalogue, and which of its cards and unreadable files were asked for."""
    from zoo.errors import CardError, UsageError
    from zoo.registry import catalog
    from zoo.registry.catalog import load_catalog
    from zoo.verification import lint

    paths = [
        Path(target)
        for target in targets
        if "/" in target or target.endswith((".yaml", ".yml")) or Path(target).exists()
    ]
    found = load_catalog(folders).with_files(paths)
    if revision is not None:
        return found, *lint.changed_since(found, revision, catalog.used_folders(folders))
    if everything:
        return found, list(range(len(found.cards))), list(found.broken)
    names = [target for target in targets if Path(target) not in paths]
    if not targets:
        raise UsageError("no model was named", hint="name some, or give --all")
    chosen = {position for position, entry in enumerate(found.cards.entries) if entry.path in found.selected}
    broken = [item for item in found.broken if item.document.path in found.selected]
    for name in names:
        try:
            chosen.add(found.names.index(find(found, name).name))
        except CardError:
            broken += [item for item in found.broken if item.name == name]
    return found, sorted(chosen), broken


def _fixed(found: Catalog, positions: list[int], broken: list[Broken]) -> bool:
    """Mend the files and say on stderr what was changed; whether anything was."""
    from zoo.verification import fix

    documents = [found.cards.entries[position].document for position in positions] + [item.document for item in broken]
    done = [line for document in documents for line in fix.fix(document)]
    click.echo("".join(f"{line}\n" for line in done), nl=False, err=True)
    return bool(done)


def _tell(checked: Iterator[LintResult], format_name: str, options: dict[str, object], *, strict: bool) -> int:
    """Print what was found, text as it comes; the exit code."""
    from zoo import plugins
    from zoo.verification import lint, report

    if format_name != "text":
        parts = list(checked)
        subjects = [part.card() for part in parts if part.card is not None]
        whole = report.make(subjects, [finding for part in parts for finding in part.findings], options=options)
        click.echo(plugins.load("formats", format_name).render(whole), nl=False)
        return whole.exit_code
    text = plugins.load("formats", "text")
    everything: list[Finding] = []
    for lines, parts in lint.texts(checked, lambda findings: text.model(findings, paint)):
        click.echo(lines, nl=False)
        everything += [finding for part in parts for finding in part.counted]
    click.echo(text.summary(everything), nl=False)
    telling = [finding for finding in everything if finding.status is not report.Status.OK]
    return report.exit_code(telling, strict=strict)

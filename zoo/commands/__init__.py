"""The contract of a command: one file each, loaded when it is called, which defines `command`, a click.Command.

The first line of the file's docstring is the command's one-line help. A body loads, calls, prints and exits, in at most
ten lines; what several commands share (options, choosing cards, printing findings) is here. A loaded command is
an attribute of this package, so no name here may be a command's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from zoo import plugins
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken, Catalog
    from zoo.verification.report import Finding, Status
    from zoo.verification.runner import Verified

F = TypeVar("F", bound=Callable[..., Any])

COLOURS = {
    "ok": "green",
    "wrong": "red",
    "suspect": "yellow",
    "unknown": "magenta",
    "skipped": "cyan",
    "unclaimed": "white",
}


def cards_option(function: F) -> F:
    """`--cards DIR`, repeatable: the zoo to work on."""
    return click.option(
        "--cards",
        "cards_dirs",
        multiple=True,
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Use the cards of this folder, not the shipped ones (repeatable; also ZOO_CARDS).",
    )(function)


def format_option(function: F) -> F:
    """`--format`, with the formats that the folder has."""
    return click.option(
        "--format",
        "format_name",
        default="text",
        show_default=True,
        type=click.Choice(plugins.names("formats")),
        help="How to print what was found.",
    )(function)


def part_options(function: F) -> F:
    """`--changed-since REV` and `--shard I/N`: a part of the cards."""
    since = click.option(
        "--changed-since", metavar="REV", help="Only cards that git says changed, and those that they touch."
    )
    return since(click.option("--shard", metavar="I/N", help="Only the I-th of N parts.")(function))


def names_argument(function: F) -> F:
    """`[NAME]...`, completed from the catalogue."""
    return click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)(function)


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of cards that begin like that, for shell completion."""
    from zoo.registry.catalog import load_catalog

    catalog = load_catalog(context.params.get("cards_dirs") or ())
    return [name for name in catalog.names if name.startswith(incomplete)]


def choose(catalog: Catalog, names: Sequence[str], everything: bool) -> list[Card | Broken]:
    """The cards of those names, or all with what is broken; a deprecated card or an alias is said on stderr.

    Raises UsageError when there is neither a name nor --all, UnknownName for a name that nothing has.
    """
    from zoo.errors import CardError

    if everything:
        return [*catalog.cards, *catalog.broken]
    if not names:
        raise UsageError("no model was named", hint="name some, or give --all")
    cards: list[Card | Broken] = []
    for name in dict.fromkeys(names):
        try:
            cards.append(find(catalog, name))
        except CardError:
            cards += [item for item in catalog.broken if item.name == name]
    return cards


def choose_part(
    catalog: Catalog,
    names: Sequence[str],
    everything: bool,
    *,
    changed_since: str | None,
    shard: str | None,
    folders: Sequence[Path],
) -> list[Card | Broken]:
    """Of the cards of those names, or of all, those that changed since a revision, and of these a part."""
    from zoo.verification import lint

    cards: list[Card | Broken]
    if changed_since is None:
        cards = choose(catalog, names, everything)
    else:
        positions, broken = lint.changed_since(catalog, changed_since, folders)
        cards = [*(catalog.cards[position] for position in positions), *broken]
    return lint.shard(cards, shard) if shard else cards


def find(catalog: Catalog, name: str) -> Card:
    """The card of that name; a deprecated card or an alias is said on stderr."""
    card = catalog.find(name)
    if name != card.name:
        click.echo(f"{name} is an alias of {card.name}", err=True)
    if card.deprecated:
        click.echo(f"{card.name} is deprecated: {card.deprecated}", err=True)
    return card


def conclude(
    verified: Iterable[Verified], format_name: str, *, options: dict[str, Any], report_file: Path | None = None
) -> NoReturn:
    """Print what was found, text as it comes, write the report where it was asked for, and exit with its code."""
    from zoo.verification.runner import as_report

    parts = [*(_print_each(verified) if format_name == "text" else verified)]
    report = as_report(parts, options=options)
    if format_name == "text":
        click.echo(_text().summary(report.findings), nl=False)
    else:
        click.echo(plugins.load("formats", format_name).render(report), nl=False)
    if report_file is not None:
        report_file.write_text(report.to_json(), encoding="utf-8")
    sys.exit(report.exit_code)


def split_commas(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """`--check a,b --check c` as (a, b, c); an option's callback."""
    return tuple(part for value in values for part in value.split(",") if part)


def parse_pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`--data NAME=VALUE`, repeated, as a mapping; an option's callback."""
    pairs = [value.partition("=") for value in values]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE")
    return {name: value for name, _, value in pairs}


def size_text(size_bytes: int | None) -> str:
    """The size in decimal units with one digit: `445.4 MB`; `?` when it is not known."""
    if size_bytes is None:
        return "?"
    return next(
        f"{size_bytes / unit:.1f} {name}" if unit > 1 else f"{size_bytes} B"
        for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
        if size_bytes >= unit or unit == 1
    )


def _print_each(verified: Iterable[Verified]) -> Iterator[Verified]:
    for result in verified:
        click.echo(_text().model(_sorted(result.findings), paint), nl=False)
        yield result


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.check, finding.key))


def paint(status: Status, text: str) -> str:
    """The word in the colour of its status, where the output has colours."""
    return click.style(text, fg=COLOURS[status.value])


def _text() -> Any:
    return plugins.load("formats", "text")

"""The contract of a command: a module that defines `command`, a click.Command, and is loaded when it is called.

The first line of the module's docstring is the command's one-line help. The body of a command is at most ten lines: it
loads the cards, calls one function of a room, prints the result and exits. This module has what several commands share:
options, reporting aliases, and printing findings. A loaded command becomes an attribute of this package, so no name here
may be a command's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import click

from zoo import plugins

if TYPE_CHECKING:
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken, Catalog
    from zoo.verification.report import Finding, Status
    from zoo.verification.runner import Verified

F = TypeVar("F", bound=Callable[..., Any])


class CommandModule(Protocol):
    """What a module in this folder offers."""

    @property
    def command(self) -> click.Command:
        """The command."""


COLOURS = {
    "ok": "green",
    "wrong": "red",
    "suspect": "yellow",
    "unknown": "magenta",
    "skipped": "cyan",
    "unclaimed": "white",
}

print_error = partial(click.echo, err=True)
"""Print a line to stderr."""


def cards_option(function: F) -> F:
    """Add `--cards DIR`, repeatable: the folders of cards to work on."""
    return click.option(
        "--cards",
        "cards_dirs",
        multiple=True,
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Use the cards in this folder instead of the shipped ones (repeatable; also: ZOO_CARDS).",
    )(function)


def all_option(function: F) -> F:
    """Add `--all`."""
    return click.option("--all", "everything", is_flag=True, help="Select all cards.")(function)


def format_option(function: F) -> F:
    """Add `--format`, with the formats of reports."""
    return click.option(
        "--format",
        "format_name",
        default="text",
        show_default=True,
        type=click.Choice(plugins.names("formats")),
        help="Format of the output.",
    )(function)


def part_options(function: F) -> F:
    """Add `--changed-since REV` and `--shard I/N`, which select a part of the cards."""
    since = click.option(
        "--changed-since",
        metavar="REV",
        help="Select the cards that changed since this git revision, and the cards that they affect.",
    )
    return since(click.option("--shard", metavar="I/N", help="Take only part I of N parts.")(function))


def names_argument(function: F) -> F:
    """Add `[NAME]...`, with shell completion of the cards' names."""
    return click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)(function)


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of cards that begin with the incomplete name, for shell completion."""
    from zoo.registry.catalog import load_catalog

    catalog = load_catalog(context.params.get("cards_dirs") or ())
    return [name for name in catalog.names if name.startswith(incomplete)]


def choose(catalog: Catalog, names: Sequence[str], everything: bool) -> list[Card | Broken]:
    """Return the cards as `selection.choose` does, and report aliases and deprecated cards on stderr."""
    from zoo.verification import selection

    return selection.choose(catalog, names, everything=everything, report_line=print_error)


def find(catalog: Catalog, name: str) -> Card:
    """Return the card as `selection.find` does, and report an alias or a deprecated card on stderr."""
    from zoo.verification import selection

    return selection.find(catalog, name, print_error)


def conclude(
    verified: Iterable[Verified], format_name: str, *, options: dict[str, Any], report_file: Path | None = None
) -> NoReturn:
    """Print the findings, text card by card, write the report to the file if there is one, and exit with its code."""
    from zoo.verification.formats import text
    from zoo.verification.runner import as_report

    parts = [*(_print_each(verified) if format_name == "text" else verified)]
    report = as_report(parts, options=options)
    if format_name == "text":
        click.echo(text.summary(report.findings), nl=False)
    else:
        click.echo(plugins.load("formats", format_name).render(report), nl=False)
    if report_file is not None:
        report_file.write_text(report.to_json(), encoding="utf-8")
    sys.exit(report.exit_code)


def split_commas(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return `--check a,b --check c` as (a, b, c); the callback of an option."""
    return tuple(part for value in values for part in value.split(",") if part)


def parse_pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return `--data NAME=VALUE`, repeated, as a mapping; the callback of an option."""
    pairs = [value.partition("=") for value in values]
    for value, (name, equals, text) in zip(values, pairs, strict=True):
        if not (name and equals and text):
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE")
    return {name: text for name, _, text in pairs}


def size_text(size_bytes: int | None) -> str:
    """Return the size in decimal units with one digit, `445.4 MB`; `?` for an unknown size."""
    if size_bytes is None:
        return "?"
    return next(
        f"{size_bytes / unit:.1f} {name}" if unit > 1 else f"{size_bytes} B"
        for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
        if size_bytes >= unit or unit == 1
    )


def counted(number: int, noun: str) -> str:
    """Return the number with the noun in singular or plural: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def paint(status: Status, text: str) -> str:
    """Return the text in the colour of the status; click removes colours where the output has none."""
    return click.style(text, fg=COLOURS[status.value])


def _print_each(verified: Iterable[Verified]) -> Iterator[Verified]:
    from zoo.verification.formats import text

    for result in verified:
        click.echo(text.model(_sorted(result.findings), paint), nl=False)
        yield result


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.check, finding.key))

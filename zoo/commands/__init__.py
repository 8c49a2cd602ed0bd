"""The contract of a command: a module that defines `command`, a click.Command, and is loaded when it is called.

The first line of the module's docstring is the command's one-line help. The body of a command is at most ten lines: it
loads the cards, calls one function of a room, prints the result and exits. This module has what several commands share:
options, reporting aliases, and printing findings. A loaded command becomes an attribute of this package, so no name here
may be a command's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import click

from zoo import plugins
from zoo.runtime.text import Lines, terminal

if TYPE_CHECKING:
    from zoo.errors import ZooError
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken, Catalog
    from zoo.verification.report import Finding, Report, Status
    from zoo.verification.runner import Verified

F = TypeVar("F", bound=Callable[..., Any])


class CommandModule(Protocol):
    """What a module in this folder offers."""

    @property
    def command(self) -> click.Command:
        """The command."""


NOT_WRITTEN = 3
"""The exit code when everything is right, but the report could not be written."""
MAX_NUMBER = 2**53 - 1
"""The largest number of an option: JSON readers keep it exactly (RFC 8259, section 6)."""
COLOURS = {
    "ok": "green",
    "wrong": "red",
    "suspect": "yellow",
    "unknown": "magenta",
    "skipped": "cyan",
    "unclaimed": "white",
}


def print_line(line: str) -> None:
    """Print a line to stdout; foreign text in it has no effect on the terminal."""
    click.echo(terminal(line))


def print_error(line: str) -> None:
    """Print a line to stderr; foreign text in it has no effect on the terminal. It is lost when stderr is full."""
    with suppress(OSError):
        click.echo(terminal(line), err=True)


def failure_text(error: ZooError, about: str = "") -> Lines:
    """Return the lines for the user about an error. about: the model that it happened to."""
    return Lines(f"zoo: {terminal(f'{about}: ') if about else ''}{error}")


class FiniteRange(click.FloatRange):
    """A number in a range. `nan`, which no range excludes, and `inf` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with the reason."""
        number: float = super().convert(value, param, ctx)
        return number if abs(number) <= MAX_NUMBER else self.fail(f"{value} is not a finite number", param, ctx)


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
    is_written = report_file is None or _write_report(report_file, report)
    sys.exit(report.exit_code if is_written else report.exit_code or NOT_WRITTEN)


def _write_report(path: Path, report: Report) -> bool:
    """Write the report to a file, and return whether that succeeded; print why when it did not."""
    try:
        path.write_text(report.without_paths().to_json(), encoding="utf-8")
    except OSError as error:
        print_error(f"zoo: {path}: cannot write the report: {error.strerror}")
        return False
    return True


def check_writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Return the path of a file to write after a long run, if that will be possible; the callback of an option."""
    if path is None:
        return None
    if not path.parent.is_dir():
        raise click.BadParameter(f"{str(path.parent)!r} is not a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{str(path)!r} is not writable")
    return path


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

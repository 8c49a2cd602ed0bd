"""Put some models beside each other, field by field."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, find, names_argument


@click.command()
@names_argument
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Columns for people, or JSON.",
)
@cards_option
def command(names: tuple[str, ...], format_name: str, cards_dirs: tuple[Path, ...]) -> None:
    """Put some models beside each other, field by field.

    An asterisk marks what differs.
    """
    from zoo import catalog, listing
    from zoo.errors import UsageError

    if not names:
        raise UsageError("no model was named", mend="name two or more: zoo compare A B")
    found = catalog.load(cards_dirs)
    click.echo(listing.compared([find(found, name) for name in names], format_name), nl=False)

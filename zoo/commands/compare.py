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
    from zoo.errors import UsageError
    from zoo.registry import tables
    from zoo.registry.catalog import load_catalog

    if not names:
        raise UsageError("no model was named", hint="name two or more: zoo compare A B")
    catalog = load_catalog(cards_dirs)
    click.echo(tables.render_comparison([find(catalog, name) for name in names], format_name), nl=False)

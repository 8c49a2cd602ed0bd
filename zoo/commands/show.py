"""Show everything in a card and in its collection."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, complete_names, find


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
@cards_option
def command(name: str, format_name: str, cards_dirs: tuple[Path, ...]) -> None:
    """Show everything in a card and in its collection."""
    from zoo.registry import tables
    from zoo.registry.catalog import load_catalog

    catalog = load_catalog(cards_dirs)
    card = find(catalog, name)
    click.echo(tables.render_card(card, catalog.collection_of(card), format_name), nl=False)

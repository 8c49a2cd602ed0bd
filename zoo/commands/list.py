"""List the models of the zoo, with what their cards claim."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option


@click.command()
@click.argument("query", required=False)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "names"]),
    default="text",
    show_default=True,
    help="A table, JSON, or the names alone.",
)
@cards_option
def command(query: str | None, format_name: str, cards_dirs: tuple[Path, ...]) -> None:
    """List the models of the zoo, with what their cards claim.

    QUERY is a part of the name.
    """
    from zoo import catalog, listing

    found = catalog.load(cards_dirs)
    rows = listing.rows(found, query or "")
    for item in found.broken:
        click.echo(f"{item.problems[0].place}: {item.problems[0].what} (zoo validate {item.name})", err=True)
    click.echo(listing.render(rows, format_name), nl=False)

"""Compare models field by field."""

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
    help="Format of the output.",
)
@cards_option
def command(names: tuple[str, ...], format_name: str, cards_dirs: tuple[Path, ...]) -> None:
    """Compare models field by field.

    Each model is a column. An asterisk marks the fields that differ.
    """
    from zoo.errors import UsageError
    from zoo.registry import tables
    from zoo.registry.catalog import load_catalog

    if not names:
        raise UsageError("no model is named", hint="name two or more models: zoo compare A B")
    catalog = load_catalog(cards_dirs)
    click.echo(tables.render_comparison([find(catalog, name) for name in names], format_name), nl=False)

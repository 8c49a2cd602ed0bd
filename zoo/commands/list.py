"""List models and what their cards claim."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, print_error, split_commas
from zoo.runtime.text import shell


@click.command()
@click.argument("query", required=False)
@click.option(
    "--where", default="", metavar="CONDITION", help='List only models that meet it: "top1 > 80 and params < 50M".'
)
@click.option("--sort", default="", metavar="FIELD", help="Sort by a field, or by -FIELD with the largest first.")
@click.option("--fields", multiple=True, callback=split_commas, metavar="FIELD,...", help="Columns to show.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "names"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
@cards_option
def command(
    query: str | None, where: str, sort: str, fields: tuple[str, ...], format_name: str, cards_dirs: tuple[Path, ...]
) -> None:
    """List models and what their cards claim.

    QUERY is a part of the name. The fields are name, collection, task, license, library, params, macs, flops, top1,
    top5, dataset, size_bytes, image_size, deprecated and where.
    """
    from zoo.registry import tables
    from zoo.registry.catalog import load_catalog

    catalog = load_catalog(cards_dirs)
    rows = tables.rows(catalog, query or "", where=where, sort=sort)
    for item in catalog.broken:
        print_error(f"{item.problems[0].place}: {item.problems[0].what} (zoo validate {shell(item.name)})")
    click.echo(tables.render(rows, format_name, fields), nl=False)

"""Write cards as documents of another format."""

from __future__ import annotations

from pathlib import Path

import click

from zoo import plugins
from zoo.commands import all_option, cards_option, find, names_argument
from zoo.runtime.text import terminal_lines


@click.command()
@names_argument
@all_option
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice([name.replace("_", "-") for name in plugins.names("dialects")]),
    help="Format of the documents.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each document to a file in this folder instead of stdout.",
)
@cards_option
def command(
    names: tuple[str, ...], everything: bool, format_name: str, folder: Path | None, cards_dirs: tuple[Path, ...]
) -> None:
    """Write cards as documents of another format.

    NAME is a model, or a collection for all its models. The export of an imported document has the same data as its
    source, if all models of the document are exported.
    """
    from zoo.conversion import exporter
    from zoo.errors import UsageError
    from zoo.registry.catalog import load_catalog

    if not names and not everything:
        raise UsageError("no model is named", hint="name models or collections, or give --all")
    catalog = load_catalog(cards_dirs)
    resolved_names = [find(catalog, name).name if ("name", name) in catalog.positions else name for name in names]
    documents = exporter.export(resolved_names, catalog, format_name)
    if folder is not None:
        click.echo(terminal_lines([*map(str, exporter.save(documents, folder)), ""]), nl=False)
    else:
        click.echo(exporter.printable("---\n".join(item.text for item in documents)), nl=False)

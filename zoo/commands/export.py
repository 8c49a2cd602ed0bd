"""Write cards as documents of another format: model-index, Hub front matter, CSV."""

from __future__ import annotations

from pathlib import Path

import click

from zoo import plugins
from zoo.commands import cards_option, find, names_argument


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice([name.replace("_", "-") for name in plugins.names("dialects")]),
    help="The format to write.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for one file a document; else to the screen.",
)
@cards_option
def command(
    names: tuple[str, ...], everything: bool, format_name: str, folder: Path | None, cards_dirs: tuple[Path, ...]
) -> None:
    """Write cards as documents of another format: model-index, Hub front matter, CSV.

    A NAME is a model's, or a family's for all of its models.
    What was imported comes back with the data of its source, each document whole where all its models are named.
    """
    from zoo.conversion import exporter
    from zoo.errors import UsageError
    from zoo.registry.catalog import load_catalog

    if not names and not everything:
        raise UsageError("no model was named", hint="name models or families, or give --all")
    catalog = load_catalog(cards_dirs)
    resolved_names = [find(catalog, name).name if ("name", name) in catalog.positions else name for name in names]
    documents = exporter.documents(resolved_names, catalog, format_name)
    if folder is not None:
        click.echo("".join(f"{path}\n" for path in exporter.save(documents, folder)), nl=False)
    else:
        click.echo("---\n".join(item.text for item in documents), nl=False)

"""Create cards from documents of other formats."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from zoo import plugins
from zoo.runtime.text import terminal_lines


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the cards."
)
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice([name.replace("_", "-") for name in plugins.names("dialects")]),
    help="Format of the files.  [default: detected for each file]",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV file of measured accuracies, in the layout of timm's results-imagenet.csv.",
)
def command(
    sources: tuple[str, ...], folder: Path, dry_run: bool, format_name: str | None, results: Path | None
) -> None:
    """Create cards from documents of other formats.

    SOURCE is a file or a folder of model-index pages, Hub model cards or CSV tables; or timm:PATTERN,
    torchvision:PATTERN or hf:ORG/NAME. Each model becomes a card. No value is lost: `zoo export` writes documents with the
    same data.
    """
    from zoo.conversion import importer

    planned = importer.plan(sources, folder, format_name=format_name, results=results)
    click.echo(terminal_lines([*map(str, planned.files), ""]), nl=False)
    click.echo(importer.describe(planned, dry_run=dry_run), nl=False, err=True)
    if not dry_run:
        importer.write_files(planned)
    sys.exit(1 if planned.problems else 0)

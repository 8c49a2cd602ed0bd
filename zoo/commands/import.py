"""Read cards from documents of other formats: model-index pages, Hub model cards, timm's and torchvision's own tables."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from zoo import plugins


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder of the new zoo."
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice([name.replace("_", "-") for name in plugins.names("dialects")]),
    help="The format of the files, where it cannot be told from them.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A CSV of measured accuracies in the layout of timm's results-imagenet.csv.",
)
def command(
    sources: tuple[str, ...], folder: Path, dry_run: bool, format_name: str | None, results: Path | None
) -> None:
    """Read cards from documents of other formats: model-index pages, Hub model cards, timm's and torchvision's own tables.

    One file a model, without losing a value: `zoo export` gives back data equal to the source.
    A SOURCE is a file, a folder, or timm:PATTERN, torchvision:PATTERN or hf:ORG/NAME.
    """
    from zoo.conversion import importer

    planned = importer.plan(sources, folder, format_name=format_name, results=results)
    click.echo("".join(f"{path}\n" for path in planned.files), nl=False)
    click.echo(importer.describe(planned, dry_run=dry_run), nl=False, err=True)
    if not dry_run:
        importer.write_files(planned)
    sys.exit(1 if planned.problems else 0)

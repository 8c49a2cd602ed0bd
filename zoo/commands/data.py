"""List data sets, and verify this machine's copies of them."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, conclude, format_option
from zoo.commands._evaluation import data_option


@click.group()
def command() -> None:
    """List data sets, and verify this machine's copies of them."""


@command.command("list")
@data_option
@cards_option
def list_command(data: dict[str, str], cards_dirs: tuple[Path, ...]) -> None:
    """List the data sets: where the copy is, or how to get one."""
    from zoo.accuracy.datasets import location
    from zoo.errors import NotHere
    from zoo.registry.catalog import load_catalog

    for dataset in load_catalog(cards_dirs).datasets:
        try:
            place = str(location(dataset, {name: Path(path) for name, path in data.items()}))
        except NotHere as error:
            place = f"not here: {error.hint}"
        click.echo(f"{dataset.name:<20} {place}")


@command.command("verify")
@click.argument("names", nargs=-1, required=True, metavar="NAME[/SPLIT]...")
@data_option
@click.option("--refresh", is_flag=True, help="Read all images again, even if they have not changed.")
@cards_option
@format_option
def verify_command(
    names: tuple[str, ...], data: dict[str, str], refresh: bool, cards_dirs: tuple[Path, ...], format_name: str
) -> None:
    """Compare copies of data sets with their cards.

    It compares the classes, the number of images, the labels and the manifest's digest, and looks for damaged images.
    """
    from zoo.models.subject import Settings
    from zoo.registry.catalog import load_catalog
    from zoo.verification import runner

    settings = Settings(data={name: Path(path) for name, path in data.items()}, refresh=refresh)
    examined = runner.examine(load_catalog(cards_dirs), names, settings)
    conclude(examined, format_name, options={"command": "data verify", "strict": False})

"""Data sets: which there are, where this machine's copies are, and whether they are right."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, conclude, format_option, parse_pairs

data_option = click.option("--data", multiple=True, callback=parse_pairs, metavar="DATASET=PATH",
                           help="Where this machine's copy of a data set is.")  # fmt: skip


@click.group()
def command() -> None:
    """Data sets: which there are, where this machine's copies are, and whether they are right."""


@command.command("list")
@data_option
@cards_option
def list_command(data: dict[str, str], cards_dirs: tuple[Path, ...]) -> None:
    """The data sets, and where this machine's copy of each is or how to get one."""
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
@click.option("--refresh", is_flag=True, help="Read images again that were read before and have not changed since.")
@cards_option
@format_option
def verify_command(
    names: tuple[str, ...], data: dict[str, str], refresh: bool, cards_dirs: tuple[Path, ...], format_name: str
) -> None:
    """Whether copies of data sets are what their cards say: classes, images, labels, damage, and the manifest's digest."""
    from zoo.models.subject import Settings
    from zoo.registry.catalog import load_catalog
    from zoo.verification import runner

    settings = Settings(data={name: Path(path) for name, path in data.items()}, refresh=refresh)
    examined = runner.examine(load_catalog(cards_dirs), names, settings)
    conclude(examined, format_name, options={"command": "data verify", "strict": False})

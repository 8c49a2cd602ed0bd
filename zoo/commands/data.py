"""List data sets, and verify this machine's copies of them."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, conclude, format_option, print_error, print_line
from zoo.commands._evaluation import data_option


@click.group()
def command() -> None:
    """List data sets, and verify this machine's copies of them."""


@command.command("list")
@data_option
@cards_option
def list_command(data: dict[str, str], cards_dirs: tuple[Path, ...]) -> None:
    """List the data sets: where the copy is, or how to get one."""
    from zoo.accuracy.datasets import place_text
    from zoo.registry.catalog import load_catalog

    catalog = load_catalog(cards_dirs)
    for dataset in catalog.datasets:
        print_line(f"{dataset.name:<20} {place_text(dataset, {name: Path(path) for name, path in data.items()})}")
    for item in catalog.broken:
        if item.kind == "dataset":
            print_error(f"{item.problems[0].place}: {item.problems[0].what}")


@command.command("verify")
@click.argument("names", nargs=-1, required=True, metavar="NAME[/SPLIT]...")
@data_option
@click.option("--refresh", is_flag=True, help="Read all images again, even if they have not changed.")
@click.option("--write", is_flag=True, help="Record missing digests in the dataset cards of your zoo.")
@cards_option
@format_option
def verify_command(
    names: tuple[str, ...],
    data: dict[str, str],
    refresh: bool,
    write: bool,
    cards_dirs: tuple[Path, ...],
    format_name: str,
) -> None:
    """Compare copies of data sets with their cards.

    It compares the classes, the number of images, the labels and the digests, and looks for damaged images.
    """
    from zoo.models.subject import Settings
    from zoo.registry.catalog import load_catalog
    from zoo.verification import record_data, runner

    catalog = load_catalog(cards_dirs)
    settings = Settings(data={name: Path(path) for name, path in data.items()}, refresh=refresh)
    examined = runner.examine(catalog, names, settings)
    if write:
        examined = record_data.record(examined, names, catalog, cards_dirs, settings, print_error)
    conclude(examined, format_name, options={"command": "data verify", "strict": False})

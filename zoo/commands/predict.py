"""Say what a model sees in images: the five most probable classes by name."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, find


@click.command()
@click.argument("name")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option("--fetch", is_flag=True, help="Download weights that are not on this machine.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0 or mps.")
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Lines for people, or JSON.")  # fmt: skip
@cards_option
def command(
    name: str, images: tuple[Path, ...], fetch: bool, device: str, format_name: str, cards_dirs: tuple[Path, ...]
) -> None:
    """Say what a model sees in images: the five most probable classes by name.

    The names are the card's, else those of the data set that its results are claimed on.
    """
    from zoo.models.subject import Settings
    from zoo.registry.catalog import load_catalog
    from zoo.verification import predict

    catalog = load_catalog(cards_dirs)
    predictions = predict.predict(find(catalog, name), catalog, Settings(fetch=fetch, device=device), images)
    click.echo(predict.render(predictions, format_name), nl=False)

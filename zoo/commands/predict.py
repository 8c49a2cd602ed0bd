"""Print the five most probable classes of images."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, complete_names, find
from zoo.commands._evaluation import code_option, device_option, fetch_option


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@fetch_option
@device_option
@code_option
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Format of the output.")  # fmt: skip
@cards_option
def command(
    name: str, images: tuple[Path, ...], fetch: bool, device: str, allow_code: bool, format_name: str,
    cards_dirs: tuple[Path, ...],
) -> None:  # fmt: skip
    """Print the five most probable classes of images.

    The names of the classes are the card's, else those of the data set that the card claims results on.
    """
    from zoo.models.subject import Settings, Subject
    from zoo.registry.catalog import Member, load_catalog
    from zoo.verification import predict

    catalog = load_catalog(cards_dirs)
    settings = Settings(fetch=fetch, device=device, allow_code=allow_code)
    predictions = predict.predict(Subject(Member(find(catalog, name), catalog), settings), images)
    click.echo(predict.render(predictions, format_name), nl=False)

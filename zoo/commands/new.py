"""Write a first card for a file of weights: params, macs, size, sha256, input and dtype are measured."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import parse_pairs


@click.command()
@click.argument("name")
@click.option(
    "--weights", required=True, metavar="FILE", type=click.Path(path_type=Path), help="The file that holds the tensors."
)
@click.option("--builder", required=True, metavar="LIBRARY:ENTRY", help="The architecture, as timm:resnet18.")
@click.option(
    "--option",
    "pairs",
    multiple=True,
    callback=parse_pairs,
    metavar="KEY=VALUE",
    help="A keyword argument of the architecture, as num_classes=10 (repeatable).",
)
def command(name: str, weights: Path, builder: str, pairs: dict[str, str]) -> None:
    """Write a first card for a file of weights: params, macs, size, sha256, input and dtype are measured.

    The card is written beside FILE, as NAME.yaml. Check it with `zoo verify NAME --cards FOLDER`.
    """
    from zoo.conversion import new_card
    from zoo.registry import edit

    library, entry = new_card.parse_builder(builder)
    text = new_card.draft(name, weights, library, entry, new_card.parse_options(pairs))
    path = weights.parent / f"{name}.yaml"
    edit.create(path, text)
    click.echo(path)
    click.echo(f"next: zoo verify {name} --cards {weights.parent}", err=True)

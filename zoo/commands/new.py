"""Create a card for a weights file, with measured values."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import parse_pairs, print_error, print_line
from zoo.runtime.text import shell


@click.command()
@click.argument("name")
@click.option("--weights", required=True, metavar="FILE", type=click.Path(path_type=Path), help="The weights file.")
@click.option("--builder", required=True, metavar="LIBRARY:ENTRY", help="The architecture, for example timm:resnet18.")
@click.option(
    "--option",
    "pairs",
    multiple=True,
    callback=parse_pairs,
    metavar="KEY=VALUE",
    help="Keyword argument of the architecture, for example num_classes=10 (repeatable).",
)
def command(name: str, weights: Path, builder: str, pairs: dict[str, str]) -> None:
    """Create a card for a weights file, with measured values.

    zoo measures parameters, multiply-adds, size, SHA-256, input size and type, and writes NAME.yaml to the folder of the
    weights file.
    """
    from zoo.conversion import new_card

    path = new_card.create(name, weights, builder=builder, options=new_card.parse_options(pairs))
    print_line(str(path))
    print_error(f"next: zoo verify {name} --cards {shell(str(weights.parent))}")

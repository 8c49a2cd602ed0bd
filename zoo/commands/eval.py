"""Evaluate models on a data set: accuracies with their intervals, in a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.commands import cards_option, find, names_argument
from zoo.commands._evaluation import settings_options, show_progress

if TYPE_CHECKING:
    from zoo.models.subject import Settings


@click.command()
@names_argument
@click.option("--on", multiple=True, metavar="DATASET[/SPLIT]", help="Evaluate on this split, not on those claimed.")
@click.option("--format", "format_name", type=click.Choice(["text", "json", "markdown"]), default="text",
              show_default=True, help="A table, or JSON.")  # fmt: skip
@settings_options
@cards_option
def command(
    names: tuple[str, ...], on: tuple[str, ...], format_name: str, settings: Settings, cards_dirs: tuple[Path, ...]
) -> None:
    """Evaluate models on a data set: accuracies with their intervals, in a table.

    The splits that a card claims results on, or those given. What is known already is not measured again. Exits with 3
    when a model could not be evaluated; `zoo verify` judges the claims.
    """
    from zoo.registry.catalog import load_catalog
    from zoo.verification import scores

    catalog = load_catalog(cards_dirs)
    cards = [find(catalog, name) for name in names]
    with show_progress(settings) as settings:
        table = [score for part in scores.scores_of(cards, catalog, settings, on) for score in part]
    click.echo(scores.render(table, format_name), nl=False)
    sys.exit(scores.exit_code(table))

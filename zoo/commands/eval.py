"""Evaluate models on data sets and print their accuracies with intervals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.commands import cards_option, names_argument, print_error
from zoo.commands._evaluation import settings_options, show_progress

if TYPE_CHECKING:
    from zoo.models.subject import Settings


@click.command()
@names_argument
@click.option("--on", multiple=True, metavar="DATASET[/SPLIT]",
              help="Evaluate on this split instead of those with claims (repeatable).")  # fmt: skip
@click.option("--format", "format_name", type=click.Choice(["text", "json", "markdown"]), default="text",
              show_default=True, help="Format of the output.")  # fmt: skip
@settings_options
@cards_option
def command(
    names: tuple[str, ...], on: tuple[str, ...], format_name: str, settings: Settings, cards_dirs: tuple[Path, ...]
) -> None:
    """Evaluate models on data sets and print their accuracies with intervals.

    By default a model is evaluated on the splits that its card claims results on. Results of earlier runs are reused.
    The exit code is 3 when a model cannot be evaluated. To compare accuracies with claims, run `zoo verify`.
    """
    from zoo.registry.catalog import load_catalog
    from zoo.verification import scores, selection

    catalog = load_catalog(cards_dirs)
    cards = selection.find_all(catalog, names, print_error)
    with show_progress(settings) as settings:
        table = [score for part in scores.scores_of(cards, catalog, settings, on) for score in part]
    click.echo(scores.render(table, format_name), nl=False)
    sys.exit(scores.exit_code(table))

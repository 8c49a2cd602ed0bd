"""Prove what cards claim: files, architecture, parameters, FLOPs, accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo import plugins
from zoo.commands import cards_option, choose, conclude, format_option, names_argument, split_commas
from zoo.commands._evaluation import described, settings_options, watched

if TYPE_CHECKING:
    from zoo.model import Settings


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@click.option(
    "--check",
    "checks",
    multiple=True,
    callback=split_commas,
    metavar="NAME,...",
    help="Only these checks: " + ", ".join(plugins.names("checks")) + ".",
)
@settings_options
@click.option("--strict", is_flag=True, help="Let skipped checks and suspicions count.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file, as JSON.",
)
@cards_option
@format_option
def command(
    names: tuple[str, ...],
    everything: bool,
    checks: tuple[str, ...],
    settings: Settings,
    strict: bool,
    report_file: Path | None,
    cards_dirs: tuple[Path, ...],
    format_name: str,
) -> None:
    """Prove what cards claim: files, architecture, parameters, FLOPs, accuracy.

    Only what was measured and agrees is shown as ok. What is known already is not measured again.
    """
    from zoo import catalog, verifying

    found = catalog.load(cards_dirs)
    options = {"command": "verify", "strict": strict, "checks": list(checks), **described(settings)}
    chosen = choose(found, names, everything)
    with watched(settings) as shown:
        verified = verifying.verify(chosen, found, shown, checks)
        conclude(verifying.kept(verified, options), format_name, options=options, report_file=report_file)

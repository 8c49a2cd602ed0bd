"""Prove what cards claim: files, architecture, parameters, FLOPs, accuracy."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo import plugins
from zoo.commands import cards_option, choose_part, conclude, format_option, names_argument, part_options, split_commas
from zoo.commands._evaluation import report_options, settings_options, show_progress

if TYPE_CHECKING:
    from zoo.models.subject import Settings


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@part_options
@click.option(
    "--check",
    "checks",
    multiple=True,
    callback=split_commas,
    metavar="NAME,...",
    help="Only these checks: " + ", ".join(plugins.names("checks")) + ".",
)
@settings_options
@click.option(
    "--remote", is_flag=True, help="Ask the files' servers for size, and types and shapes, without a download."
)
@click.option("--write", is_flag=True, help="Add to the cards what was measured and is not claimed yet.")
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
    changed_since: str | None,
    shard: str | None,
    checks: tuple[str, ...],
    settings: Settings,
    remote: bool,
    write: bool,
    strict: bool,
    report_file: Path | None,
    cards_dirs: tuple[Path, ...],
    format_name: str,
) -> None:
    """Prove what cards claim: files, architecture, parameters, FLOPs, accuracy.

    Only what was measured and agrees is shown as ok. What is known already is not measured again. --write adds
    multiply-adds, parameters, types, a fingerprint, and the convention of bare FLOPs; it never changes a claim.
    """
    from dataclasses import replace

    from zoo.registry.catalog import load_catalog, used_folders
    from zoo.verification import runner, write_back

    catalog = load_catalog(cards_dirs)
    options = {
        "command": "verify",
        "strict": strict,
        "checks": list(checks),
        "remote": remote,
        **report_options(settings),
    }
    cards = choose_part(
        catalog, names, everything, changed_since=changed_since, shard=shard, folders=used_folders(cards_dirs)
    )
    with show_progress(replace(settings, remote=remote)) as settings:
        verified = runner.verify(cards, catalog, settings, checks)
        verified = write_back.write(verified, catalog, settings, partial(click.echo, err=True)) if write else verified
        conclude(runner.store_reports(verified, options), format_name, options=options, report_file=report_file)

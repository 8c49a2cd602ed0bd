"""Verify what cards claim: files, architecture, parameters, FLOPs, accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo import plugins
from zoo.commands import (
    all_option,
    cards_option,
    check_writable,
    conclude,
    format_option,
    names_argument,
    part_options,
    print_error,
    split_commas,
)
from zoo.commands._evaluation import settings_options, show_progress

if TYPE_CHECKING:
    from zoo.models.subject import Settings


@click.command()
@names_argument
@all_option
@part_options
@click.option(
    "--check",
    "checks",
    multiple=True,
    callback=split_commas,
    metavar="NAME,...",
    help="Run only these checks: " + ", ".join(plugins.names("checks")) + ".",
)
@settings_options
@click.option(
    "--remote", is_flag=True, help="Ask the servers for the size, types and shapes of files, without a download."
)
@click.option("--write", is_flag=True, help="Add measured values to the cards that claim none.")
@click.option("--strict", is_flag=True, help="Treat skipped checks and suspect findings as failures.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_writable,
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
    """Verify what cards claim: files, architecture, parameters, FLOPs, accuracy.

    A claim is ok only if zoo measured a value that agrees. Results of earlier runs are reused. --write adds multiply-adds,
    parameters, types, a fingerprint, and the convention of FLOPs without one; it never changes a claimed value.
    """
    from dataclasses import replace

    from zoo.registry.catalog import load_catalog
    from zoo.verification import options, runner, selection, write_back

    catalog, settings = load_catalog(cards_dirs), replace(settings, remote=remote)
    described = options.describe("verify", settings, strict=strict, checks=checks)
    cards = selection.choose_part(catalog, names, cards_dirs, everything=everything, changed_since=changed_since,
                                  shard=shard, report_line=print_error)  # fmt: skip
    with show_progress(settings) as settings:
        verified = (write_back.verify_and_write(cards, catalog, settings, checks, print_error) if write
                    else runner.verify(cards, catalog, settings, checks))  # fmt: skip
        stored = runner.store_reports(verified, described)
        conclude(stored, format_name, options=described, report_file=report_file)

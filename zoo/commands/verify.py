"""Prove what cards claim: files, architecture, parameters, FLOPs, accuracy."""

from __future__ import annotations

from pathlib import Path

import click

from zoo import plugins
from zoo.commands import cards_option, choose, conclude, format_option, names_argument, parse_pairs, split_commas


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
@click.option("--fetch", is_flag=True, help="Download weights that are not on this machine.")
@click.option(
    "--data",
    multiple=True,
    callback=parse_pairs,
    metavar="DATASET=PATH",
    help="Where this machine's copy of a data set is.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0 or mps.")
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Models at a time, each in a process of its own.",
)
@click.option("--refresh", is_flag=True, help="Measure again what is known already.")
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
    fetch: bool,
    data: dict[str, str],
    device: str,
    jobs: int,
    refresh: bool,
    strict: bool,
    report_file: Path | None,
    cards_dirs: tuple[Path, ...],
    format_name: str,
) -> None:
    """Prove what cards claim: files, architecture, parameters, FLOPs, accuracy.

    Only what was measured and agrees is shown as ok. What is known already is not measured again.
    """
    from zoo import catalog, verifying
    from zoo.engines import Options
    from zoo.model import Settings

    found = catalog.load(cards_dirs)
    settings = Settings(fetch, device, {name: Path(path) for name, path in data.items()}, refresh)
    options = {"command": "verify", "strict": strict, "checks": list(checks), "fetch": fetch, "device": device}
    chosen = choose(found, names, everything)
    verified = verifying.verify(chosen, found, settings, checks, options=Options(jobs))
    conclude(verifying.kept(verified, options), format_name, options=options, report_file=report_file)

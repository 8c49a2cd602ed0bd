"""Count a model's operations under every convention, and explain a published number."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from zoo import plugins
from zoo.commands import MAX_NUMBER, cards_option, complete_names, find
from zoo.commands._evaluation import code_option


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option(
    "--explain",
    multiple=True,
    type=click.IntRange(1, MAX_NUMBER),
    metavar="NUMBER",
    help="Find the convention and the input that give exactly this number (repeatable).",
)
@click.option(
    "--input", "input_text", metavar="CxHxW", help="Input size, for example 3x224x224.  [default: the card's]"
)
@click.option(
    "--by",
    "convention",
    type=click.Choice(plugins.names("conventions")),
    default="macs",
    show_default=True,
    help="Convention of the breakdown by module and operator.",
)
@click.option(
    "--depth", type=click.IntRange(1, 1000), default=1, show_default=True, help="Depth of the modules in the breakdown."
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
@code_option
@cards_option
def command(
    name: str, explain: tuple[int, ...], input_text: str | None, convention: str, depth: int, format_name: str,
    allow_code: bool, cards_dirs: tuple[Path, ...],
) -> None:  # fmt: skip
    """Count a model's operations under every convention, and explain a published number.

    Claims without a convention are explained too; `zoo verify --write` adds the convention to the card. The exit code is
    3 when nothing can be counted.
    """
    from zoo.flops import costs
    from zoo.models.subject import Settings, Subject
    from zoo.registry.catalog import Member, load_catalog

    catalog = load_catalog(cards_dirs)
    subject = Subject(Member(find(catalog, name), catalog), Settings(allow_code=allow_code))
    shape = costs.parse_shape(input_text) if input_text else None
    report = costs.report_costs(subject, input_shape=shape, depth=depth, explain=explain)
    click.echo(costs.render(report, format_name, convention), nl=False)
    sys.exit(0 if report.costs else 3)

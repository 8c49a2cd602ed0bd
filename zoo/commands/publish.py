"""Publish verified models to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

from zoo.commands import (
    FiniteRange,
    cards_option,
    choose,
    conclude,
    failure_text,
    names_argument,
    print_error,
    print_line,
)
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.publishing.run import Publication
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken, Catalog
    from zoo.verification.report import Report

EXISTING = click.Path(path_type=Path, exists=True, dir_okay=False)
NOT_WITH_CHECK = (
    "dry_run", "report_file", "max_age", "allow", "reason", "regenerate", "pull_request", "private", "sign",
)  # fmt: skip
"""The options that only publishing reads."""


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo, or of --collection.")
@click.option(
    "--collection",
    metavar="NAME",
    help="Add the models to this family's Collection on the Hub; with --all, publish the whole family.",
)
@click.option(
    "--to",
    required=True,
    metavar="hf:ORG/REPO|folder:PATH",
    help="The destination; for several models hf:ORG, or a folder that gets a subfolder for each.",
)
@click.option("--check", is_flag=True, help="Publish nothing; check that the published files are the verified ones.")
@click.option("--dry-run", is_flag=True, help="Only show files, sizes, digests and what would change; works offline.")
@click.option("--report", "report_file", type=EXISTING, help="Use this report instead of the newest from `zoo verify`.")
@click.option(
    "--max-age",
    default=30.0,
    show_default=True,
    type=FiniteRange(0),
    metavar="DAYS",
    help="The oldest report, and evaluation in it, to accept.",
)
@click.option(
    "--allow",
    type=click.Choice(["accuracy", "flops"]),
    help="Publish without this check if it was not measured, and say so in the README; never if it is wrong.",
)
@click.option("--reason", help="The reason for --allow, for the README.")
@click.option("--regenerate", is_flag=True, help="Discard edits of the generated part of the published README.")
@click.option("--pr", "pull_request", is_flag=True, help="Open a pull request on the Hub.")
@click.option("--private", is_flag=True, help="Create the repository as private, and refuse a public one.")
@click.option("--tag", help="Tag the commit; a tag is never moved. With --check: check this tag.")
@click.option("--branch", default="main", show_default=True, help="The branch of the repository.")
@click.option("--create/--no-create", default=True, show_default=True, help="Create a missing repository or branch.")
@click.option(
    "--sign", type=EXISTING, metavar="KEY", help="Sign the release with this private key (PEM); needs the extra `sign`."
)
@click.option(
    "--signature",
    type=EXISTING,
    metavar="KEY",
    help="With --check: fail unless this public key (PEM) signed the release.",
)
@cards_option
def command(
    names: tuple[str, ...],
    everything: bool,
    collection: str | None,
    to: str,
    check: bool,
    dry_run: bool,
    report_file: Path | None,
    max_age: float,
    allow: str | None,
    reason: str | None,
    regenerate: bool,
    pull_request: bool,
    private: bool,
    tag: str | None,
    branch: str,
    create: bool,
    sign: Path | None,
    signature: Path | None,
    cards_dirs: tuple[Path, ...],
) -> None:
    """Publish verified models to a folder or to the Hugging Face Hub.

    A model needs a complete and good report of `zoo verify` about its present card and exactly these bytes. After
    publishing, sizes and digests of all files are compared with those at the destination.
    """
    from zoo.publishing import run
    from zoo.publishing.gate import Terms, parse_allowance
    from zoo.publishing.hub_repository import HubOptions
    from zoo.publishing.places import parse_place
    from zoo.registry.catalog import load_catalog

    _refuse_contradictions(check, signature)
    place = parse_place(to, HubOptions(branch, tag, private, pull_request, create))
    terms = Terms(max_age, parse_allowance(allow, reason))
    catalog = load_catalog(cards_dirs)
    cards = _choose_cards(catalog, names, everything, collection)
    if check:
        verified = run.check_published(cards, catalog, place, public_key=signature, report_progress=print_error)
        conclude(verified, "text", options={"command": "publish --check", "strict": True})
    request = run.PublishRequest(place, terms, _read_report(report_file), sign, collection, dry_run, regenerate)
    _print_and_exit(run.publish(cards, catalog, request, report_progress=print_error), len(cards))


def _refuse_contradictions(check: bool, signature: Path | None) -> None:
    """Raise UsageError for options that need --check, or that it does not read."""
    context = click.get_current_context()
    options = (item for item in context.command.params if item.name in NOT_WITH_CHECK)
    given = [item.opts[0] for item in options if _is_given(context, item)]
    if check and given:
        raise UsageError(f"cannot combine --check with {', '.join(given)}", hint="publish first, then check")
    if signature and not check:
        raise UsageError("--signature needs --check", hint="to sign a release, give --sign KEY")


def _is_given(context: click.Context, option: click.Parameter) -> bool:
    return context.get_parameter_source(option.name or "") is not ParameterSource.DEFAULT


def _choose_cards(
    catalog: Catalog, names: Sequence[str], everything: bool, collection: str | None
) -> Sequence[Card | Broken]:
    """Return the named cards, or all of the zoo or the collection; raises UsageError for one of another collection."""
    from zoo.publishing import run

    if everything and collection:
        return run.collection_cards(catalog, collection)
    cards = choose(catalog, names, everything)
    run.require_collection(cards, catalog, collection)
    return cards


def _read_report(path: Path | None) -> Report | None:
    from zoo.verification import report

    return None if path is None else report.read(path)


def _print_and_exit(publications: Iterable[Publication], cards: int) -> NoReturn:
    """Print each outcome when it is known, and a summary of several; exit with 1, else 2, else 3, else 0."""
    counts: Counter[str] = Counter()
    failed, codes = [], set()
    for publication in publications:
        _print_publication(publication)
        counts[publication.kind] += 1
        if publication.kind == "failed":
            failed.append(publication.model)
        if publication.error is not None:
            codes.add(publication.error.exit_code)
    if cards > 1:
        parts = [f"{number} {kind}" for kind, number in counts.items() if kind != "failed"]
        parts += [f"{len(failed)} not published: {', '.join(failed)}"] if failed else []
        print_line(f"{cards} models: {'; '.join(parts)}")
    sys.exit(next((code for code in (1, 2, 3) if code in codes), 0))


def _print_publication(publication: Publication) -> None:
    """Print results to stdout, messages to stderr."""
    if publication.kind == "shown":
        _print_plan(publication)
    elif publication.kind != "failed":
        changed = ", ".join(publication.changed_paths)
        outcome = f"published {changed}" if changed else "unchanged"
        print_error(f"{publication.model}: {outcome}; read back and verified")
        print_line(publication.location)
    if publication.collection_page:
        print_error(publication.collection_page)
    if publication.error is not None:
        print_error(failure_text(publication.error))


def _print_plan(publication: Publication) -> None:
    for change in publication.changes:
        print_line(f"{change.kind:8} {change.size_bytes:>13,}  {change.sha256}  {change.path}")
    for line in publication.readme_difference.splitlines():
        print_line(line)

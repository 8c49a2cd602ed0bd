"""Publish what was verified, and nothing else: to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from zoo.commands import cards_option, choose, conclude, names_argument
from zoo.errors import UsageError, ZooError
from zoo.runtime import interrupts

if TYPE_CHECKING:
    from zoo.publishing.gate import Admission
    from zoo.publishing.release import Change, Release
    from zoo.publishing.targets import Target
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken, Catalog
    from zoo.verification.report import Finding
    from zoo.verification.runner import Verified

EXISTING = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What was asked for, one field an option."""

    target: str
    collection: str | None
    dry_run: bool
    report_file: Path | None
    max_age: float | None
    allow: str | None
    reason: str | None
    pull_request: bool
    private: bool
    tag: str | None
    branch: str
    create: bool
    sign: Path | None
    signature: Path | None


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo, or of --collection.")
@click.option(
    "--collection", metavar="NAME", help="Keep a Collection of this family on the Hub; with --all, publish all of it."
)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="hf:ORG/REPO|folder:PATH",
    help="Where to; for several models hf:ORG or a folder of folders.",
)
@click.option("--check", is_flag=True, help="Publish nothing: prove that what is there is what was verified.")
@click.option("--dry-run", is_flag=True, help="Only show files, sizes, digests and what would change; works offline.")
@click.option("--report", "report_file", type=EXISTING, help="Take this report, not the newest that `zoo verify` kept.")
@click.option(
    "--max-age",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="The oldest report, and evaluation in it, to accept; 30 without this option.",
)
@click.option(
    "--allow",
    type=click.Choice(["accuracy", "flops"]),
    help="Let this check be missing, and say so in the README; never if it is wrong.",
)
@click.option("--reason", help="Why; goes into the README.")
@click.option("--pr", "pull_request", is_flag=True, help="Open a pull request on the Hub.")
@click.option("--private", is_flag=True, help="Create the repository private, and refuse a public one.")
@click.option("--tag", help="Tag the commit; a tag is never moved. With --check: look at that tag.")
@click.option("--branch", default="main", show_default=True, help="The branch of the repository.")
@click.option("--create/--no-create", default=True, show_default=True, help="Create a missing repository or branch.")
@click.option(
    "--sign", type=EXISTING, metavar="KEY", help="Sign the release with this private key (PEM); needs the extra `sign`."
)
@click.option(
    "--signature", type=EXISTING, metavar="KEY", help="With --check: fail unless it is signed by this public key (PEM)."
)
@cards_option
def command(
    names: tuple[str, ...], everything: bool, check: bool, cards_dirs: tuple[Path, ...], **options: object
) -> None:
    """Publish what was verified, and nothing else: to a folder or to the Hugging Face Hub.

    A model needs a complete and good report of `zoo verify` about its card as it is and these very bytes. What is
    published is proved afterwards: sizes and digests of all files are compared with what the place says of them.
    """
    from zoo.registry.catalog import load_catalog

    wanted = PublishOptions(**options)  # type: ignore[arg-type]  # click's names and types are those of the fields
    _refuse_contradictions(wanted, check)
    found = load_catalog(cards_dirs)
    cards = _chosen(found, names, everything, wanted)
    if check:
        conclude(_checked(cards, found, wanted), "text", options={"command": "publish --check", "strict": True})
    _publish_all(cards, found, wanted)


def _refuse_contradictions(wanted: PublishOptions, check: bool) -> None:
    """Raises UsageError for options that contradict each other or the target."""
    kind, _, rest = wanted.target.partition(":")
    hub_only = {
        "--pr": wanted.pull_request,
        "--private": wanted.private,
        "--tag": wanted.tag,
        "--branch": wanted.branch != "main",
    }
    given = [name for name, value in hub_only.items() if value]
    if kind not in ("hf", "folder") or not rest:
        raise UsageError(f"--to {wanted.target} is no place to publish to", hint="give hf:ORG/REPO or folder:PATH")
    if kind == "folder" and given:
        raise UsageError(f"{', '.join(given)} means something on the Hub only", hint="give --to hf:ORG/REPO")
    if bool(wanted.allow) != bool(wanted.reason and wanted.reason.strip()):
        raise UsageError(
            "--allow and --reason go together", hint='--allow accuracy --reason "the data set is not public"'
        )
    if wanted.signature and not check:
        raise UsageError("--signature verifies a signature: it goes with --check", hint="--sign KEY makes one")


def _chosen(found: Catalog, names: Sequence[str], everything: bool, wanted: PublishOptions) -> list[Card | Broken]:
    """The cards that were named, or all, or those of the family; one that is not of the family is a UsageError."""
    from zoo.errors import UnknownName
    from zoo.registry.card import Card

    if wanted.collection and not found.sharing("collection", wanted.collection):
        raise UnknownName("collection", wanted.collection, (item.name for item in found.collections))
    if everything and wanted.collection:
        return list(found.sharing("collection", wanted.collection))
    cards = choose(found, names, everything)
    for card in cards:
        if wanted.collection and isinstance(card, Card) and card.collection != wanted.collection:
            raise UsageError(f"{card.name} is not of the collection {wanted.collection}", where=str(card.where))
    return cards


def _publish_all(cards: Sequence[Card | Broken], found: Catalog, wanted: PublishOptions) -> NoReturn:
    """Publish one after another; what one raises stops none of the others. Exits with 1, else 3, else 0."""
    done: Counter[str] = Counter()
    failed: dict[str, int] = {}
    for card in cards:
        try:
            done[_publish(card, found, wanted, several=len(cards) > 1)] += 1
        except ZooError as error:
            interrupts.obey()
            failed[card.name] = error.exit_code
            click.echo(f"zoo: {error}", err=True)
    if len(cards) > 1:
        told = [f"{number} {word}" for word, number in done.items()]
        told += [f"{len(failed)} not published: {', '.join(failed)}"] if failed else []
        click.echo(f"{len(cards)} models: {'; '.join(told)}")
    sys.exit(next((code for code in (1, 2, 3) if code in failed.values()), 0))


def _publish(card: Card | Broken, found: Catalog, wanted: PublishOptions, *, several: bool) -> str:
    """Publish one model; `published`, `unchanged` or, in a dry run, `shown`."""
    from concurrent.futures import ThreadPoolExecutor

    from zoo.publishing import gate
    from zoo.publishing.readme import template
    from zoo.publishing.release import (
        README,
        compose_release,
        measure_files,
        readme_difference,
        released_weights,
    )

    card = _sound(card)
    place = _place(card.name, wanted, several=several)
    admission = _admitted(card, found, wanted)
    place.preflight(is_dry=wanted.dry_run)
    with ThreadPoolExecutor(max_workers=1) as reader, tempfile.TemporaryDirectory(prefix="zoo-") as temporary:
        reading = reader.submit(measure_files, card)  # hashing leaves the other core to what the README needs
        readme, _ = place.read(README), template()
        proof = gate.prove(admission, reading.result())
        source, weights = released_weights(proof, Path(temporary))
        release = compose_release(
            proof, source, weights, address=place.address, readme=readme, find_readme=place.find_readme
        )
        release = _signed(release, place, wanted)
        if wanted.dry_run:
            _show_plan(place.changes(release), readme_difference(release, readme))
            return "shown"
        return _put(place, release, admission, wanted)


def _put(place: Target, release: Release, admission: Admission, wanted: PublishOptions) -> str:
    """Put it there, into the family's Collection too, and say what was done; results go to stdout."""
    from zoo.publishing.hub import Repository

    changes = place.changes(release)
    where = place.put(
        release, title=f"{release.model}, verified {admission.report.created} by zoo {admission.report.zoo}"
    )
    changed = [change.file.path for change in changes if change.kind != "same"]
    said = f"published {', '.join(changed)}" if changed else "nothing changed, nothing was written"
    click.echo(f"{release.model}: {said}; read back and equal", err=True)
    click.echo(where)
    if wanted.collection and isinstance(place, Repository):
        family = admission.collection
        title, paper = (family.title, family.paper) if family else (None, None)
        click.echo(
            place.keep_in_collection(title or wanted.collection, (paper.title if paper else None) or ""), err=True
        )
    return "published" if changed else "unchanged"


def _admitted(card: Card, found: Catalog, wanted: PublishOptions) -> Admission:
    from zoo.publishing import gate

    report = gate.report_from(wanted.report_file, card, found.collection_of(card))
    allowance = gate.Allowance(wanted.allow, wanted.reason) if wanted.allow and wanted.reason else None
    days = gate.MAX_AGE_DAYS if wanted.max_age is None else wanted.max_age
    now, max_age = datetime.now(timezone.utc), timedelta(days=days)
    return gate.admit(card, found, report, now=now, max_age=max_age, allowance=allowance)


def _signed(release: Release, place: Target, wanted: PublishOptions) -> Release:
    """With a signature when one is wanted; one that is there already, by that key over these files, is kept."""
    from zoo.publishing import signing
    from zoo.publishing.release import (
        SIGNATURE,
        digests_of,
        with_signature,
    )

    if wanted.sign is None:
        return release
    digests = digests_of(release.files)
    there = place.read(SIGNATURE)
    if there is not None and signing.is_by(there, digests, wanted.sign):
        return with_signature(release, there)
    return with_signature(release, signing.sign(digests, wanted.sign, release.model))


def _place(name: str, wanted: PublishOptions, *, several: bool) -> Target:
    """Where that model goes: for several models the target is what holds their folders or repositories."""
    from zoo.publishing import hub
    from zoo.publishing.targets import FolderTarget

    kind, _, rest = wanted.target.partition(":")
    if kind == "folder":
        return FolderTarget(Path(rest) / name if several else Path(rest))
    if several and "/" in rest:
        raise UsageError(
            f"hf:{rest} is one repository, and there are several models", hint=f"give hf:{rest.partition('/')[0]}"
        )
    repo_id = rest if "/" in rest else f"{rest}/{name}"
    destination = hub.Destination(
        repo_id, wanted.branch, wanted.tag, wanted.private, wanted.pull_request, wanted.create
    )
    return hub.Repository(destination, tell=lambda line: click.echo(line, err=True))


def _show_plan(changes: Sequence[Change], diff: str) -> None:
    for change in changes:
        click.echo(f"{change.kind:8} {change.file.size_bytes:>13,}  {change.file.sha256}  {change.file.path}")
    click.echo(diff, nl=False)


def _sound(card: Card | Broken) -> Card:
    """The card; raises CardError when its file is none."""
    from zoo.errors import CardError
    from zoo.registry.card import Card

    if isinstance(card, Card):
        return card
    problem = card.problems[0]
    raise CardError(problem.what, where=str(problem.place), hint=problem.hint)


def _checked(cards: Sequence[Card | Broken], found: Catalog, wanted: PublishOptions) -> Iterator[Verified]:
    """What is found about each published model; that it cannot be looked at is a finding too."""
    from zoo.verification.report import Finding, Status
    from zoo.verification.runner import Verified

    for card in cards:
        try:
            yield Verified(None, _check(_sound(card), found, wanted, several=len(cards) > 1))
        except ZooError as error:
            interrupts.obey()
            status = Status.WRONG if error.exit_code == 1 else Status.UNKNOWN
            finding = Finding(
                card.name, "published", "release", status, where=error.where, reason=error.what, hint=error.hint
            )
            yield Verified(None, (finding,))


def _check(card: Card, found: Catalog, wanted: PublishOptions, *, several: bool) -> tuple[Finding, ...]:
    from zoo.publishing import audit

    place = _place(card.name, wanted, several=several)
    there = place.there()
    findings = audit.examine(card, found.collection_of(card), there, place.count_elements)
    return (*findings, audit.examine_signature(card, there, wanted.signature)) if wanted.signature else findings

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
    from zoo.publishing.readme import ReleaseAddress
    from zoo.publishing.release import Change, Release
    from zoo.publishing.targets import Preview, Session, Target
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
    names: tuple[str, ...], everything: bool, check: bool, cards_dirs: tuple[Path, ...], **values: object
) -> None:
    """Publish what was verified, and nothing else: to a folder or to the Hugging Face Hub.

    A model needs a complete and good report of `zoo verify` about its card as it is and these very bytes. What is
    published is proved afterwards: sizes and digests of all files are compared with what the place says of them.
    """
    from zoo.registry.catalog import load_catalog

    options = PublishOptions(**values)  # type: ignore[arg-type]  # click's names and types are those of the fields
    _refuse_contradictions(options, check)
    catalog = load_catalog(cards_dirs)
    cards = _choose_cards(catalog, names, everything, options)
    if check:
        conclude(_check_all(cards, catalog, options), "text", options={"command": "publish --check", "strict": True})
    _publish_all(cards, catalog, options)


def _refuse_contradictions(options: PublishOptions, check: bool) -> None:
    """Raises UsageError for options that contradict each other or the target."""
    kind, _, rest = options.target.partition(":")
    hub_only = {
        "--pr": options.pull_request,
        "--private": options.private,
        "--tag": options.tag,
        "--branch": options.branch != "main",
    }
    contradicting = [name for name, value in hub_only.items() if value]
    if kind not in ("hf", "folder") or not rest:
        raise UsageError(f"--to {options.target} is no place to publish to", hint="give hf:ORG/REPO or folder:PATH")
    if kind == "folder" and contradicting:
        raise UsageError(f"{', '.join(contradicting)} means something on the Hub only", hint="give --to hf:ORG/REPO")
    if bool(options.allow) != bool(options.reason and options.reason.strip()):
        raise UsageError(
            "--allow and --reason go together", hint='--allow accuracy --reason "the data set is not public"'
        )
    if options.signature and not check:
        raise UsageError("--signature verifies a signature: it goes with --check", hint="--sign KEY makes one")


def _choose_cards(
    catalog: Catalog, names: Sequence[str], everything: bool, options: PublishOptions
) -> list[Card | Broken]:
    """The cards that were named, or all, or those of the family; one that is not of the family is a UsageError."""
    from zoo.errors import UnknownName
    from zoo.registry.card import Card

    if options.collection and not catalog.sharing("collection", options.collection):
        raise UnknownName("collection", options.collection, (item.name for item in catalog.collections))
    if everything and options.collection:
        return list(catalog.sharing("collection", options.collection))
    cards = choose(catalog, names, everything)
    for card in cards:
        if options.collection and isinstance(card, Card) and card.collection != options.collection:
            raise UsageError(f"{card.name} is not of the collection {options.collection}", where=str(card.where))
    return cards


def _publish_all(cards: Sequence[Card | Broken], catalog: Catalog, options: PublishOptions) -> NoReturn:
    """Publish one after another; what one raises stops none of the others. Exits with 1, else 3, else 0."""
    outcomes: Counter[str] = Counter()
    failed: dict[str, int] = {}
    for card in cards:
        try:
            outcomes[_publish(card, catalog, options, several=len(cards) > 1)] += 1
        except ZooError as error:
            interrupts.raise_if_interrupted()
            failed[card.name] = error.exit_code
            click.echo(f"zoo: {error}", err=True)
    if len(cards) > 1:
        parts = [f"{number} {outcome}" for outcome, number in outcomes.items()]
        parts += [f"{len(failed)} not published: {', '.join(failed)}"] if failed else []
        click.echo(f"{len(cards)} models: {'; '.join(parts)}")
    sys.exit(next((code for code in (1, 2, 3) if code in failed.values()), 0))


def _publish(card: Card | Broken, catalog: Catalog, options: PublishOptions, *, several: bool) -> str:
    """Publish one model; `published`, `unchanged` or, in a dry run, `shown`."""
    from zoo.publishing.release import readme_difference

    card = _require_card(card)
    target = _target(card.name, options, several=several)
    admission = _admit(card, catalog, options)
    with tempfile.TemporaryDirectory(prefix="zoo-") as temporary:
        if options.dry_run:
            preview = target.preview()
            release, readme = _compose(admission, target.address, preview, options, Path(temporary))
            _print_plan(preview.changes(release), readme_difference(release, readme))
            return "shown"
        session = target.preflight()
        release, _ = _compose(admission, target.address, session, options, Path(temporary))
        return _put(session, release, admission, options)


def _compose(
    admission: Admission, address: ReleaseAddress, preview: Preview, options: PublishOptions, folder: Path
) -> tuple[Release, bytes | None]:
    """Return the release, signed when that is asked for, and the README that was published before."""
    from concurrent.futures import ThreadPoolExecutor

    from zoo.publishing import gate
    from zoo.publishing.readme import template
    from zoo.publishing.release import README, compose_release, measure_files, released_weights

    with ThreadPoolExecutor(max_workers=1) as reader:
        reading = reader.submit(measure_files, admission.card)  # hashing leaves the other core to what the README needs
        readme, _ = preview.read(README), template()
        proof = gate.prove(admission, reading.result())
        source, weights = released_weights(proof, folder)
        release = compose_release(
            proof, source, weights, address=address, readme=readme, find_readme=preview.find_readme
        )
        return _sign(release, preview, options), readme


def _put(session: Session, release: Release, admission: Admission, options: PublishOptions) -> str:
    """Put it there, into the family's Collection too, and say what was done; results go to stdout."""
    from zoo.publishing.hub_push import HubSession

    changes = session.changes(release)
    location = session.put(
        release, title=f"{release.model}, verified {admission.report.created} by zoo {admission.report.zoo}"
    )
    changed = [change.file.path for change in changes if change.kind != "same"]
    outcome = f"published {', '.join(changed)}" if changed else "nothing changed, nothing was written"
    click.echo(f"{release.model}: {outcome}; read back and equal", err=True)
    click.echo(location)
    if options.collection and isinstance(session, HubSession):
        family = admission.collection
        title, paper = (family.title, family.paper) if family else (None, None)
        click.echo(
            session.add_to_collection(title or options.collection, (paper.title if paper else None) or ""), err=True
        )
    return "published" if changed else "unchanged"


def _admit(card: Card, catalog: Catalog, options: PublishOptions) -> Admission:
    from zoo.publishing import gate

    report = gate.report_from(options.report_file, card, catalog.collection_of(card))
    allowance = gate.Allowance(options.allow, options.reason) if options.allow and options.reason else None
    days = gate.MAX_AGE_DAYS if options.max_age is None else options.max_age
    now, max_age = datetime.now(timezone.utc), timedelta(days=days)
    return gate.admit(card, catalog, report, now=now, max_age=max_age, allowance=allowance)


def _sign(release: Release, preview: Preview, options: PublishOptions) -> Release:
    """With a signature when one is wanted; one that is there already, by that key over these files, is kept."""
    from zoo.publishing import signing
    from zoo.publishing.release import SIGNATURE, digests_of, with_signature

    if options.sign is None:
        return release
    digests = digests_of(release.files)
    signature = preview.read(SIGNATURE)
    if signature is not None and signing.is_by(signature, digests, options.sign):
        return with_signature(release, signature)
    return with_signature(release, signing.sign(digests, options.sign, release.model))


def _target(name: str, options: PublishOptions, *, several: bool) -> Target:
    """Where that model goes: for several models the target is what holds their folders or repositories."""
    from zoo.publishing.hub import HubTarget
    from zoo.publishing.hub_repository import Destination
    from zoo.publishing.targets import FolderTarget

    kind, _, rest = options.target.partition(":")
    if kind == "folder":
        return FolderTarget(Path(rest) / name if several else Path(rest))
    if several and "/" in rest:
        raise UsageError(
            f"hf:{rest} is one repository, and there are several models", hint=f"give hf:{rest.partition('/')[0]}"
        )
    repo_id = rest if "/" in rest else f"{rest}/{name}"
    destination = Destination(
        repo_id, options.branch, options.tag, options.private, options.pull_request, options.create
    )
    return HubTarget(destination, report_progress=lambda line: click.echo(line, err=True))


def _print_plan(changes: Sequence[Change], diff: str) -> None:
    for change in changes:
        click.echo(f"{change.kind:8} {change.file.size_bytes:>13,}  {change.file.sha256}  {change.file.path}")
    click.echo(diff, nl=False)


def _require_card(card: Card | Broken) -> Card:
    """The card; raises CardError when its file is none."""
    from zoo.errors import CardError
    from zoo.registry.card import Card

    if isinstance(card, Card):
        return card
    problem = card.problems[0]
    raise CardError(problem.what, where=str(problem.place), hint=problem.hint)


def _check_all(cards: Sequence[Card | Broken], catalog: Catalog, options: PublishOptions) -> Iterator[Verified]:
    """What is found about each published model; that it cannot be looked at is a finding too."""
    from zoo.verification.report import Finding, Status
    from zoo.verification.runner import Verified

    for card in cards:
        try:
            yield Verified(None, _check(_require_card(card), catalog, options, several=len(cards) > 1))
        except ZooError as error:
            interrupts.raise_if_interrupted()
            status = Status.WRONG if error.exit_code == 1 else Status.UNKNOWN
            finding = Finding(
                card.name, "published", "release", status, where=error.where, reason=error.what, hint=error.hint
            )
            yield Verified(None, (finding,))


def _check(card: Card, catalog: Catalog, options: PublishOptions, *, several: bool) -> tuple[Finding, ...]:
    from zoo.publishing import audit

    target = _target(card.name, options, several=several)
    published_files = target.published_files()
    findings = audit.examine(card, catalog.collection_of(card), published_files, target.count_elements)
    if options.signature is None:
        return findings
    return (*findings, audit.examine_signature(card, published_files, options.signature))

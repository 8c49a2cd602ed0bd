"""Publish models one after another, and check published ones: what `zoo publish` and the Python API call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from zoo.errors import CardError, UnknownName, UsageError, ZooError
from zoo.publishing import audit, gate, signing
from zoo.publishing.gate import Admission, Terms
from zoo.publishing.hub_push import HubSession
from zoo.publishing.places import Place
from zoo.publishing.readme import ReleaseAddress, template
from zoo.publishing.release import (
    README,
    SIGNATURE,
    Change,
    Release,
    compose_release,
    digests_of,
    measure_files,
    readme_difference,
    released_weights,
    with_signature,
)
from zoo.publishing.targets import Preview, Session, Target
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, Catalog, Member
from zoo.runtime import interrupts
from zoo.runtime.text import visible
from zoo.verification.report import Finding, Report, Status
from zoo.verification.runner import Verified

ReportProgress = Callable[[str], None]
"""Called with each message about what a target waits for or could not read."""


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What to publish, where to, and on which terms.

    report: the report to use instead of the newest stored one. signing_key: a private key (PEM) to sign the release
    with. collection: the family that every card must belong to; on the Hub, its Collection gets each model. dry_run:
    compose and compare each release, but change nothing. regenerate: discard edits of the generated part of a published
    README, which otherwise are an error.
    """

    place: Place
    terms: Terms = field(default_factory=Terms)
    report: Report | None = None
    signing_key: Path | None = None
    collection: str | None = None
    dry_run: bool = False
    regenerate: bool = False


@dataclass(frozen=True, slots=True)
class FileChange:
    """What publishing does to one file: `new`, `changed`, `same`, or `unknown` where the target could not be read."""

    path: str
    kind: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Publication:
    """The outcome for one model.

    kind: `shown` is a dry run; `unchanged` means that the target had the release already. location: the folder, or the
    web page of the commit or pull request; empty for `shown` and `failed`. changes: all files of the release.
    readme_difference: a unified diff, for `shown`. collection_page: the Hub's Collection that got the model. error: why
    publishing failed, or why the published model could not be added to the Collection.
    """

    model: str
    kind: Literal["published", "unchanged", "shown", "failed"]
    location: str = ""
    changes: tuple[FileChange, ...] = ()
    readme_difference: str = ""
    collection_page: str = ""
    error: ZooError | None = None

    @property
    def changed_paths(self) -> tuple[str, ...]:
        """The paths of the files that are not the same as before."""
        return tuple(change.path for change in self.changes if change.kind != "same")


def publish(
    cards: Sequence[Card | Broken],
    catalog: Catalog,
    request: PublishRequest,
    *,
    report_progress: ReportProgress = lambda line: None,
) -> Iterator[Publication]:
    """Publish the cards' models one after another; yield the outcome of each when it is known.

    Raises UsageError, before the first model, when the request does not fit the cards. What one model raises is in its
    outcome and does not stop the others.
    """
    require_collection(cards, catalog, request.collection)
    if len(cards) > 1:
        request.place.refuse_several()
    return _publish_each(cards, catalog, request, report_progress)


def check_published(
    cards: Sequence[Card | Broken],
    catalog: Catalog,
    place: Place,
    *,
    public_key: Path | None = None,
    report_progress: ReportProgress = lambda line: None,
) -> Iterator[Verified]:
    """Check the cards' published releases one after another; yield the findings about each.

    public_key: also check that the releases are signed by this key (PEM). A release that cannot be read is a finding
    too. Raises UsageError, before the first check, when the place does not fit the cards.
    """
    if len(cards) > 1:
        place.refuse_several()
    return _check_each(cards, catalog, place, public_key, report_progress)


def collection_cards(catalog: Catalog, name: str) -> tuple[Card, ...]:
    """Return all cards of a collection; raises UnknownName when the catalogue does not have it."""
    cards = catalog.sharing("collection", name)
    if not cards:
        raise UnknownName("collection", name, (item.name for item in catalog.collections))
    return cards


def require_collection(cards: Iterable[Card | Broken], catalog: Catalog, name: str | None) -> None:
    """Raise UsageError when a card does not belong to the collection, UnknownName when that does not exist."""
    if name is None:
        return
    collection_cards(catalog, name)
    for card in cards:
        if isinstance(card, Card) and card.collection != name:
            raise UsageError(f"{card.name} does not belong to the collection {name}", where=str(card.where))


# --- publishing ---------------------------------------------------------------------------------------------------


def _publish_each(
    cards: Sequence[Card | Broken], catalog: Catalog, request: PublishRequest, report_progress: ReportProgress
) -> Iterator[Publication]:
    for card in cards:
        try:
            member = _require_member(card, catalog)
            target = request.place.target(card.name, is_one_of_several=len(cards) > 1, report_progress=report_progress)
            publication = _publish(member, target, request)
        except ZooError as error:
            interrupts.raise_if_interrupted()
            publication = Publication(card.name, "failed", error=error)
        yield publication


def _require_member(card: Card | Broken, catalog: Catalog) -> Member:
    """Return the card with its catalogue; raises CardError when its file is not a valid card."""
    if isinstance(card, Card):
        return Member(card, catalog)
    problem = card.problems[0]
    raise CardError(problem.what, where=str(problem.place), hint=problem.hint)


def _publish(member: Member, target: Target, request: PublishRequest) -> Publication:
    """Publish one model: first judge the report, then contact the target, and only then read the weights."""
    report = request.report or gate.newest_report(member)
    admission = gate.admit(member, report, request.terms, now=datetime.now(timezone.utc))
    with tempfile.TemporaryDirectory(prefix="zoo-") as temporary:
        if request.dry_run:
            preview = target.preview()
            release, readme = _compose(admission, target.address, preview, request, Path(temporary))
            changes = _file_changes(preview.changes(release))
            difference = readme_difference(release, readme)
            return Publication(member.card.name, "shown", changes=changes, readme_difference=difference)
        session = target.preflight()
        release, _ = _compose(admission, target.address, session, request, Path(temporary))
        return _put(release, session, admission, request)


def _compose(
    admission: Admission, address: ReleaseAddress, preview: Preview, request: PublishRequest, folder: Path
) -> tuple[Release, bytes | None]:
    """Return the release, signed on request, and the published README. The weights that are published go into `folder`."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        # Copying and hashing release the GIL: the README is prepared meanwhile.
        reading = reader.submit(measure_files, admission.card, folder)
        readme, _ = preview.read(README), template()
        proof = gate.prove(admission, reading.result())
    weights = released_weights(proof, folder)
    release = compose_release(
        proof, weights, address=address, readme=readme, find_readme=preview.find_readme, regenerate=request.regenerate
    )
    return (release if request.signing_key is None else _sign(release, preview, request.signing_key)), readme


def _sign(release: Release, preview: Preview, key: Path) -> Release:
    """Sign the release. A published signature by the same key over the same files is kept, so that nothing changes."""
    digests = digests_of(release.files)
    signature = preview.read(SIGNATURE)
    if signature is not None and signing.is_by(signature, digests, key):
        return with_signature(release, signature)
    return with_signature(release, signing.sign(digests, key, release.model))


def _put(release: Release, session: Session, admission: Admission, request: PublishRequest) -> Publication:
    """Write the release, and add it to the Hub's Collection if the request names one."""
    changes = _file_changes(session.changes(release))
    report = admission.report
    location = session.put(release, title=f"{release.model}, verified {report.created} by zoo {report.zoo}")
    is_changed = any(change.kind != "same" for change in changes)
    publication = Publication(release.model, "published" if is_changed else "unchanged", location, changes)
    if request.collection is None or not isinstance(session, HubSession):
        return publication
    try:
        page = _add_to_collection(session, admission, request.collection)
    except ZooError as error:
        interrupts.raise_if_interrupted()
        return replace(publication, error=error)
    return replace(publication, collection_page=page)


def _add_to_collection(session: HubSession, admission: Admission, name: str) -> str:
    """Add the published model to the Hub's Collection of its family; return the Collection's page."""
    family = admission.collection
    paper_title = family.paper.title if family and family.paper else None
    description = f"From the card, not measured: {visible(paper_title)}" if paper_title else ""
    return session.add_to_collection(visible((family.title if family else None) or name), description)


def _file_changes(changes: Iterable[Change]) -> tuple[FileChange, ...]:
    return tuple(
        FileChange(change.file.path, change.kind, change.file.size_bytes, change.file.sha256) for change in changes
    )


# --- checking -----------------------------------------------------------------------------------------------------


def _check_each(
    cards: Sequence[Card | Broken],
    catalog: Catalog,
    place: Place,
    public_key: Path | None,
    report_progress: ReportProgress,
) -> Iterator[Verified]:
    for card in cards:
        try:
            member = _require_member(card, catalog)
            target = place.target(card.name, is_one_of_several=len(cards) > 1, report_progress=report_progress)
            findings = _check(member, target, public_key)
        except ZooError as error:
            interrupts.raise_if_interrupted()
            findings = (_failure(card.name, error),)
        yield Verified(None, findings)


def _check(member: Member, target: Target, public_key: Path | None) -> tuple[Finding, ...]:
    published_files = target.published_files()
    findings = audit.examine(member, published_files, target.count_elements)
    if public_key is None:
        return findings
    return (*findings, audit.examine_signature(member.card, published_files, public_key))


def _failure(model: str, error: ZooError) -> Finding:
    """Return the finding about a release that could not be checked."""
    status = Status.WRONG if error.exit_code == 1 else Status.UNKNOWN
    return Finding(model, "published", "release", status, where=error.where, reason=error.what, hint=error.hint)

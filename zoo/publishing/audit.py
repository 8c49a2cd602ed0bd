"""Check a published release against its own statement, the card as it is now, and its signature.

Nothing of this machine but the card is needed, and no weights are read: a place tells digests, the header of the weights
how many numbers they hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import WrongContent
from zoo.models.facts import Value
from zoo.publishing import signing
from zoo.publishing.merge import is_as_generated
from zoo.publishing.release import (
    PREDICATE_TYPE,
    README,
    SIGNATURE,
    STATEMENT,
    STATEMENT_TYPE,
    WEIGHTS,
    PublishedFile,
    digests_of,
)
from zoo.registry.card import Card, Collection, card_sha256
from zoo.registry.schema import violations
from zoo.verification.report import Finding, Status, in_present_format

UNCOVERED_WEIGHTS = frozenset(
    (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".npz")
)
"""What loaders look for besides model.safetensors (timm/models/_hub.py 1.0.31; transformers 5.23, utils/__init__.py)."""


def examine(
    card: Card,
    collection: Collection | None,
    published_files: Mapping[str, PublishedFile],
    count_elements: Callable[[], int],
) -> tuple[Finding, ...]:
    """What a published release says of itself against what is there: each file, the report, the card as it is now.

    count_elements: how many numbers the header of the published weights announces. Nothing of this machine but the card
    is needed. A README that was edited around its generated part is as good; other weights beside it are suspect.
    """
    make_finding = _FindingMaker(card)
    statement = _published_statement(published_files)
    if statement is None:
        hint = f"publish again: zoo publish {card.name} --to ..."
        reason = "there is no statement that could be checked"
        return (make_finding(STATEMENT, Status.WRONG, reason=reason, hint=hint),)
    digests = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    findings = [
        _examine_file(make_finding, path, sha256, published_files.get(path)) for path, sha256 in sorted(digests.items())
    ]
    findings += _examine_report(make_finding, card, card_sha256(card, collection), statement["predicate"], digests)
    if WEIGHTS in published_files:
        findings.append(_examine_header(make_finding, statement["predicate"], count_elements()))
    for path in sorted(set(published_files) - set(digests)):
        if Path(path).suffix in UNCOVERED_WEIGHTS:
            findings.append(
                make_finding(path, Status.SUSPECT, reason="weights that the report says nothing of", hint="remove them")
            )
    return tuple(findings)


def examine_signature(card: Card, published_files: Mapping[str, PublishedFile], key: Path) -> Finding:
    """Whether the published files are signed, all of them, by that public key; without a signature the answer is wrong."""
    make_finding = _FindingMaker(card)
    signature = published_files[SIGNATURE].content if SIGNATURE in published_files else None
    if signature is None:
        reason = "the release is not signed"
        return make_finding(SIGNATURE, Status.WRONG, reason=reason, hint="publish again with --sign")
    try:
        signing.verify(signature, digests_of_release(published_files), key)
    except WrongContent as error:
        return make_finding(SIGNATURE, Status.WRONG, reason=error.what, hint=error.hint)
    return make_finding(SIGNATURE, Status.OK, measured=key.name)


def digests_of_release(published_files: Mapping[str, PublishedFile]) -> dict[str, str]:
    """Path to SHA-256 of the published files that belong to the release, as they are there: what a signature must cover.

    Raises WrongContent when there is no statement that says which they are, or one of them is missing.
    """
    statement = _published_statement(published_files)
    if statement is None:
        raise WrongContent(f"there is no {STATEMENT} that says what was published", hint="publish again with --sign")
    names = {STATEMENT, *(item["name"] for item in statement["subject"])}
    missing = sorted(names - set(published_files))
    if missing:
        raise WrongContent(f"{', '.join(missing)} of the release is missing", hint="publish again")
    return digests_of(published_files[name] for name in names)


@dataclass(frozen=True, slots=True)
class _FindingMaker:
    """Makes the findings about a published release."""

    card: Card

    def __call__(
        self,
        key: str,
        status: Status,
        *,
        claimed: Value = None,
        measured: Value = None,
        reason: str = "",
        hint: str = "",
    ) -> Finding:
        where = str(self.card.where)
        return Finding(
            self.card.name, "published", key, status, claimed, measured, where=where, reason=reason, hint=hint
        )


def _published_statement(published_files: Mapping[str, PublishedFile]) -> dict[str, Any] | None:
    """The statement, if it is one of ours and holds a report."""
    content = published_files[STATEMENT].content if STATEMENT in published_files else None
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        data = json.loads(content or b"")
        names = [(item["name"], item["digest"]["sha256"]) for item in data["subject"]]
        report = in_present_format(data["predicate"])
        predicate_type = f"{PREDICATE_TYPE}{data['predicate']['report']}"
        is_ours = (data["_type"], data["predicateType"]) == (STATEMENT_TYPE, predicate_type)
        if is_ours and names and not violations(report, "report"):
            return {**data, "predicate": report}
    return None


def _examine_file(make_finding: _FindingMaker, path: str, sha256: str, file: PublishedFile | None) -> Finding:
    if file is None:
        reason = "the file is not there"
        return make_finding(path, Status.WRONG, claimed=sha256, reason=reason, hint="publish again")
    if file.sha256 == sha256:
        return make_finding(path, Status.OK, claimed=sha256, measured=file.sha256)
    if path == README and file.content is not None and is_as_generated(file.content.decode(errors="replace")):
        reason = "text around the generated part was edited since"
        return make_finding(path, Status.OK, claimed=sha256, measured=file.sha256, reason=reason)
    reason = "the file is not what was published"
    hint = "publish again"
    return make_finding(path, Status.WRONG, claimed=sha256, measured=file.sha256, reason=reason, hint=hint)


def _examine_report(
    make_finding: _FindingMaker, card: Card, card_sha256: str, report: Mapping[str, Any], digests: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether the published report is about the card as it is now, and about its weights."""
    subject = next((item for item in report["subjects"] if item["model"] == card.name), None)
    published = subject["card_sha256"] if subject else None
    same = published == card_sha256
    hint = f"zoo verify {card.name} --fetch, then publish again"
    reason = "" if same else "the report is not about the card as it is now"
    yield make_finding(
        "card",
        Status.OK if same else Status.WRONG,
        claimed=card_sha256,
        measured=published,
        reason=reason,
        hint=hint * (not same),
    )
    measured = {item["file"]: item["sha256"] for item in subject["weights"]} if subject else {}
    for weights in card.weights:
        sha256, claimed = measured.get(weights.file), weights.sha256
        right = sha256 is not None and claimed is not None and sha256.startswith(claimed)
        reason = "" if right else "the report is about other bytes than the card's"
        yield make_finding(
            weights.file,
            Status.OK if right else Status.WRONG,
            claimed=claimed,
            measured=sha256,
            reason=reason,
            hint=hint * (not right),
        )


def _examine_header(make_finding: _FindingMaker, report: Mapping[str, Any], elements: int) -> Finding:
    """The numbers that the published weights hold, against the parameters and buffers that were counted."""
    params: Mapping[str, Any] = next(
        (item for item in report["findings"] if (item["check"], item["key"]) == ("params", "params")), {}
    )
    buffers = params.get("evidence", {}).get("buffers")
    if params.get("measured") is None or buffers is None:
        return make_finding(
            "elements", Status.UNKNOWN, measured=elements, reason="the report does not say how many there should be"
        )
    least, most = params["measured"], params["measured"] + buffers  # counters that only training reads may be missing
    reason = f"the header holds {elements:,} numbers, the model {least:,} parameters and {buffers:,} in buffers"
    if elements < least:
        return make_finding("elements", Status.WRONG, claimed=least, measured=elements, reason=reason)
    status = Status.OK if elements <= most else Status.SUSPECT
    return make_finding("elements", status, claimed=least, measured=elements, reason=reason)

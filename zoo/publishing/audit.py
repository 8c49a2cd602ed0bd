"""What is there -> findings: a published release against its own statement, the card as it is now, and its signature.

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
from zoo.verification.report import Finding, Status

UNCOVERED_WEIGHTS = frozenset(
    (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".npz")
)
"""What loaders look for besides model.safetensors (timm/models/_hub.py 1.0.31; transformers 5.23, utils/__init__.py)."""


def examine(
    card: Card, collection: Collection | None, there: Mapping[str, PublishedFile], count_elements: Callable[[], int]
) -> tuple[Finding, ...]:
    """What a published release says of itself against what is there: each file, the report, the card as it is now.

    count_elements: how many numbers the header of the published weights announces. Nothing of this machine but the card
    is needed. A README that was edited around its generated part is as good; other weights beside it are suspect.
    """
    told = _FindingMaker(card)
    statement = _published_statement(there)
    if statement is None:
        hint = f"publish again: zoo publish {card.name} --to ..."
        return (told(STATEMENT, Status.WRONG, reason="there is no statement that could be checked", hint=hint),)
    digests = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    findings = [_examined(told, path, sha256, there.get(path)) for path, sha256 in sorted(digests.items())]
    findings += _examined_report(told, card, card_sha256(card, collection), statement["predicate"], digests)
    if WEIGHTS in there:
        findings.append(_examined_header(told, statement["predicate"], count_elements()))
    for path in sorted(set(there) - set(digests)):
        if Path(path).suffix in UNCOVERED_WEIGHTS:
            findings.append(
                told(path, Status.SUSPECT, reason="weights that the report says nothing of", hint="remove them")
            )
    return tuple(findings)


def examine_signature(card: Card, there: Mapping[str, PublishedFile], key: Path) -> Finding:
    """Whether the published files are signed, all of them, by that public key; without a signature the answer is wrong."""
    told, signature = _FindingMaker(card), there[SIGNATURE].content if SIGNATURE in there else None
    if signature is None:
        return told(SIGNATURE, Status.WRONG, reason="the release is not signed", hint="publish again with --sign")
    try:
        signing.verify(signature, released(there), key)
    except WrongContent as error:
        return told(SIGNATURE, Status.WRONG, reason=error.what, hint=error.hint)
    return told(SIGNATURE, Status.OK, measured=key.name)


def released(there: Mapping[str, PublishedFile]) -> dict[str, str]:
    """Path to SHA-256 of the published files that belong to the release, as they are there: what a signature must cover.

    Raises WrongContent when there is no statement that says which they are, or one of them is missing.
    """
    statement = _published_statement(there)
    if statement is None:
        raise WrongContent(f"there is no {STATEMENT} that says what was published", hint="publish again with --sign")
    names = {STATEMENT, *(item["name"] for item in statement["subject"])}
    missing = sorted(names - set(there))
    if missing:
        raise WrongContent(f"{', '.join(missing)} of the release is missing", hint="publish again")
    return digests_of(there[name] for name in names)


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


def _published_statement(there: Mapping[str, PublishedFile]) -> dict[str, Any] | None:
    """The statement, if it is one of ours and holds a report."""
    content = there[STATEMENT].content if STATEMENT in there else None
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        data = json.loads(content or b"")
        names = [(item["name"], item["digest"]["sha256"]) for item in data["subject"]]
        is_ours = (data["_type"], data["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
        if is_ours and names and not violations(data["predicate"], "report"):
            return dict(data)
    return None


def _examined(told: _FindingMaker, path: str, sha256: str, there: PublishedFile | None) -> Finding:
    if there is None:
        return told(path, Status.WRONG, claimed=sha256, reason="the file is not there", hint="publish again")
    if there.sha256 == sha256:
        return told(path, Status.OK, claimed=sha256, measured=there.sha256)
    if path == README and there.content is not None and is_as_generated(there.content.decode(errors="replace")):
        reason = "text around the generated part was edited since"
        return told(path, Status.OK, claimed=sha256, measured=there.sha256, reason=reason)
    reason = "the file is not what was published"
    return told(path, Status.WRONG, claimed=sha256, measured=there.sha256, reason=reason, hint="publish again")


def _examined_report(
    told: _FindingMaker, card: Card, card_sha256: str, report: Mapping[str, Any], digests: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether the published report is about the card as it is now, and about its weights."""
    subject = next((item for item in report["subjects"] if item["model"] == card.name), None)
    published = subject["card_sha256"] if subject else None
    same = published == card_sha256
    hint = f"zoo verify {card.name} --fetch, then publish again"
    reason = "" if same else "the report is not about the card as it is now"
    yield told(
        "card",
        Status.OK if same else Status.WRONG,
        claimed=card_sha256,
        measured=published,
        reason=reason,
        hint=hint * (not same),
    )
    measured = {item["file"]: item["sha256"] for item in subject["weights"]} if subject else {}
    for weights in card.weights:
        found, claimed = measured.get(weights.file), weights.sha256
        right = found is not None and claimed is not None and found.startswith(claimed)
        reason = "" if right else "the report is about other bytes than the card's"
        yield told(
            weights.file,
            Status.OK if right else Status.WRONG,
            claimed=claimed,
            measured=found,
            reason=reason,
            hint=hint * (not right),
        )


def _examined_header(told: _FindingMaker, report: Mapping[str, Any], elements: int) -> Finding:
    """The numbers that the published weights hold, against the parameters and buffers that were counted."""
    params: Mapping[str, Any] = next(
        (item for item in report["findings"] if (item["check"], item["key"]) == ("params", "params")), {}
    )
    buffers = params.get("evidence", {}).get("buffers")
    if params.get("measured") is None or buffers is None:
        return told(
            "elements", Status.UNKNOWN, measured=elements, reason="the report does not say how many there should be"
        )
    least, most = params["measured"], params["measured"] + buffers  # counters that only training reads may be missing
    reason = f"the header holds {elements:,} numbers, the model {least:,} parameters and {buffers:,} in buffers"
    if elements < least:
        return told("elements", Status.WRONG, claimed=least, measured=elements, reason=reason)
    status = Status.OK if elements <= most else Status.SUSPECT
    return told("elements", status, claimed=least, measured=elements, reason=reason)

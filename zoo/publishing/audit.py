"""Check a published release against its own statement, the card in its present form, and its signature.

This needs only the card, and reads no weights: the target gives digests, and the header of the weights the number of
elements.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import Refused, WrongContent
from zoo.models.facts import Value
from zoo.publishing import signing
from zoo.publishing.merge import is_as_generated
from zoo.publishing.recomputation import altered_numbers
from zoo.publishing.release import (
    GENERATED_SHA256,
    PREDICATE_TYPE,
    README,
    SIGNATURE,
    STATEMENT,
    STATEMENT_TYPE,
    WEIGHTS,
    PublishedFile,
    digests_of,
)
from zoo.registry.card import Card
from zoo.registry.catalog import Member
from zoo.registry.schema import violations
from zoo.runtime.json_form import is_count, is_plain, is_text
from zoo.verification.report import Finding, Status, from_json, in_present_format

UNCOVERED_WEIGHTS = frozenset(
    (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".npz")
)
"""The suffixes of other files that loaders look for (timm/models/_hub.py 1.0.31; transformers 5.23,
utils/__init__.py)."""


def examine(
    member: Member, published_files: Mapping[str, PublishedFile], count_elements: Callable[[], int]
) -> tuple[Finding, ...]:
    """Compare a release with its own statement, file by file, and its report with the card in its present form.

    count_elements: returns the number of elements in the header of the published weights. A README that was edited
    outside its generated part is ok; weights that the statement does not name are suspect.
    """
    make_finding = _FindingMaker(member.card)
    statement = _published_statement(published_files)
    if statement is None:
        hint = f"publish again: zoo publish {member.card.name} --to ..."
        reason = "the file is missing, or not a valid statement of zoo"
        return (make_finding(STATEMENT, Status.WRONG, reason=reason, hint=hint),)
    digests = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    generated_sha256 = _generated_sha256(statement)
    findings = [
        _examine_file(make_finding, path, sha256, published_files.get(path), generated_sha256)
        for path, sha256 in sorted(digests.items())
    ]
    findings += _examine_report(make_finding, member, statement["predicate"])
    findings += _examine_numbers(make_finding, member, statement["predicate"])
    if WEIGHTS in published_files:
        findings.append(_examine_header(make_finding, statement["predicate"], count_elements()))
    for path in sorted(set(published_files) - set(digests)):
        if Path(path).suffix in UNCOVERED_WEIGHTS:
            findings.append(
                make_finding(path, Status.SUSPECT, reason="the report does not cover these weights", hint="remove them")
            )
    return tuple(findings)


def examine_signature(card: Card, published_files: Mapping[str, PublishedFile], key: Path) -> Finding:
    """Check that all published files are signed by that public key; a release without a signature is wrong."""
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
    """Return path to SHA-256 of the published files that belong to the release, which a signature must cover.

    Raises WrongContent when there is no statement that names them, or one of them is missing.
    """
    statement = _published_statement(published_files)
    if statement is None:
        raise WrongContent(f"{STATEMENT} is missing or not valid", hint="publish again with --sign")
    names = {STATEMENT, *(item["name"] for item in statement["subject"])}
    missing = sorted(names - set(published_files))
    if missing:
        raise WrongContent(f"missing from the release: {', '.join(missing)}", hint="publish again")
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
    """Return the statement with its report in the present format; None when it is not a valid one of zoo."""
    content = published_files[STATEMENT].content if STATEMENT in published_files else None
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        data = json.loads(content or b"")
        names = [text for item in data["subject"] for text in (item["name"], item["digest"]["sha256"])]
        report = in_present_format(data["predicate"])
        predicate_type = f"{PREDICATE_TYPE}{data['predicate']['report']}"
        is_ours = (data["_type"], data["predicateType"]) == (STATEMENT_TYPE, predicate_type)
        if is_ours and names and all(map(is_text, names)) and is_plain(report) and not violations(report, "report"):
            return {**data, "predicate": report}
    return None


def _generated_sha256(statement: Mapping[str, Any]) -> str:
    """Return the digest of the README's generated part; empty for a release of zoo 0.1, whose statement does not have it."""
    annotations: Any = next((item.get("annotations") for item in statement["subject"] if item["name"] == README), None)
    return str(annotations.get(GENERATED_SHA256, "")) if isinstance(annotations, Mapping) else ""


def _examine_file(
    make_finding: _FindingMaker, path: str, sha256: str, file: PublishedFile | None, generated_sha256: str
) -> Finding:
    """Compare a file with its digest in the statement. generated_sha256: that of the README's generated part."""
    if file is None:
        reason = "the file is missing"
        return make_finding(path, Status.WRONG, claimed=sha256, reason=reason, hint="publish again")
    if file.sha256 == sha256:
        return make_finding(path, Status.OK, claimed=sha256, measured=file.sha256)
    if path == README and file.content is not None and _is_as_generated(file.content, generated_sha256):
        reason = "text outside the generated part was edited"
        return make_finding(path, Status.OK, claimed=sha256, measured=file.sha256, reason=reason)
    reason = "the file changed since it was published"
    hint = "publish again"
    return make_finding(path, Status.WRONG, claimed=sha256, measured=file.sha256, reason=reason, hint=hint)


def _is_as_generated(readme: bytes, generated_sha256: str) -> bool:
    try:
        return is_as_generated(readme.decode(), generated_sha256)
    except (UnicodeDecodeError, Refused):  # no longer a README with valid metadata
        return False


def _examine_report(make_finding: _FindingMaker, member: Member, report: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that the published report is about the card in its present form, and about its weights."""
    card = member.card
    subject = next((item for item in report["subjects"] if item["model"] == card.name), None)
    published = subject["card_sha256"] if subject else None
    same = published == member.sha256
    hint = f"run `zoo verify {card.name} --fetch`, then publish again"
    reason = "" if same else "the card changed since the report"
    yield make_finding(
        "card",
        Status.OK if same else Status.WRONG,
        claimed=member.sha256,
        measured=published,
        reason=reason,
        hint=hint * (not same),
    )
    measured = {item["file"]: item["sha256"] for item in subject["weights"]} if subject else {}
    for weights in card.weights:
        sha256, claimed = measured.get(weights.file), weights.sha256
        right = sha256 is not None and claimed is not None and sha256.startswith(claimed)
        reason = "" if right else "the report is about other bytes than the card"
        yield make_finding(
            weights.file,
            Status.OK if right else Status.WRONG,
            claimed=claimed,
            measured=sha256,
            reason=reason,
            hint=hint * (not right),
        )


def _examine_numbers(make_finding: _FindingMaker, member: Member, report: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield each finding of the published report about the present card that its own numbers contradict."""
    published = from_json(json.dumps(report), where=STATEMENT).only(member.card.name)
    if not any(subject.card_sha256 == member.sha256 for subject in published.subjects):
        return
    for finding, reason in altered_numbers(member, published):
        yield make_finding(
            f"{finding.check} {finding.key}",
            Status.WRONG,
            claimed=finding.claimed,
            measured=finding.measured,
            reason=reason,
            hint=f"run `zoo verify {member.card.name} --fetch`, then publish again",
        )


def _examine_header(make_finding: _FindingMaker, report: Mapping[str, Any], elements: int) -> Finding:
    """Compare the number of published elements with the parameters and buffers that were counted."""
    params: Mapping[str, Any] = next(
        (item for item in report["findings"] if (item["check"], item["key"]) == ("params", "params")), {}
    )
    buffers = params.get("evidence", {}).get("buffers")
    if not is_count(params.get("measured")) or not is_count(buffers):
        return make_finding(
            "elements", Status.UNKNOWN, measured=elements, reason="the report does not say how many elements to expect"
        )
    least, most = params["measured"], params["measured"] + buffers  # buffers that only training reads may be missing
    reason = f"the header has {elements:,} elements, the model {least:,} parameters and {buffers:,} buffer elements"
    if elements < least:
        return make_finding("elements", Status.WRONG, claimed=least, measured=elements, reason=reason)
    status = Status.OK if elements <= most else Status.SUSPECT
    return make_finding("elements", status, claimed=least, measured=elements, reason=reason)

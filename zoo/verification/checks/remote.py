"""Check size, parameters and dtype of remote files without a download, from a safetensors file's header.

The check runs only with `zoo verify --remote`. It does not read the bytes after a header, so it does not prove that a file
is the right one: publishing needs the checks `files` and `loading`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from zoo.errors import WrongContent
from zoo.models.subject import Subject
from zoo.registry.card import Weights
from zoo.registry.catalog import Member
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status
from zoo.weights import tensors
from zoo.weights.remote import Header, RemoteFile

needs: tuple[str, ...] = ()


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for the size of each file with URLs; also for parameters and dtype unless its format is pickle."""
    card = member.card
    params = card.claims.params if card.claims else None
    for weights in card.weights:
        if not weights.urls:
            continue
        where = str(weights.where["size_bytes"])
        yield Question(card.name, "remote", f"{weights.file}/size", where, weights.size_bytes, "bytes", about=weights)
        if weights.format == "pickle":
            continue
        where, claimed = str(params.where["value"] if params else card.where), params.value if params else None
        tolerance = (params.rounded_to or 0) / 2 if params else None
        yield Question(card.name, "remote", f"{weights.file}/params", where, claimed, "parameters", tolerance, weights)
        where = str(weights.where["dtype"])
        yield Question(card.name, "remote", f"{weights.file}/dtype", where, weights.dtype, about=weights)


def answer(subject: Subject, question: Question) -> Finding:
    """Return the answer of the first server that responds, compared with the claim."""
    weights: Weights = question.about
    remote_file = subject.remote_file(weights)
    name = question.key.rpartition("/")[2]
    if name == "size":
        if remote_file.size_bytes is None:
            reason = "the server does not report the size of the file"
            return question.finding(Status.UNKNOWN, reason=reason, hint=f"zoo fetch {subject.card.name}")
        return question.compare(
            remote_file.size_bytes, hint="correct size_bytes or urls", evidence=_evidence(remote_file)
        )
    if remote_file.header is None:
        reason = "not a safetensors file, so its content is unknown without a download"
        return question.finding(Status.SKIPPED, reason=reason, hint=f"zoo fetch {subject.card.name}")
    evidence = _evidence(remote_file)
    if name == "dtype":
        return question.compare(remote_file.header.main_dtype, hint="correct dtype in the card", evidence=evidence)
    hint = "correct the claim, or the file under `weights`"
    return question.compare(_parameters(subject, weights, remote_file.header), hint=hint, evidence=evidence)


def _parameters(subject: Subject, weights: Weights, header: Header) -> int:
    """Return the number of parameters in the header, without buffers; raises WrongContent when the shapes do not fit."""
    if subject.card.builder is None:
        return tensors.parameters(header.shapes)
    module = subject.meta
    different = tensors.misfit(tensors.shapes(module.state_dict()), header.shapes)
    if different:
        raise WrongContent(
            f"the header of {weights.file} does not fit {subject.builder.entry}: {different}", where=str(weights.where)
        )
    return sum(prod(header.shapes[name]) for name, _ in module.named_parameters())


def _evidence(remote_file: RemoteFile) -> dict[str, Any]:
    notes = list(remote_file.header.notes) if remote_file.header else []
    return {
        "url": remote_file.url,
        "read": f"{remote_file.read_bytes} bytes: the header without the tensors",
        "notes": notes,
    }

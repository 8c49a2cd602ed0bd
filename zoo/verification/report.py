"""Findings -> Report -> exit code: what was found about some models, on which machine, about which bytes.

A Finding is one answer to one question about one card. Only `ok` means passed; what could not be measured says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.models.facts import Value
from zoo.registry.schema import violations
from zoo.runtime.environment import this_environment, zoo_version

VERSION = 2
"""The version of the report format. Version 1, of zoo 0.1, called a finding's hint `mend`."""


class Status(str, Enum):
    """What a finding says; the comment is its exit code, plain and with --strict."""

    OK = "ok"  # 0 0  measured, agrees
    WRONG = "wrong"  # 1 1  measured, differs
    SUSPECT = "suspect"  # 0 1  inconsistent, but there are legitimate reasons for it
    UNKNOWN = "unknown"  # 3 3  asked for, could not be measured
    SKIPPED = "skipped"  # 0 3  not asked for, or its input is not on this machine
    UNCLAIMED = "unclaimed"  # 0 0  the card promises nothing here

    def exit_code(self, *, strict: bool) -> int:
        """0, 1 (something is wrong) or 3 (something could not be found out)."""
        plain = {Status.WRONG: 1, Status.UNKNOWN: 3}
        return {**plain, **({Status.SUSPECT: 1, Status.SKIPPED: 3} if strict else {})}.get(self, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: what the card claims, what was measured, and what follows.

    key: what it is about, unique within model and check. tolerance: how far the two may differ, in `unit`.
    where: file:line:column of the claim. reason: why the status is what it is. hint: a command or an edit.
    evidence: what the measurement rests on (inputs, versions, who served the file), as JSON values.
    """

    model: str
    check: str
    key: str
    status: Status
    claimed: Value = None
    measured: Value = None
    unit: str = ""
    tolerance: float | None = None
    where: str = ""
    reason: str = ""
    hint: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """A weights file as it was measured; sha256 has all 64 digits."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MeasuredData:
    """A split of a data set as it was read."""

    name: str
    split: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class ReportSubject:
    """The very card, bytes and data that the findings of a model are about."""

    model: str
    card_sha256: str
    weights: tuple[MeasuredFile, ...] = ()
    datasets: tuple[MeasuredData, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, sorted by model, check and key. `created` is UTC, `options` what was asked for.

    version: of the format that the report was read from; it is always written in the present one.
    """

    subjects: tuple[ReportSubject, ...]
    findings: tuple[Finding, ...]
    created: str
    environment: Mapping[str, Any]
    options: Mapping[str, Any]
    zoo: str
    version: int = VERSION

    @property
    def strict(self) -> bool:
        """Whether skipped and suspect count against the report."""
        return bool(self.options.get("strict", False))

    @property
    def exit_code(self) -> int:
        """0, 1 or 3 by the findings and the report's own strictness."""
        return exit_code(self.findings, strict=self.strict)

    def only(self, model: str) -> Report:
        """The part of the report that is about one model."""
        return replace(
            self,
            subjects=tuple(item for item in self.subjects if item.model == model),
            findings=tuple(item for item in self.findings if item.model == model),
        )

    def to_json(self) -> str:
        """The report as `schemas/report.schema.json` describes it."""
        data = {
            "report": VERSION,
            "zoo": self.zoo,
            "created": self.created,
            "environment": dict(self.environment),
            "options": dict(self.options),
            "subjects": [asdict(item) for item in self.subjects],
            "findings": [asdict(item) for item in self.findings],
            "exit_code": self.exit_code,
        }
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def make(
    subjects: Iterable[ReportSubject],
    findings: Iterable[Finding],
    *,
    options: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
) -> Report:
    """The report of these findings, made now, on this machine."""
    return Report(
        subjects=tuple(sorted(subjects, key=lambda item: item.model)),
        findings=tuple(sorted(findings, key=lambda item: (item.model, item.check, item.key))),
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        environment=environment if environment is not None else this_environment(),
        options=options,
        zoo=zoo_version(),
    )


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """1 when anything is wrong, else 3 when anything could not be found out, else 0: 1 beats 3 beats 0."""
    codes = {finding.status.exit_code(strict=strict) for finding in findings}
    return 1 if 1 in codes else max(codes, default=0)


def count(findings: Iterable[Finding]) -> dict[Status, int]:
    """How many findings have each status that occurs, in the order of Status."""
    counted = Counter(finding.status for finding in findings)
    return {status: counted[status] for status in Status if counted[status]}


def from_json(text: str, *, where: str) -> Report:
    """The report in a JSON text; raises UsageError when it is none. `where` names the file in the message."""
    try:
        original = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"not a report: {error}", where=where, hint="give the file that `zoo verify --report FILE` wrote"
        ) from error
    data = in_present_format(original)
    wrong = violations(data, "report")
    if wrong:
        raise UsageError(
            f"not a report: {wrong[0]}", where=where, hint="give the file that `zoo verify --report FILE` wrote"
        )
    return Report(
        subjects=tuple(_subject(item) for item in data["subjects"]),
        findings=tuple(Finding(**{**item, "status": Status(item["status"])}) for item in data["findings"]),
        created=data["created"],
        environment=data["environment"],
        options=data["options"],
        zoo=data["zoo"],
        version=original["report"],
    )


def in_present_format(data: Any) -> Any:
    """Return the data of a report of version 1 as version 2 has it; any other data are returned as they are.

    This is the only reader of version 1. It does not judge: whoever calls it holds the result against the schema.
    """
    if not isinstance(data, dict) or data.get("report") != 1 or not isinstance(data.get("findings"), list):
        return data
    findings = [_with_hint(item) if isinstance(item, dict) else item for item in data["findings"]]
    return {**data, "report": VERSION, "findings": findings}


def read(path: Path) -> Report:
    """The report in a file; raises UsageError when there is none."""
    try:
        return from_json(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from error


def _subject(data: Mapping[str, Any]) -> ReportSubject:
    return ReportSubject(
        model=data["model"],
        card_sha256=data["card_sha256"],
        weights=tuple(MeasuredFile(**item) for item in data["weights"]),
        datasets=tuple(MeasuredData(**item) for item in data["datasets"]),
    )


def _with_hint(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {"hint" if key == "mend" else key: value for key, value in finding.items()}

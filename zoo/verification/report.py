"""Define findings and reports, write and read reports as JSON, and compute exit codes.

A Finding is the answer to one question about one card. Only `ok` means passed; what could not be measured is `unknown`.
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
from zoo.runtime.json_form import is_plain
from zoo.runtime.redaction import without_paths
from zoo.runtime.storage import read_file
from zoo.runtime.text import json_text

MAX_BYTES = 256 << 20
"""The largest report that is read. One about timm's 1,800 models has about 40 MB."""
VERSION = 2
"""The version of the report format. Version 1, of zoo 0.1, called a finding's hint `mend`."""


class Status(str, Enum):
    """The status of a finding. Each comment gives the exit codes, without and with --strict, and the meaning."""

    OK = "ok"  # 0 0  measured, and agrees
    WRONG = "wrong"  # 1 1  measured, and differs; or cannot be true
    SUSPECT = "suspect"  # 0 1  inconsistent, but with legitimate explanations
    UNKNOWN = "unknown"  # 3 3  requested, but could not be measured
    SKIPPED = "skipped"  # 0 3  not requested, or its input is not on this machine
    UNCLAIMED = "unclaimed"  # 0 0  the card claims nothing here, or its `ignore` explains the finding

    def exit_code(self, *, strict: bool) -> int:
        """Return 0, 1 (something is wrong) or 3 (something could not be measured)."""
        plain = {Status.WRONG: 1, Status.UNKNOWN: 3}
        return {**plain, **({Status.SUSPECT: 1, Status.SKIPPED: 3} if strict else {})}.get(self, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question: what the card claims, what zoo measured, and the status.

    key: what it is about, unique within model and check. tolerance: how far claimed and measured may differ, in `unit`.
    where: file:line:column of the claim. reason: why it has this status. hint: a command or an edit.
    evidence: what the measurement is based on (inputs, versions, server of the file), as JSON values.
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

    @property
    def rule(self) -> str:
        """The check, with the rule for a consistency finding: `loading`, `consistency/size-params`."""
        return f"{self.check}/{base_key(self.key)}" if self.check == "consistency" else self.check


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """A weights file that was measured; sha256 has 64 hex digits."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MeasuredData:
    """A split of a data set that was read; manifest_sha256 has 64 hex digits."""

    name: str
    split: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class ReportSubject:
    """The card, files and data that the findings of a model are about, each identified by SHA-256."""

    model: str
    card_sha256: str
    weights: tuple[MeasuredFile, ...] = ()
    datasets: tuple[MeasuredData, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one run, sorted by model, check and key.

    created: the time in UTC, as 2026-11-24T04:00:00Z. environment: the machine and the versions. options: the settings of
    the run. version: the format version of the file that the report was read from; reports are written in VERSION.
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
        """Whether skipped and suspect findings count as failures."""
        return bool(self.options.get("strict", False))

    @property
    def exit_code(self) -> int:
        """The exit code, 0, 1 or 3, of the findings under the report's own `strict`."""
        return exit_code(self.findings, strict=self.strict)

    def only(self, model: str) -> Report:
        """Return the part of the report that is about one model."""
        return replace(
            self,
            subjects=tuple(item for item in self.subjects if item.model == model),
            findings=tuple(item for item in self.findings if item.model == model),
        )

    def without_paths(self) -> Report:
        """Return the report without the folders of this machine, as it is stored and published."""
        texts = without_paths(
            {
                "findings": [(item.claimed, item.measured, item.where, item.reason, item.hint, dict(item.evidence))
                             for item in self.findings],
                "environment": dict(self.environment),
                "options": dict(self.options),
            }
        )  # fmt: skip
        names = ("claimed", "measured", "where", "reason", "hint", "evidence")
        findings = (
            replace(finding, **dict(zip(names, values, strict=True)))
            for finding, values in zip(self.findings, texts["findings"], strict=True)
        )
        return replace(self, findings=tuple(findings), environment=texts["environment"], options=texts["options"])

    def to_json(self) -> str:
        """Return the report as JSON text that follows `schemas/report.schema.json`."""
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
        return json_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def numbered_key(key: str, number: int) -> str:
    """Return the key of the number-th finding with the same key: `crop`, `crop#2`, `crop#3`."""
    return key if number == 1 else f"{key}#{number}"


def base_key(key: str) -> str:
    """Return a numbered key without its number: `crop` for `crop#2`."""
    return key.partition("#")[0]


def make(
    subjects: Iterable[ReportSubject],
    findings: Iterable[Finding],
    *,
    options: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
) -> Report:
    """Return the report of these findings, created now; without an environment, that of this machine."""
    return Report(
        subjects=tuple(sorted(subjects, key=lambda item: item.model)),
        findings=tuple(sorted(findings, key=lambda item: (item.model, item.check, item.key))),
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        environment=environment if environment is not None else this_environment(),
        options=options,
        zoo=zoo_version(),
    )


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """Return 1 when anything is wrong, else 3 when anything could not be measured, else 0."""
    codes = {finding.status.exit_code(strict=strict) for finding in findings}
    return 1 if 1 in codes else max(codes, default=0)


def count(findings: Iterable[Finding]) -> dict[Status, int]:
    """Return the number of findings of each status that occurs, in the order of Status."""
    counted = Counter(finding.status for finding in findings)
    return {status: counted[status] for status in Status if counted[status]}


def from_json(text: str, *, where: str) -> Report:
    """Return the report in a JSON text; raises UsageError when the text is not a report. `where` is for the message."""
    hint = "give the file that `zoo verify --report FILE` wrote"
    try:
        original = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not a report: {error}", where=where, hint=hint) from error
    if not is_plain(original):
        what = "not a report: it has a text, a number or a nesting that zoo never writes"
        raise UsageError(what, where=where, hint=hint)
    data = in_present_format(original)
    wrong = violations(data, "report")
    if wrong:
        raise UsageError(f"not a report: {wrong[0]}", where=where, hint=hint)
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
    """Return the data of a version 1 report in the format of version 2, and any other data unchanged.

    This is the only reader of version 1. It does not validate; the caller checks the result against the schema.
    """
    if not isinstance(data, dict) or data.get("report") != 1 or not isinstance(data.get("findings"), list):
        return data
    findings = [_with_hint(item) if isinstance(item, dict) else item for item in data["findings"]]
    return {**data, "report": VERSION, "findings": findings}


def read(path: Path) -> Report:
    """Return the report in a file; raises UsageError when it is not a readable regular file with a report."""
    content = read_file(path, MAX_BYTES)
    if content is None:
        what = f"cannot read the report: not a readable regular file of at most {MAX_BYTES >> 20} MiB"
        raise UsageError(what, where=str(path))
    try:
        return from_json(content.decode(), where=str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the report: {error}", where=str(path)) from error


def _subject(data: Mapping[str, Any]) -> ReportSubject:
    return ReportSubject(
        model=data["model"],
        card_sha256=data["card_sha256"],
        weights=tuple(MeasuredFile(**item) for item in data["weights"]),
        datasets=tuple(MeasuredData(**item) for item in data["datasets"]),
    )


def _with_hint(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {"hint" if key == "mend" else key: value for key, value in finding.items()}

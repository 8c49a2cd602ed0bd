"""Findings -> exit code, and a report that survives JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import UsageError
from zoo.verification import report
from zoo.verification.report import Finding, MeasuredData, MeasuredFile, ReportSubject, Status

CODES = {
    Status.OK: (0, 0),
    Status.WRONG: (1, 1),
    Status.SUSPECT: (0, 1),
    Status.UNKNOWN: (3, 3),
    Status.SKIPPED: (0, 3),
    Status.UNCLAIMED: (0, 0),
}


def finding(status: Status, model: str = "a", key: str = "k") -> Finding:
    return Finding(model, "params", key, status, 1, 2.5, "parameters", 0.5, "a.yaml:1:1", "why", "how", {"x": [1]})


@pytest.mark.parametrize("status", Status)
def test_each_status_has_its_exit_codes(status: Status) -> None:
    assert (status.exit_code(strict=False), status.exit_code(strict=True)) == CODES[status]


def test_wrong_beats_unknown_beats_ok() -> None:
    every = [finding(status) for status in Status]
    assert report.exit_code(every, strict=False) == 1
    assert report.exit_code([f for f in every if f.status is not Status.WRONG], strict=False) == 3
    assert report.exit_code([finding(Status.OK), finding(Status.SKIPPED)], strict=False) == 0
    assert report.exit_code([], strict=True) == 0


def whole() -> report.Report:
    subject = ReportSubject("a", "0" * 64, (MeasuredFile("f", "1" * 64, 5),), (MeasuredData("d", "s", "2" * 64),))
    return report.make([subject], [finding(Status.OK, "b"), finding(Status.SKIPPED, "a")], options={"strict": True})


def test_a_report_survives_json(tmp_path: Path) -> None:
    original = whole()
    file = tmp_path / "report.json"
    file.write_text(original.to_json())
    assert report.read(file) == original


def test_findings_are_sorted_and_strictness_is_the_reports_own() -> None:
    original = whole()
    assert [f.model for f in original.findings] == ["a", "b"]
    assert original.exit_code == 3
    assert original.only("b").exit_code == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"report": 1}', '{"report": 3}', "\x00"])
def test_a_file_that_is_not_a_report_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="not a report"):
        report.read(file)


def test_a_missing_report_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the report"):
        report.read(tmp_path / "none.json")

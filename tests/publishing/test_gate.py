"""What lets a model through to be published, and what refuses it, by name and with the way to mend it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.project import replace_once
from tests.helpers.releases import (
    NAME,
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    admit,
    digits_report,
    finding,
    member,
    release,
    shipped,
    with_evidence,
    with_finding,
    without_finding,
)
from zoo import api
from zoo.errors import Refused, UsageError
from zoo.publishing import gate
from zoo.publishing.gate import Allowance, Terms, parse_allowance
from zoo.publishing.release import measure_files
from zoo.registry.catalog import load_catalog
from zoo.verification.report import Finding, Status

VERIFY = f"zoo verify {NAME} --fetch"
REASON = Allowance("accuracy", "the images may not leave the hospital")


def refused(**what: Any) -> Refused:
    with pytest.raises(Refused) as error_info:
        admit(**what)
    return error_info.value


def test_a_complete_and_good_report_lets_its_model_through() -> None:
    assert admit().subject.weights[0].sha256 == WEIGHTS_SHA256


@pytest.mark.parametrize(
    ("status", "code"), [(Status.WRONG, 1), (Status.SUSPECT, 1), (Status.UNKNOWN, 3), (Status.SKIPPED, 3)]
)
@pytest.mark.parametrize(("check", "key"), [("files", f"{WEIGHTS_FILE}/sha256"), ("build", "build"), ("flops", "macs")])
def test_one_finding_that_is_not_ok_refuses_it_by_name(check: str, key: str, status: Status, code: int) -> None:
    report = with_finding(digits_report(), check, key, status=status, reason="because", hint="do this")
    error = refused(report=report)
    where = finding(report, check, key).where
    assert error.what == (
        f"cannot publish {NAME}: 1 problem\n  {where}: {status.value} {check} {key}: because\n    hint: do this"
    )
    assert error.hint == f"fix the problem above, then run `{VERIFY}`"
    assert error.exit_code == code


def test_everything_in_the_way_is_named_at_once_and_wrong_beats_unknown() -> None:
    report = with_finding(digits_report(), "flops", "macs", status=Status.UNKNOWN, hint="a")
    error = refused(report=with_finding(report, "params", "params", status=Status.WRONG, hint="b"))
    assert error.what.startswith(f"cannot publish {NAME}: 2 problems\n")
    assert error.what.count("hint:") == 2
    assert error.hint == f"fix the problems above, then run `{VERIFY}`"
    assert error.exit_code == 1


def test_what_is_wrong_with_another_model_of_the_report_is_no_hindrance() -> None:
    report = digits_report()
    other = Finding("other", "files", "a/sha256", Status.WRONG)
    assert admit(replace(report, findings=(*report.findings, other))).report.exit_code == 0


@pytest.mark.parametrize(
    ("check", "key"),
    [("files", f"{WEIGHTS_FILE}/sha256"), ("build", "build"), ("loading", WEIGHTS_FILE), ("params", "params")],
)
def test_a_report_that_leaves_something_out_is_not_complete(check: str, key: str) -> None:
    error = refused(report=without_finding(digits_report(), check, key))
    assert f"the report has no finding for {check} {key}" in error.what
    assert error.exit_code == 3


def test_parameters_that_nobody_counted_are_not_complete() -> None:
    report = with_finding(digits_report(), "params", "params", status=Status.UNCLAIMED, claimed=None, measured=None)
    assert "the parameters were not measured" in refused(report=report).what


def test_parameters_that_nobody_claimed_but_that_were_counted_are_enough(digits_zoo: Path) -> None:
    replace_once(digits_zoo / "digits" / f"{NAME}.yaml", "  params: {value: 64482, origin: computed}\n", "")
    report = api.verify(NAME, cards=digits_zoo, strict=True)
    assert finding(report, "params", "params").status is Status.UNCLAIMED
    assert admit(report, catalog=load_catalog([digits_zoo]))


def test_a_report_without_accuracy_is_not_complete() -> None:
    report = digits_report()
    error = refused(
        report=replace(report, findings=tuple(item for item in report.findings if item.check != "accuracy"))
    )
    assert "the report has no finding for accuracy" in error.what


@pytest.mark.parametrize("counted", [{"images": 100}, {"images": 100, "split_images": 100}])
def test_a_part_of_a_split_is_not_the_split_whatever_the_report_calls_whole(counted: dict[str, int]) -> None:
    report = with_evidence(digits_report(), "digits/validation/top1", counted)
    expected = f"accuracy digits/validation/top1 covers only a part of the split: 100 of {counted.get('split_images', 360)} images"
    assert expected in refused(report=report).what


def test_a_card_that_claims_no_result_is_refused(digits_zoo: Path) -> None:
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    text = card.read_text()
    card.write_text(text[: text.index("  results:")] + text[text.index("training:") :])
    catalog = load_catalog([digits_zoo])
    digest = member(catalog).sha256
    report = digits_report()
    subject = replace(report.subjects[0], card_sha256=digest)
    findings = tuple(item for item in report.findings if item.check != "accuracy")
    error = refused(report=replace(report, subjects=(subject,), findings=findings), catalog=catalog)
    assert "the card claims no result, so nothing shows that the model works" in error.what
    assert "claims: {results: [...]}" in error.what


def test_a_report_about_the_card_as_it_was_is_refused() -> None:
    report = digits_report()
    old = replace(report, subjects=(replace(report.subjects[0], card_sha256="0" * 64),))
    now = report.subjects[0].card_sha256[:12]
    expected = f"the card changed since the report: card_sha256 was 000000000000, is now {now}"
    assert expected in refused(report=old).what


def test_a_report_about_other_models_is_refused() -> None:
    assert f"the report does not mention {NAME}" in refused(report=digits_report().only("other")).what


def test_a_report_about_other_bytes_is_refused(tmp_path: Path) -> None:
    artifacts = measure_files(shipped().find(NAME), tmp_path)
    with pytest.raises(Refused, match="the report is about other bytes of resnest_digits") as error_info:
        gate.prove(admit(), [replace(artifacts[0], sha256="0" * 64)])
    assert error_info.value.exit_code == 3


def test_an_old_report_is_refused_and_one_just_young_enough_is_not() -> None:
    report = digits_report()
    for key in ("digits/validation/top1", "digits/validation/top5"):  # measured then, and not before
        report = with_evidence(report, key, {"measured": report.created})
    error = refused(report=report, after=timedelta(days=30, hours=12))
    assert f"the report is 30.5 days old (of {report.created}), the limit is 30 days" in error.what
    assert admit(report, after=timedelta(days=30))


def test_a_young_report_of_an_old_evaluation_is_refused() -> None:
    report = with_evidence(digits_report(), "digits/validation/top1", {"measured": "2026-01-01T00:00:00Z"})
    error = refused(report=report)
    assert "accuracy digits/validation/top1 was measured" in error.what
    assert "days ago (on 2026-01-01T00:00:00Z), the limit is 30 days" in error.what
    assert f"    hint: {VERIFY} --max-age 30" in error.what


def test_a_report_from_the_future_is_refused_beyond_what_clocks_differ() -> None:
    assert "the report's time is in the future" in refused(after=timedelta(minutes=-6)).what
    assert admit(after=timedelta(minutes=-4))


def test_without_a_report_the_command_that_makes_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    with pytest.raises(Refused, match="the card in its present form is not verified") as error_info:
        gate.newest_report(member())
    assert error_info.value.hint == VERIFY


def test_a_missing_accuracy_may_be_allowed_with_a_reason_and_the_readme_says_so() -> None:
    report = digits_report()
    for key in ("digits/validation/top1", "digits/validation/top5"):
        report = with_finding(report, "accuracy", key, status=Status.SKIPPED, measured=None, evidence={})
    assert refused(report=report).exit_code == 3
    text = release(report, allowance=REASON).file("README.md").read().decode()
    assert (
        "**Not verified: accuracy digits/validation/top1 (skipped), accuracy digits/validation/top5 (skipped).**"
        " The publisher's reason: the images may not leave the hospital" in text
    )
    assert "model-index" not in text


def test_an_allowance_covers_neither_what_is_wrong_nor_another_check() -> None:
    wrong = with_finding(digits_report(), "accuracy", "digits/validation/top1", status=Status.WRONG)
    assert refused(report=wrong, allowance=REASON).exit_code == 1
    unknown = with_finding(digits_report(), "flops", "macs", status=Status.UNKNOWN)
    assert refused(report=unknown, allowance=REASON).exit_code == 3


@pytest.mark.parametrize("given", [("accuracy", None), (None, "why"), ("accuracy", " "), ("params", "why")])
def test_an_allowance_needs_a_check_that_may_be_missing_and_a_reason(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(UsageError):
        parse_allowance(*given)


def test_without_a_check_and_a_reason_there_is_no_allowance() -> None:
    assert parse_allowance(None, None) is None
    assert parse_allowance("flops", "why") == Allowance("flops", "why")


@pytest.mark.parametrize("days", [-1.0, float("nan")])
def test_an_age_limit_that_no_report_could_exceed_or_meet_is_a_usage_error(days: float) -> None:
    with pytest.raises(UsageError, match="not a valid age"):
        Terms(max_age_days=days)

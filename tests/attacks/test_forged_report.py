"""A report is a file that anybody can edit. The gate derives it again from the card and its own measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.project import RunZoo, replace_once
from tests.helpers.releases import (
    NAME,
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    admit,
    digits_report,
    with_evidence,
    with_finding,
    without_finding,
)
from zoo import api
from zoo.errors import Refused
from zoo.publishing.gate import Allowance
from zoo.registry.catalog import load_catalog
from zoo.verification.report import Finding, MeasuredData, MeasuredFile, Report, Status

TOP1, TOP5, DATA = "digits/validation/top1", "digits/validation/top5", "digits/validation"
HTML = "<b>99.72</b>"
Forge = Callable[[Report], Report]


def _finding(check: str, key: str, /, **changes: Any) -> Forge:
    return lambda report: with_finding(report, check, key, **changes)


def _top1(**evidence: Any) -> Forge:
    return lambda report: with_evidence(report, TOP1, evidence)


def _evidence(check: str, key: str, **evidence: Any) -> Forge:
    def forge(report: Report) -> Report:
        honest = next(item for item in report.findings if (item.check, item.key) == (check, key))
        return with_finding(report, check, key, evidence={**honest.evidence, **evidence})

    return forge


def _without(check: str, key: str = "") -> Forge:
    return lambda report: replace(
        report, findings=tuple(item for item in report.findings if item.check != check or (key and item.key != key))
    )


def _with(*findings: Finding) -> Forge:
    return lambda report: replace(report, findings=(*report.findings, *findings))


def _again(check: str, key: str) -> Forge:
    return lambda report: replace(
        report,
        findings=(*report.findings, *(item for item in report.findings if (item.check, item.key) == (check, key))),
    )


def _subject(**changes: Any) -> Forge:
    return lambda report: replace(report, subjects=(replace(report.subjects[0], **changes),))


FORGED: dict[str, tuple[Forge, str]] = {
    # statuses
    "accuracy that is wrong": (
        lambda report: _top1(correct=300)(with_finding(report, "accuracy", TOP1, measured=83.333333)),
        f"accuracy {TOP1}: the report says ok, but by its own measurement it is wrong (claimed 99.72, measured 83.333333)",
    ),
    "params that are wrong": (
        _finding("params", "params", measured=64483),
        "params params: the report says ok, but by its own measurement it is wrong (claimed 64482, measured 64483)",
    ),
    "operations that are wrong": (_finding("flops", "macs", measured=1037057), "flops macs: the report says ok, but"),
    "a size that is wrong": (
        _finding("files", f"{WEIGHTS_FILE}/size", measured=279633),
        f"files {WEIGHTS_FILE}/size: the report says ok, but",
    ),
    "a digest that is wrong": (
        _finding("files", f"{WEIGHTS_FILE}/sha256", measured="0" * 64),
        f"files {WEIGHTS_FILE}/sha256: the report says ok, but",
    ),
    "another architecture": (_finding("build", "build", measured="resnet18"), "build build: the report says ok, but"),
    "other data": (_finding("data", DATA, measured="0" * 64), "data digits/validation: measured is not what its evidence"),
    "another fingerprint": (
        _evidence("fingerprint", "fingerprint", logits=[9.0] * 8),
        "fingerprint fingerprint: the report says ok, but by its own measurement it is wrong",
    ),
    "a file of zeros": (
        _evidence("loading", WEIGHTS_FILE, zero_weights=["fc.weight"]),
        f"loading {WEIGHTS_FILE}: the report says ok, but by its own measurement it is suspect",
    ),
    "another dtype": (
        _evidence("loading", WEIGHTS_FILE, dtype="float16"),
        f"loading {WEIGHTS_FILE}: the report says ok, but by its own measurement it is wrong",
    ),
    "a claim that is called unclaimed": (
        _finding("params", "params", status=Status.UNCLAIMED, measured=1),
        "params params: the report says unclaimed, but by its own measurement it is wrong",
    ),
    "a suspicion that no card accepts": (
        _finding("consistency", "crop", status=Status.UNCLAIMED),
        "consistency crop: the report says unclaimed, but by its own measurement it is ok",
    ),
    # findings that are missing, or too many
    "no top-1": (_without("accuracy", TOP1), f"the report has no finding for accuracy {TOP1}"),
    "no operations": (_without("flops"), "the report has no finding for flops macs"),
    "no data": (_without("data"), "the report has no finding for data digits/validation"),
    "no fingerprint": (_without("fingerprint"), "the report has no finding for fingerprint fingerprint"),
    "no loading": (_without("loading"), f"the report has no finding for loading {WEIGHTS_FILE}"),
    "no size": (
        _without("files", f"{WEIGHTS_FILE}/size"),
        f"the report has no finding for files {WEIGHTS_FILE}/size",
    ),
    "no schema": (_without("schema"), "the report has no finding for schema /"),
    "no consistency": (_without("consistency"), "the report has no finding for consistency channels, crop,"),
    "one rule less": (_without("consistency", "top1-top5"), "the report has no finding for consistency top1-top5"),
    "a claim that the card does not have": (
        _with(Finding(NAME, "accuracy", "imagenet-1k/validation/top1", Status.OK, 99.9, 99.9, "percent", 0.05)),
        "the report has a finding for accuracy imagenet-1k/validation/top1, which the card does not claim",
    ),
    "more operations": (
        _with(Finding(NAME, "flops", "flops", Status.OK, 2, 2, "flops", 0.0)),
        "the report has a finding for flops flops, which the card does not claim",
    ),
    "a check that does not exist": (
        _with(Finding(NAME, "robustness\x1b[2K", "all", Status.OK)),
        r"the report has a finding of 'robustness\x1b[2K', which is not a check of this zoo",
    ),
    "a finding twice": (
        _again("accuracy", TOP1),
        f"the report has 2 findings for accuracy {TOP1}, but the card has 1 of these claims",
    ),
    # claims and tolerances
    "another claim": (
        _finding("accuracy", TOP5, claimed=100),
        "",
    ),
    "a claim that is higher": (
        _finding("params", "params", claimed=7_000_000_000, measured=7_000_000_000),
        "params params: the report has the claim 7000000000, but the card has 64482",
    ),
    "no claim": (
        _finding("params", "params", claimed=None, status=Status.UNCLAIMED),
        "params params: the report has the claim none, but the card has 64482",
    ),
    "a tolerance": (
        _finding("accuracy", TOP1, tolerance=60.0),
        f"accuracy {TOP1}: the report has the tolerance 60.0, but the card has 0.055",
    ),
    "no tolerance": (
        _finding("params", "params", tolerance=None),
        "params params: the report has the tolerance none, but the card has 0.0",
    ),
    "a unit": (
        _finding("accuracy", TOP1, unit="percent of ImageNet"),
        f"accuracy {TOP1}: the report has the unit 'percent of ImageNet', but the card has 'percent'",
    ),
    "another convention": (
        _evidence("flops", "macs", convention="flops"),
        "flops macs: it was counted under another convention or at another input than the claim's",
    ),
    "another input": (
        _evidence("flops", "macs", input=[3, 64, 64]),
        "flops macs: it was counted under another convention or at another input than the claim's",
    ),
    # counts
    "more images right than there are": (
        _top1(correct=400),
        f"accuracy {TOP1}: 400 of 360 images are correct, of a split of 360, which is impossible",
    ),
    "more images than the split has": (_top1(images=400, correct=399), "399 of 400 images are correct, of a split of 360"),
    "a split of another size": (
        _top1(images=3600, split_images=3600, correct=3590),
        f"accuracy {TOP1}: it was measured on a split of 3600 images, but the dataset card says 360",
    ),
    "a measurement that the counts do not give": (
        _finding("accuracy", TOP1, measured=99.75),
        f"accuracy {TOP1}: measured is 99.75, but 359 of 360 images are 99.7222",
    ),
    "no image": (_top1(images=0, correct=0, split_images=360), "0 of 0 images are correct"),
    "less than no image": (_top1(correct=-1), "its numbers of images are not counts"),
    "a part of an image": (_top1(correct=359.5), "its numbers of images are not counts"),
    "counts that are texts": (_top1(correct="359"), "its numbers of images are not counts"),
    "counts that are true": (_top1(images=True, correct=True), "its numbers of images are not counts"),
    "no counts": (_finding("accuracy", TOP1, evidence={}), "its evidence is not of the form that zoo writes"),
    "top-1 above top-5": (
        lambda report: with_finding(
            with_evidence(report, TOP5, {"correct": 358}), "accuracy", TOP5, measured=99.444444
        ),
        f"accuracy {TOP1}: top-1 is correct for 359 images, but top-5 for 358, which is impossible",
    ),
    "images of another manifest": (
        _top1(manifest_sha256="0" * 64),
        f"accuracy {TOP1}: it was measured on other images than those of data digits/validation",
    ),
    "a copy with other images": (_evidence("data", DATA, images=361), "the copy has 361 images, the dataset card says 360"),
    "a manifest that is none": (_evidence("data", DATA, manifest_sha256=HTML), "is not a SHA-256 of 64 digits"),
    "a file without tensors": (_evidence("loading", WEIGHTS_FILE, tensors=0), "the file has 0 tensors"),
    # types
    "an accuracy that is HTML": (
        _finding("accuracy", TOP1, measured=HTML),
        f"accuracy {TOP1}: measured is '{HTML}', but 359 of 360 images are 99.7222",
    ),
    "params that are HTML": (
        _finding("params", "params", measured=HTML),
        f"params params: measured is '{HTML}', which is not a count",
    ),
    "operations that are HTML": (_finding("flops", "macs", measured=HTML), "which is not a number of macs"),
    "a digest that is HTML": (
        _finding("files", f"{WEIGHTS_FILE}/sha256", measured=HTML),
        "which is not a SHA-256 of 64 digits",
    ),
    "a short digest": (
        _finding("files", f"{WEIGHTS_FILE}/sha256", measured=WEIGHTS_SHA256[:8]),
        "which is not a SHA-256 of 64 digits",
    ),
    "params in parts": (_finding("params", "params", measured=64482.0), "which is not a count"),
    "params beyond all": (_finding("params", "params", measured=10**22), "which is not a count"),
    "nothing measured": (_finding("params", "params", measured=None), "measured is none, which is not a count"),
    "logits that are texts": (_evidence("fingerprint", "fingerprint", logits=["1"]), "its logits are not numbers"),
    "no logits": (_evidence("fingerprint", "fingerprint", logits=[]), "its logits are not numbers"),
    "classes that are HTML": (_evidence("build", "build", num_classes=HTML), "build build: num_classes is"),
    "a layer that is HTML": (_evidence("build", "build", classifier=[HTML]), "build build: classifier is"),
    "a flag that is a text": (_evidence("build", "build", fixed_input_size="no"), "fixed_input_size is not true or false"),
    # times
    "an accuracy of 2099": (
        _top1(measured="2099-01-01T00:00:00Z"),
        f"the time of accuracy {TOP1} is not possible: 2099-01-01T00:00:00Z",
    ),
    "an accuracy of 1999": (_top1(measured="1999-12-31T00:00:00Z"), "is not possible: 1999-12-31T00:00:00Z"),
    "an accuracy of no day": (_top1(measured="2026-02-30T00:00:00Z"), "is not possible: 2026-02-30T00:00:00Z"),
    "an accuracy of no time": (_top1(measured=None), "is not possible: None"),
    # what it is about
    "a file that is not the card's": (
        _subject(weights=(MeasuredFile("other.safetensors", "0" * 64, 1),)),
        f"the report is about other.safetensors, but the card lists {WEIGHTS_FILE}",
    ),
    "no file": (_subject(weights=()), f"the report does not name {WEIGHTS_FILE} among the files that it is about"),
    "other bytes than measured": (
        _subject(weights=(MeasuredFile(WEIGHTS_FILE, "0" * 64, 279632),)),
        f"files {WEIGHTS_FILE}: the report is about other bytes than its own findings",
    ),
    "data that were not measured": (
        _subject(datasets=(MeasuredData("imagenet-1k", "validation", "0" * 64),)),
        "the report is about other data than its own findings",
    ),
    "the card twice": (
        lambda report: replace(report, subjects=report.subjects * 2),
        f"the report mentions {NAME} 2 times",
    ),
    "no machine": (
        lambda report: replace(report, environment={"libraries": [1]}),
        "the report does not say on which machine and with which libraries it was made",
    ),
    "a version that is a text": (
        lambda report: replace(report, zoo="the newest"),
        "the report's version of zoo is 'the newest', which is not a version",
    ),
}  # fmt: skip


def refused(report: Report, **what: Any) -> str:
    with pytest.raises(Refused) as error_info:
        admit(report, **what)
    return error_info.value.what


@pytest.mark.parametrize(("forge", "message"), FORGED.values(), ids=FORGED)
def test_a_forged_report_is_refused_with_a_message_of_its_own(forge: Forge, message: str) -> None:
    report = forge(digits_report())
    if not message:  # equal numbers are equal, written as 100 or 100.0
        assert admit(report)
        return
    assert message in refused(report)


@pytest.mark.parametrize(
    ("created", "message"),
    [
        ("2099-01-01T00:00:00Z", "the report's time is in the future: 2099-01-01T00:00:00Z"),
        ("2026-13-01T00:00:00Z", "the report's time is not possible: 2026-13-01T00:00:00Z"),
        ("1970-01-01T00:00:00Z", "the report's time is not possible: 1970-01-01T00:00:00Z"),
        ("0000-00-00T00:00:00Z", "the report's time is not possible: 0000-00-00T00:00:00Z"),
    ],
)
def test_a_report_of_an_impossible_time_is_refused(run_zoo: RunZoo, tmp_path: Path, created: str, message: str) -> None:
    (tmp_path / "forged.json").write_text(replace(digits_report(), created=created).to_json())
    ran = run_zoo(
        "publish", NAME, "--to", f"folder:{tmp_path / 'out'}", "--report", tmp_path / "forged.json", "--max-age", "1e9"
    )
    assert ran.code == 3 and message in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("check", "allowed", "finding", "status", "message"),
    [
        (
            "accuracy",
            "accuracy",
            TOP1,
            Status.UNKNOWN,
            "the report says unknown, but by its own measurement it is wrong",
        ),
        ("flops", "flops", "macs", Status.SKIPPED, "the report says skipped, but by its own measurement it is wrong"),
    ],
)
def test_an_allowance_does_not_cover_a_wrong_number_that_is_called_unknown(
    check: str, allowed: str, finding: str, status: Status, message: str
) -> None:
    forged = with_evidence(digits_report(), TOP1, {"correct": 180}) if check == "accuracy" else digits_report()
    forged = with_finding(forged, check, finding, status=status, measured=50.0)
    assert message in refused(forged, allowance=Allowance(allowed, "why"))


@pytest.mark.parametrize("check", ["accuracy", "flops"])
def test_an_allowance_that_covers_nothing_is_refused(check: str) -> None:
    assert f"--allow {check} is not needed" in refused(digits_report(), allowance=Allowance(check, "why"))


def test_an_allowance_for_another_gap_is_refused() -> None:
    gap = with_finding(digits_report(), "flops", "macs", status=Status.SKIPPED, measured=None)
    assert "--allow accuracy is not needed" in refused(gap, allowance=Allowance("accuracy", "why"))
    assert admit(gap, allowance=Allowance("flops", "why"))


def test_a_number_that_was_not_measured_is_not_shown_as_measured() -> None:
    from tests.helpers.releases import release

    gap = with_finding(digits_report(), "accuracy", TOP1, status=Status.SKIPPED, measured=99.99)
    text = release(gap, allowance=Allowance("accuracy", "why")).file("README.md").read().decode()
    assert f"| accuracy {TOP1} | 99.72 percent | - | ± 0.055 | - | skipped |" in text
    assert "99.99" not in text


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"report": 2, "zoo": "1", "findings": ' + "[" * 5000 + "]" * 5000 + "}",
        "NaN",
        "",
        "[]",
        '{"report": 2}',
    ],
    ids=["nested", "nested values", "NaN", "empty", "list", "fields"],
)
def test_a_file_that_is_no_report_is_a_usage_error(run_zoo: RunZoo, tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    ran = run_zoo("publish", NAME, "--to", f"folder:{tmp_path / 'out'}", "--report", tmp_path / "report.json")
    assert (ran.code, "not a report" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    "evidence", [{"x": float("nan")}, {"x": 10**400}, {"x": "\ud800"}], ids=["NaN", "huge", "surrogate"]
)
def test_values_that_zoo_never_writes_are_no_report(
    run_zoo: RunZoo, tmp_path: Path, evidence: dict[str, object]
) -> None:
    data = json.loads(digits_report().to_json())
    data["findings"][0]["evidence"] = evidence
    (tmp_path / "report.json").write_text(json.dumps(data))
    ran = run_zoo("publish", NAME, "--to", f"folder:{tmp_path / 'out'}", "--report", tmp_path / "report.json")
    assert (ran.code, "not a report" in ran.err) == (2, True), ran.err


# --- the card ----------------------------------------------------------------------------------------------------------


LOOSE = {
    "value: 99.72, unit: percent, rounded_to: 0.01": "value: 60, unit: percent, rounded_to: 100, tolerance: 60",
    "value: 1037056, convention: macs,": "value: 9037056, convention: macs, rounded_to: 1e8,",
    "value: 64482,": "value: 60000, rounded_to: 10000,",
    "  tolerance: 0.0003": "  tolerance: 1e6",
}
EXCEEDED = ("tolerance-limit", "rounding-limit", "rounding-limit#2", "rounding-limit#3", "fingerprint-limit")


def test_a_card_beyond_the_limits_is_not_published_whatever_it_ignores(digits_zoo: Path) -> None:
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    for old, new in LOOSE.items():
        replace_once(card, old, new)
    card.write_text(f"{card.read_text()}ignore: [{{rule: consistency, reason: trust me}}]\n")
    report, catalog = api.verify(NAME, cards=digits_zoo, strict=True), load_catalog([digits_zoo])
    assert all(item.status is not Status.WRONG for item in report.findings)
    message = refused(report, catalog=catalog)
    assert [rule for rule in EXCEEDED if f"suspect consistency {rule}:" not in message] == []
    for status in (Status.OK, Status.UNCLAIMED):  # nor with a report that says that each was accepted
        forged = report
        for rule in EXCEEDED:
            forged = with_finding(forged, "consistency", rule, status=status)
        message = refused(forged, catalog=catalog)
        for rule in EXCEEDED:
            expected = f"consistency {rule}: the report says {status.value}, but by its own measurement it is suspect"
            assert expected in message


def test_a_report_of_a_card_that_had_fewer_claims_is_refused(digits_zoo: Path) -> None:
    report = without_finding(digits_report(), "accuracy", TOP5)
    assert f"the report has no finding for accuracy {TOP5}" in refused(report)

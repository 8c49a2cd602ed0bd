"""What the publishing tests share: the digits model verified once a session, its report to alter, and its release."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

from tests.helpers.project import ROOT
from zoo import api
from zoo.publishing import gate
from zoo.publishing.gate import Admission, Allowance, Terms
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import Release, compose_release, measure_files, released_weights
from zoo.registry.catalog import Catalog, Member, load_catalog
from zoo.verification.report import Finding, Report

NAME = "resnest_digits"
WEIGHTS_FILE = "resnest_digits-9fd38cd8.safetensors"
WEIGHTS_SHA256 = "9fd38cd81797c875d7739fa736b170c6246e8ca92e1fe376fda71576bd065580"
WEIGHTS = (ROOT / "cards" / "digits" / WEIGHTS_FILE).read_bytes()


@cache
def digits_report() -> Report:
    """The complete and good report about the shipped digits model."""
    return api.verify(NAME, strict=True)


@cache
def shipped() -> Catalog:
    return load_catalog()


def member(catalog: Catalog | None = None) -> Member:
    """The digits model of a catalogue, or of the shipped one."""
    catalog = catalog or shipped()
    return Member(catalog.find(NAME), catalog)


def made_at(report: Report) -> datetime:
    return datetime.strptime(report.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def with_finding(report: Report, check: str, key: str, /, **changes: Any) -> Report:
    """The report with one finding altered."""
    assert any((item.check, item.key) == (check, key) for item in report.findings)
    changed = (replace(item, **changes) if (item.check, item.key) == (check, key) else item for item in report.findings)
    return replace(report, findings=tuple(changed))


def without_finding(report: Report, check: str, key: str) -> Report:
    return replace(report, findings=tuple(item for item in report.findings if (item.check, item.key) != (check, key)))


def with_evidence(report: Report, key: str, evidence: Mapping[str, Any]) -> Report:
    accuracy = next(item for item in report.findings if (item.check, item.key) == ("accuracy", key))
    return with_finding(report, "accuracy", key, evidence={**accuracy.evidence, **evidence})


def admit(
    report: Report | None = None,
    *,
    catalog: Catalog | None = None,
    after: timedelta = timedelta(minutes=1),
    allowance: Allowance | None = None,
) -> Admission:
    """The gate's answer for the digits model, so long after its report was made."""
    report, catalog = report or digits_report(), catalog or shipped()
    now = made_at(report) + after
    return gate.admit(member(catalog), report, Terms(allowance=allowance), now=now)


def release(
    report: Report | None = None,
    *,
    catalog: Catalog | None = None,
    address: ReleaseAddress | None = None,
    readme: bytes | None = None,
    allowance: Allowance | None = None,
) -> Release:
    """The digits model's release."""
    admission = admit(report, catalog=catalog, allowance=allowance)
    with tempfile.TemporaryDirectory() as temporary:
        proof = gate.prove(admission, measure_files(admission.card, Path(temporary)))
        weights = released_weights(proof, Path(temporary))
        made = compose_release(proof, weights, address=address or ReleaseAddress(), readme=readme)
        return replace(made, files=tuple(replace(item, content=item.read()) for item in made.files))


def finding(report: Report, check: str, key: str) -> Finding:
    return next(item for item in report.findings if (item.check, item.key) == (check, key))

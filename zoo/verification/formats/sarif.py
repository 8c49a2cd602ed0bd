"""Write a report as SARIF 2.1.0, which code hosts show at the lines of the files.

Source: docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html, sections 3.14 (run), 3.27 (result), 3.49 (rule).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from zoo.registry.position import position
from zoo.runtime.text import json_text, sarif
from zoo.verification.formats import text
from zoo.verification.report import Finding, Report, Status

LEVELS = {Status.WRONG: "error", Status.UNKNOWN: "warning", Status.SUSPECT: "warning"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(report: Report) -> str:
    """Return one run, with a result for each finding that is wrong, unknown or suspect."""
    findings = [finding for finding in report.findings if finding.status in LEVELS]
    rules = sorted({finding.rule for finding in findings})
    driver = {
        "name": "zoo",
        "version": report.zoo,
        "rules": [{"id": rule, "name": rule.replace("/", "-")} for rule in rules],
    }
    results = [_result(finding, rules.index(finding.rule)) for finding in findings]
    invocation = {"executionSuccessful": True, "exitCode": report.exit_code, "endTimeUtc": report.created}
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json_text(json.dumps(log, indent=2, ensure_ascii=False)) + "\n"


def _result(finding: Finding, rule_index: int) -> dict[str, Any]:
    details = "; ".join(part for part in (finding.reason, text.comparison(finding)) if part) or finding.status.value
    message = f"{finding.model}: {details}" + (f" (hint: {finding.hint})" if finding.hint else "")
    identity = f"{finding.model}\0{finding.check}\0{finding.key}"
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": LEVELS[finding.status],
        "message": {"text": sarif(message)},
        "partialFingerprints": {"zoo/v1": hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:32]},
    }
    file, line, column = position(finding.where)
    if file:
        region = {"startLine": line, "startColumn": column}
        place = {"artifactLocation": {"uri": quote(file, errors="backslashreplace")}, "region": region}
        result["locations"] = [{"physicalLocation": place}]
    return result

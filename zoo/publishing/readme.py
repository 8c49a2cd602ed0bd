"""Generate the README of a release: metadata that the Hub accepts, what was measured, how to load the model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zoo.accuracy.intervals import confidence_interval
from zoo.models.facts import Value
from zoo.publishing.gate import Admission, is_whole
from zoo.publishing.licenses import LICENSES
from zoo.publishing.merge import Generated
from zoo.registry.card import Card, ResultClaim
from zoo.registry.metrics import METRICS
from zoo.registry.quantities import whole
from zoo.verification.report import Finding, Status

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""A valid id of a data set or model on the Hub (huggingface_hub 2.4.0, utils/_validators.py, validate_repo_id)."""


@dataclass(frozen=True, slots=True)
class ReleaseAddress:
    """The release's address in its README: a repository of the Hub with its web page, or a placeholder for a folder.

    The README does not name the folder itself, because that is a path of this machine.
    """

    repository: str = "path/to/this/folder"
    page: str = ""

    @property
    def for_timm(self) -> str:
        """The model's name for timm.create_model."""
        return f"hf-hub:{self.repository}" if self.page else f"local-dir:{self.repository}"


def generate(admission: Admission, weights_file: str, address: ReleaseAddress, *, is_converted: bool) -> Generated:
    """Return the generated part of the README. weights_file: the card's file that became model.safetensors."""
    return Generated(_metadata(admission, address), _body(admission, weights_file, address, is_converted))


# --- metadata -----------------------------------------------------------------------------------------------------


def _metadata(admission: Admission, address: ReleaseAddress) -> dict[str, Any]:
    card, measured = admission.card, _measured_results(admission)
    library = card.builder.library if card.builder else None
    tags = [
        card.task,
        *({"timm": ("timm", "transformers"), "python": ()}.get(library or "", (library,))),
        card.collection,
    ]
    values: dict[str, Any] = {
        **_license(card),
        "library_name": library if library != "python" else None,  # a function that the card names is not a library
        "pipeline_tag": card.task,
        "tags": [tag for tag in dict.fromkeys(tags) if tag],
        "datasets": [name for name in _datasets(admission) if HUB_ID.fullmatch(name)],
        "metrics": list(dict.fromkeys(METRICS[claim.metric].hub_type for claim, _ in measured)),
        "base_model": card.base_model if card.base_model and "/" in card.base_model else None,
        "model-index": _model_index(admission, measured, address) if measured else None,
    }
    return {key: value for key, value in values.items() if value}


def _license(card: Card) -> dict[str, str]:
    """Return the card's licence in the Hub's terms; empty when the card names none."""
    if card.license is None:
        return {}
    if card.license.lower() in LICENSES - {"other"}:
        return {"license": card.license.lower()}
    link = {"license_link": "LICENSE"} if card.license_file else {}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.-]+", "-", card.license.lower()), **link}


def _datasets(admission: Admission) -> list[str]:
    """Return the data sets that the model was trained on, by its card or its family, then those it was evaluated on."""
    collection = admission.collection
    trained = admission.card.training.get("data") or (collection.training.get("data") if collection else None) or ()
    names = [trained] if isinstance(trained, str) else [str(name) for name in trained]
    known = {alias: item.name for item in admission.datasets.values() for alias in (item.name, *item.aliases)}
    return list(dict.fromkeys(known.get(name, name) for name in (*names, *admission.datasets)))


def _model_index(
    admission: Admission, measured: Sequence[tuple[ResultClaim, Finding]], address: ReleaseAddress
) -> list[dict[str, Any]]:
    """Return one result for each data set and split, with the measured values.

    Source: huggingface_hub 2.4.0, repocard_data.py, eval_results_to_model_index.
    """
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for claim, finding in measured:
        dataset = admission.datasets.get(claim.dataset)
        group = results.setdefault(
            (claim.dataset, claim.split),
            {
                "task": {"type": admission.card.task or "image-classification"},
                "dataset": {
                    "name": dataset.title or dataset.name if dataset else claim.dataset,
                    "type": dataset.name if dataset else claim.dataset,
                    "split": claim.split,
                },
                "metrics": [],
                **(
                    {"source": {"name": "zoo verify", "url": f"{address.page}/blob/main/verification.json"}}
                    if address.page
                    else {}
                ),
            },
        )
        metric = METRICS[claim.metric]
        name = f"{metric.hub_name}, {claim.unit or 'percent'}"
        group["metrics"].append({"type": metric.hub_type, "value": finding.measured, "name": name})
    return [{"name": admission.card.name, "results": list(results.values())}]


def _measured_results(admission: Admission) -> list[tuple[ResultClaim, Finding]]:
    """Return the claims that were measured over a whole split, each with its finding."""
    by_key = {item.key: item for item in admission.report.findings if item.check == "accuracy"}
    pairs = [(claim, by_key.get(claim.key)) for claim in admission.card.results]
    return [
        (claim, finding)
        for claim, finding in pairs
        if finding and finding.status is Status.OK and is_whole(finding, admission.datasets) and claim.metric in METRICS
    ]


# --- text ---------------------------------------------------------------------------------------------------------


@cache
def template() -> Any:
    """Return the README's template; compiled on first use."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # Markdown, not HTML
    return environment.from_string((Path(__file__).parent / "readme.md.j2").read_text(encoding="utf-8"))


def _body(admission: Admission, weights_file: str, address: ReleaseAddress, is_converted: bool) -> str:
    card, collection = admission.card, admission.collection
    rows = [_row(finding) for finding in _table_findings(admission.report.findings)]
    text: str = template().render(
        name=card.name,
        summary=(collection.description or "").strip() if collection else "",
        warnings=_warnings(admission),
        zoo=admission.report.zoo,
        rows=rows,
        interval_note=_interval_note(rows),
        library=card.builder.library if card.builder else "",
        address=address.for_timm,
        repository=address.repository,
        facts=list(_facts(admission, weights_file, is_converted)),
        provenance=list(_provenance(card)),
        verification=list(_verification(admission)),
        citation=(collection.citation or "").strip() if collection else "",
    )
    return text


def _warnings(admission: Admission) -> list[str]:
    allowance = admission.allowance
    if allowance is None:
        return []
    missing = ", ".join(f"{item.check} {item.key} ({item.status.value})" for item in admission.unproven)
    return [f"**Not verified: {missing}.** The publisher's reason: {' '.join(allowance.reason.split())}"]


def _table_findings(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the findings for the table: about numbers and files, in the order in which readers look for them."""
    for check in ("accuracy", "params", "flops", "files", "loading", "fingerprint", "data"):
        for finding in findings:
            if finding.check == check and not finding.key.endswith("/size"):
                yield finding


def _row(finding: Finding) -> dict[str, str]:
    return {
        "what": _escaped(finding.check if finding.key == finding.check else f"{finding.check} {finding.key}"),
        "claimed": _escaped(_value(finding.claimed, finding.unit)),
        "measured": _escaped(_value(finding.measured, finding.unit)),
        "interval": _interval(finding),
        "status": finding.status.value,
    }


def _value(value: Value, unit: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return f"`{value[:16]}...`" if len(value) == 64 else value
    return (
        f"{value:,} {unit}".strip() if isinstance(value, int) else f"{value:,.4f}".rstrip("0").rstrip(".") + f" {unit}"
    )


def _interval(finding: Finding) -> str:
    """Return the 95 % confidence interval of an accuracy, or the tolerance of another value."""
    correct, images = finding.evidence.get("correct"), finding.evidence.get("images")
    if isinstance(correct, int) and isinstance(images, int) and images:
        interval = confidence_interval(correct, images)
        unit = whole(finding.unit)
        return f"{interval.low * unit:.2f} to {interval.high * unit:.2f} ({correct:,} of {images:,})"
    if finding.tolerance:
        return f"claim ± {finding.tolerance:g}"
    return "exact" if isinstance(finding.measured, (int, float)) else "-"


def _interval_note(rows: Sequence[Mapping[str, str]]) -> str:
    if not any(" of " in row["interval"] for row in rows):
        return "The interval is the allowed difference between claim and measurement."
    return (
        "The interval of an accuracy is its 95 % confidence interval for similar images (Clopper-Pearson), with the"
        " number of correct images. Any other interval is the allowed difference between claim and measurement."
    )


def _facts(admission: Admission, weights_file: str, is_converted: bool) -> Iterator[tuple[str, str]]:
    card, collection = admission.card, admission.collection
    measured = {item.file: item for item in admission.subject.weights}[weights_file]
    if card.builder:
        options = ", ".join(f"{key}={value}" for key, value in card.builder.options.items())
        yield (
            "architecture",
            f"`{card.builder.entry}` of {card.builder.library}" + (f", with {options}" if options else ""),
        )
    if card.input and card.input.size:
        yield "input", f"{' x '.join(map(str, card.input.size))}, {card.input.interpolation or 'bilinear'}"
    yield "weights", f"`{measured.file}`, {measured.size_bytes:,} bytes, SHA-256 `{measured.sha256}`"
    if is_converted:
        yield "`model.safetensors`", f"the same tensors as `{measured.file}`, compared bit by bit after the conversion"
    yield "licence", card.license or "not stated"
    if card.base_model:
        yield "base model", card.base_model
    if collection and collection.paper and collection.paper.title:
        yield (
            "paper",
            f"[{collection.paper.title}]({collection.paper.url})" if collection.paper.url else collection.paper.title,
        )
    if card.code:
        yield "code", card.code
    for title, values in (
        (("components", collection.architecture), ("techniques", collection.techniques)) if collection else ()
    ):
        if values:
            yield title, ", ".join(values)
    training = {**(collection.training if collection else {}), **card.training}
    if training:
        yield "training", "; ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in training.items())


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _provenance(card: Card) -> Iterator[dict[str, str]]:
    """Yield each claim with its origin, and its source: the one that the card names, else the card's own line."""
    claims: list[tuple[str, Any]] = [("parameters", card.claims.params)] if card.claims and card.claims.params else []
    claims += [(f"{item.convention or 'FLOPs'}", item) for item in card.flops]
    claims += [(f"{item.metric} on {item.dataset}, {item.split}", item) for item in card.results]
    for title, claim in claims:
        source = claim.source or f"{card.path.name}, line {claim.where['value'].line}"
        yield {
            "claim": _escaped(f"{title}: {claim.value:,}"),
            "origin": claim.origin or "not stated",
            "source": _escaped(source),
        }


def _verification(admission: Admission) -> Iterator[tuple[str, str]]:
    report = admission.report
    libraries = report.environment.get("libraries", {})
    yield "date", report.created
    yield "software", f"zoo {report.zoo}, " + ", ".join(f"{name} {version}" for name, version in libraries.items())
    yield (
        "machine",
        f"{report.environment.get('platform', 'an unknown machine')}, Python {report.environment.get('python', '?')}",
    )
    for data in admission.subject.datasets:
        yield "data", f"{data.name}, {data.split} split, manifest SHA-256 `{data.manifest_sha256}`"
    yield "repeat with", f"`zoo verify {admission.card.name} --fetch --strict`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

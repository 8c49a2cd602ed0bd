"""Generate the README of a release: metadata that the Hub accepts, what was measured, how to load the model.

The metadata have measured results, and values that the card's digest in the report covers, in the alphabet of the Hub's names.
In the text, all that the template inserts passes `zoo.runtime.text.markdown`. What zoo did not measure stands at the end, under
"From the card, not measured".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zoo.accuracy.intervals import confidence_interval
from zoo.models.facts import Value
from zoo.publishing.gate import NOT_MEASURED, Admission
from zoo.publishing.licenses import LICENSES
from zoo.publishing.merge import Generated
from zoo.registry.card import Card, ResultClaim
from zoo.registry.metrics import METRICS
from zoo.registry.quantities import whole
from zoo.runtime.text import Markdown, code_text, markdown, markdown_code, markdown_fence, markdown_link, visible
from zoo.verification.report import Finding, Status

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
"""A valid id of a data set or model on the Hub (huggingface_hub 2.4.0, utils/_validators.py, validate_repo_id)."""
TAG = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
"""A task or a tag; other text is not a name that the Hub knows."""
NONE = Markdown("-")


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
    card, measured = admission.card, admission.measured_results
    library, task = card.builder.library if card.builder else None, card.task
    tags = [task, *({"timm": ("timm", "transformers"), "python": ()}.get(library or "", (library,))), card.collection]
    values: dict[str, Any] = {
        **_license(card),
        "library_name": library if library != "python" else None,  # a function that the card names is not a library
        "pipeline_tag": task if task and TAG.fullmatch(task) else None,
        "tags": [tag for tag in dict.fromkeys(tags) if tag and TAG.fullmatch(tag)],
        "datasets": [item.name for item in admission.measured_datasets if HUB_ID.fullmatch(item.name)],
        "metrics": list(dict.fromkeys(METRICS[claim.metric].hub_type for claim, _ in measured)),
        "base_model": card.base_model if card.base_model and _is_repository(card.base_model) else None,
        "model-index": _model_index(admission, measured, address) if measured else None,
    }
    return {key: value for key, value in values.items() if value}


def _is_repository(name: str) -> bool:
    return "/" in name and HUB_ID.fullmatch(name) is not None


def _license(card: Card) -> dict[str, str]:
    """Return the card's licence in the Hub's terms; empty when the card names none."""
    if card.license is None:
        return {}
    if card.license.lower() in LICENSES - {"other"}:
        return {"license": card.license.lower()}
    link = {"license_link": "LICENSE"} if card.license_file else {}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.-]+", "-", card.license.lower()), **link}


def _model_index(
    admission: Admission, measured: Sequence[tuple[ResultClaim, Finding]], address: ReleaseAddress
) -> list[dict[str, Any]]:
    """Return one result for each data set and split, with the measured values.

    Source: huggingface_hub 2.4.0, repocard_data.py, eval_results_to_model_index.
    """
    results: dict[tuple[str, str], dict[str, Any]] = {}
    source = {"name": "zoo verify", "url": f"{address.page}/blob/main/verification.json"}
    task = admission.card.task or ""
    for claim, finding in measured:
        dataset = admission.datasets[claim.dataset]
        group = results.setdefault(
            (claim.dataset, claim.split),
            {
                "task": {"type": task if TAG.fullmatch(task) else "image-classification"},
                "dataset": {
                    "name": _name(dataset.title or dataset.name),
                    "type": dataset.name,
                    "split": _name(claim.split),
                },
                "metrics": [],
                **({"source": source} if address.page else {}),
            },
        )
        metric = METRICS[claim.metric]
        name = f"{metric.hub_name}, {'fraction' if claim.unit == 'fraction' else 'percent'}"
        group["metrics"].append({"type": metric.hub_type, "value": finding.measured, "name": name})
    return [{"name": admission.card.name, "results": list(results.values())}]


def _name(text: str) -> str:
    """Return a name for the metadata, in one line and without what could be markup or a mark."""
    return re.sub("[<>]", "", visible(text))


# --- text ---------------------------------------------------------------------------------------------------------


@cache
def template() -> Any:
    """Return the README's template; compiled on first use. All that it inserts is escaped, except Markdown."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=_inserted)
    return environment.from_string((Path(__file__).parent / "readme.md.j2").read_text(encoding="utf-8"))


def _inserted(value: object) -> Markdown:
    return markdown(value if isinstance(value, str) else str(value))


def _body(admission: Admission, weights_file: str, address: ReleaseAddress, is_converted: bool) -> str:
    card, collection, report = admission.card, admission.collection, admission.report
    rows = [_row(card, finding) for finding in _table_findings(report.findings)]
    text: str = template().render(
        name=card.name,
        name_in_code=code_text(card.name),
        warnings=_warnings(admission),
        zoo=report.zoo,
        rows=rows,
        interval_note=_interval_note(rows),
        library=card.builder.library if card.builder else "",
        address=code_text(address.for_timm),
        repository=code_text(address.repository),
        facts=list(_facts(admission, weights_file, is_converted)),
        verification=list(_verification(admission)),
        summary=_paragraphs(collection.description or "") if collection else [],
        claims=list(_unmeasured(admission)),
        provenance=list(_provenance(card)),
        citation=markdown_fence(collection.citation.strip(), "bibtex") if collection and collection.citation else "",
    )
    return text


def _warnings(admission: Admission) -> list[Markdown]:
    allowance = admission.allowance
    if allowance is None:
        return []
    missing = markdown(", ".join(f"{item.check} {item.key} ({item.status.value})" for item in admission.unproven))
    return [Markdown(f"**Not verified: {missing}.** The publisher's reason: {markdown(allowance.reason)}")]


def _table_findings(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the findings for the table: about numbers and files, in the order in which readers look for them."""
    for check in ("accuracy", "params", "flops", "files", "loading", "fingerprint", "data"):
        for finding in findings:
            if finding.check == check and not finding.key.endswith("/size"):
                yield finding


def _row(card: Card, finding: Finding) -> dict[str, str]:
    return {
        "what": finding.check if finding.key == finding.check else f"{finding.check} {finding.key}",
        "claimed": _value(finding.claimed, finding.unit),
        "measured": NONE if finding.status in NOT_MEASURED else _measured(card, finding),
        "tolerance": _tolerance(finding),
        "interval": _interval(finding) if (finding.check, finding.status) == ("accuracy", Status.OK) else NONE,
        "status": finding.status.value,
    }


def _measured(card: Card, finding: Finding) -> str:
    if finding.check != "fingerprint" or card.fingerprint is None:
        return _value(finding.measured, finding.unit)
    pairs = zip(card.fingerprint.logits, finding.evidence["logits"], strict=False)
    return f"off by {max(abs(claimed - measured) for claimed, measured in pairs):.2g} at most"


def _value(value: Value, unit: str) -> str:
    if value is None:
        return NONE
    if isinstance(value, str):
        return markdown_code(f"{value[:16]}...") if len(value) == 64 else value
    return (
        f"{value:,} {unit}".strip() if isinstance(value, int) else f"{value:,.4f}".rstrip("0").rstrip(".") + f" {unit}"
    )


def _tolerance(finding: Finding) -> str:
    """Return how far the measurement may be from the claim, and still agree."""
    if finding.tolerance:
        return f"± {finding.tolerance:g}"
    return "exact" if finding.claimed is not None else NONE


def _interval(finding: Finding) -> str:
    """Return the 95 % confidence interval of a measured accuracy, with its counts."""
    correct, images = finding.evidence["correct"], finding.evidence["images"]
    interval, unit = confidence_interval(correct, images), whole(finding.unit)
    return f"{interval.low * unit:.2f} to {interval.high * unit:.2f} ({correct:,} of {images:,})"


def _interval_note(rows: Sequence[Mapping[str, str]]) -> str:
    note = "The tolerance is the allowed difference between claim and measurement, in the unit of the claim."
    if all(row["interval"] is NONE for row in rows):
        return note
    return (
        f"{note} The interval of an accuracy is its 95 % confidence interval for similar images (Clopper-Pearson), with the"
        " number of correct images."
    )


def _facts(admission: Admission, weights_file: str, is_converted: bool) -> Iterator[tuple[str, str]]:
    """Yield what was built, loaded and evaluated."""
    card = admission.card
    measured = {item.file: item for item in admission.subject.weights}[weights_file]
    if card.builder:
        options = ", ".join(f"{key}={value}" for key, value in card.builder.options.items())
        entry, library = markdown_code(card.builder.entry), markdown(card.builder.library)
        yield (
            "architecture",
            Markdown(f"{entry} of {library}" + (f", with {markdown_code(options)}" if options else "")),
        )
    if card.input and card.input.size:
        yield "input", f"{' x '.join(map(str, card.input.size))}, {card.input.interpolation or 'bilinear'}"
    file = markdown_code(measured.file)
    yield "weights", Markdown(f"{file}, {measured.size_bytes:,} bytes, SHA-256 `{measured.sha256}`")
    if is_converted:
        same = f"the same tensors as {file}, compared bit by bit after the conversion"
        yield Markdown("`model.safetensors`"), Markdown(same)


def _verification(admission: Admission) -> Iterator[tuple[str, str]]:
    report = admission.report
    libraries = report.environment["libraries"]
    yield "date", report.created
    yield "software", f"zoo {report.zoo}, " + ", ".join(f"{name} {version}" for name, version in libraries.items())
    yield "machine", f"{report.environment['platform']}, Python {report.environment['python']}"
    for data in admission.subject.datasets:
        name = markdown(f"{data.name}, {data.split} split")
        yield "data", Markdown(f"{name}, manifest SHA-256 `{data.manifest_sha256}`")
    yield "repeat with", markdown_code(f"zoo verify {admission.card.name} --fetch --strict")


# --- from the card, not measured ----------------------------------------------------------------------------------


def _paragraphs(text: str) -> list[str]:
    return [paragraph for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def _unmeasured(admission: Admission) -> Iterator[tuple[str, str]]:
    """Yield what the card and its collection say beyond what zoo measures."""
    card, collection = admission.card, admission.collection
    yield "licence", card.license or "not stated"
    if card.base_model:
        yield "base model", card.base_model
    if collection and collection.paper and collection.paper.title:
        title, url = collection.paper.title, collection.paper.url
        yield "paper", markdown_link(title, url) if url else title
    if card.code:
        yield "code", markdown_link(card.code, card.code)
    lists = (("components", collection.architecture), ("techniques", collection.techniques)) if collection else ()
    for label, values in lists:
        if values:
            yield label, ", ".join(values)
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
        line = f"{card.path.name}, line {claim.where['value'].line}"
        yield {
            "claim": f"{title}: {claim.value:,}",
            "origin": claim.origin or "not stated",
            "source": markdown_link(claim.source, claim.source) if claim.source else line,
        }

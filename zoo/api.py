"""The Python API: the functions that `import zoo` offers.

A model is named as on the command line, by its name or an alias. `cards` is a folder of cards, or several, in place of the
shipped ones (`--cards`). A path may be a string or a Path. No function changes the state of the calling process: signal
handlers, environment variables, torch's threads and memory allocation stay as they are. Models are measured in worker
processes with limits on time and memory, which do not import the caller's script; only `create_model` builds in this one. Each function imports the rooms that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import NotHere
from zoo.registry.catalog import Member, load_catalog

if TYPE_CHECKING:
    from torch import nn

    from zoo.conversion.dialects import WrittenDocument
    from zoo.conversion.importer import ImportPlan
    from zoo.flops.costs import CostReport
    from zoo.models.builders import Transform
    from zoo.models.subject import Settings, Subject
    from zoo.publishing.run import Publication
    from zoo.registry.card import Card
    from zoo.registry.catalog import Catalog
    from zoo.verification.predict import Prediction
    from zoo.verification.report import Report
    from zoo.verification.scores import Score

Folders = str | Path | Iterable[str | Path]


def list_models(query: str = "", *, where: str = "", sort: str = "", cards: Folders = ()) -> list[str]:
    """Return the names of the models whose name contains the query, sorted by name.

    where: a condition on what the cards claim, as `top1 > 80 and params < 50M`; sort: a field, `-FIELD` for the largest
    first (`zoo list --help` has the fields). Raises UsageError for a condition that is not valid, UnknownName for an
    unknown field.
    """
    from zoo.registry import tables

    return [row.name for row in tables.rows(_catalog(cards), query, where=where, sort=sort)]


def load_card(name: str, *, cards: Folders = ()) -> Card:
    """Return the card of that name or alias.

    Raises UnknownName with the nearest names, CardError when the file of that name is not a valid card.
    """
    return _catalog(cards).find(name)


def fetch(name: str, *, format: str | None = None, offline: bool = False, cards: Folders = ()) -> Path:
    """Return the path of the model's weights file, of the size and SHA-256 in the card; download it if it is not here.

    format: `pickle` or `safetensors`, the card's first file when None; offline: do not use the network.
    Raises NotHere when the card lists no such file, or the file is not here and offline; TransferFailed when it cannot be
    downloaded; WrongContent when it is not what the card says.
    """
    from zoo.weights import store

    card = load_card(name, cards=cards)
    weights = next((item for item in card.weights if item.format == format), None) if format else card.preferred_weights
    if weights is None:
        raise NotHere(f"the card of {card.name} lists no {format} weights", where=str(card.where))
    return store.fetch(card, weights, offline=offline).path


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: bool = False,
    allow_code: bool = False,
    cards: Folders = (),
) -> nn.Module:
    """Return the model in eval mode on the CPU, with fresh weights, or with the card's verified weights if pretrained.

    The model takes images (batch, channels, height, width) as `create_transform` makes them, and returns logits (batch,
    classes). All tensors of the weights file are loaded strictly into the card's own architecture, which is adapted then:
    num_classes: replace the classifier by one with fresh weights, 0 to remove it, which gives pooled features (batch,
    features). in_chans: channels of the images; the weights of the first convolution are adapted. features_only: return a
    list of feature maps (batch, channels, height, width), the largest first.
    allow_code: run the Python code that a card with the builder `python` names.
    Raises as `fetch`; NotHere when the card names no builder, or names code and allow_code is False; WrongContent when the
    architecture does not exist or the weights do not fit; CannotCheck when the architecture cannot be adapted so;
    UsageError for an adaptation that makes no sense.
    """
    from zoo.models.adapt import Adaptation
    from zoo.models.build import build_model, load_model
    from zoo.weights import store

    adaptation = Adaptation(num_classes=num_classes, in_chans=in_chans, features_only=features_only)
    card = load_card(name, cards=cards)
    builder = card.required_builder
    if not pretrained:
        return build_model(builder, allow_code=allow_code, adaptation=adaptation)
    weights = card.preferred_weights
    artifact = store.fetch(card, weights)
    return load_model(builder, artifact, weights.rename, allow_code=allow_code, adaptation=adaptation)


def create_transform(name: str, *, cards: Folders = ()) -> Transform:
    """Return the model's preprocessing: a function from a PIL image to a tensor (channels, height, width).

    The image may have any size and mode, and is converted to 8-bit RGB: transparency is dropped, 16-bit grey is scaled. The
    tensor is float32, resized, cropped and normalised as the card says. Raises NotHere when the card has no input size. The
    function raises UsageError for the modes I and F, whose values have no fixed range.
    """
    from zoo.models.build import make_transform

    return make_transform(load_card(name, cards=cards).required_input)


def validate(
    *targets: str | Path,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    fix: bool = False,
    strict: bool = False,
    cards: Folders = (),
) -> Report:
    """Return the report about the format and the consistency of these cards, or of all cards, as `zoo validate` does.

    targets: names, and paths of card files or of folders of cards. select, ignore: rules by their ids, or by the beginning
    of an id up to a `-`. fix: first change the files where only one fix is possible. strict: `report.exit_code` counts
    suspect findings. Needs no network and no torch. Raises UnknownName for an unknown name or rule, UsageError for a path
    that does not exist.
    """
    from zoo.verification import validation

    names, folders, rules, ignored = [str(target) for target in targets], _folders(cards), list(select), list(ignore)
    results = validation.validate(names, folders, everything=not names, rules=rules, ignore=ignored, fix=fix)
    options = {"command": "validate", "strict": strict, "select": rules, "ignore": ignored}
    return validation.as_report(results, options=options)


def verify(
    *names: str,
    checks: Iterable[str] = (),
    fetch: bool = False,
    data: Mapping[str, str | Path] | None = None,
    device: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    early_stop: bool = False,
    precision: str = "fp32",
    batch_size: int | None = None,
    compile: bool = False,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    max_age_days: float | None = None,
    refresh: bool = False,
    remote: bool = False,
    write: bool = False,
    strict: bool = False,
    allow_code: bool = False,
    cards: Folders = (),
) -> Report:
    """Return the report about what the cards of these models claim, or about all cards: that of `zoo verify`.

    The report has a finding for each claim and check, and is stored for `publish`, unless it is about some checks only.
    checks: names of checks, all when empty. fetch: download missing weights. data: the paths of data sets on this machine,
    by their names. limit: evaluate a random sample of so many images, in the order that seed gives. early_stop: stop an
    evaluation when the claim is refuted. jobs: workers, one or one for each accelerator when None. max_age_days: measure
    accuracies again that are older. refresh: measure everything again. remote: ask the servers about the files. write: add
    measured values to the card files that claim none. strict: `report.exit_code` counts skipped and suspect findings.
    A card that is wrong, or that cannot be measured, is a finding and not an error. Raises UnknownName for an unknown
    model, check, engine or precision, UsageError for another value that is not valid.
    """
    from zoo.verification import options, runner, selection, write_back

    selected_checks = tuple(checks)
    settings = options.make_settings(
        fetch=fetch, data=data, device=device, limit=limit, seed=seed, early_stop=early_stop, precision=precision,
        batch_size=batch_size, compile=compile, jobs=jobs, engine=engine, address=address, max_age_days=max_age_days,
        refresh=refresh, remote=remote, allow_code=allow_code,
    )  # fmt: skip
    catalog = _catalog(cards)
    report_options = options.describe("verify", settings, strict=strict, checks=selected_checks)
    selected = selection.choose(catalog, names, everything=not names)
    verify_cards = partial(write_back.verify_and_write, report_line=selection.ignore_line) if write else runner.verify
    verified = verify_cards(selected, catalog, settings, selected_checks)
    return runner.as_report(runner.store_reports(verified, report_options), options=report_options)


def evaluate(
    *names: str,
    on: Iterable[str] = (),
    fetch: bool = False,
    data: Mapping[str, str | Path] | None = None,
    device: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    precision: str = "fp32",
    batch_size: int | None = None,
    compile: bool = False,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    max_age_days: float | None = None,
    refresh: bool = False,
    allow_code: bool = False,
    cards: Folders = (),
) -> tuple[Score, ...]:
    """Return the accuracies of these models, in percent with 95 % intervals, one Score for each model and split.

    on: `DATASET` or `DATASET/SPLIT`; by default the splits that the cards claim results on. The other options are those of
    `verify`. A Score without accuracies says why in `problem` and what to do in `hint`. Raises UnknownName for an unknown
    model, data set, engine or precision, UsageError for another value that is not valid.
    """
    from zoo.verification import options, scores, selection

    settings = options.make_settings(
        fetch=fetch, data=data, device=device, limit=limit, seed=seed, precision=precision, batch_size=batch_size,
        compile=compile, jobs=jobs, engine=engine, address=address, max_age_days=max_age_days, refresh=refresh,
        allow_code=allow_code,
    )  # fmt: skip
    catalog = _catalog(cards)
    parts = scores.scores_of(selection.find_all(catalog, names), catalog, settings, list(on))
    return tuple(score for part in parts for score in part)


def predict(
    name: str,
    *images: str | Path,
    fetch: bool = False,
    device: str = "auto",
    allow_code: bool = False,
    cards: Folders = (),
) -> tuple[Prediction, ...]:
    """Return what the model sees in each image file: its five most probable classes, each with a probability of 0 to 1.

    Raises CannotCheck when the weights are not here (see `fetch`) or not what the card says, UsageError for a file that is
    not a readable image.
    """
    from zoo.models.subject import Settings
    from zoo.verification import predict as prediction

    subject = _subject(name, _catalog(cards), Settings(fetch=fetch, device=device, allow_code=allow_code))
    return prediction.predict(subject, [Path(image) for image in images])


def count_flops(
    name: str,
    *,
    input_size: Sequence[int] | None = None,
    depth: int = 1,
    explain: Iterable[int] = (),
    allow_code: bool = False,
    cards: Folders = (),
) -> CostReport:
    """Return the number of operations for one image under every convention, by operator and by module.

    input_size: (channels, height, width), the card's own when None. depth: of the modules in `by_module`. explain: numbers
    for which to find the convention and the input size that give exactly them. Conventions that cannot count the model are
    in `problems`. Raises NotHere when the card has no builder or no input size, UsageError for a size or a depth that is not
    valid.
    """
    from zoo.flops import costs
    from zoo.models.subject import Settings

    subject = _subject(name, _catalog(cards), Settings(allow_code=allow_code))
    shape = None if input_size is None else costs.parse_shape(costs.format_shape(input_size))
    return costs.report_costs(subject, input_shape=shape, depth=depth, explain=list(explain))


def import_cards(
    *sources: str | Path,
    to: str | Path,
    format: str | None = None,
    results: str | Path | None = None,
    dry_run: bool = False,
) -> ImportPlan:
    """Create cards from documents of other formats in the folder `to`, and return what was written, or would be.

    sources: files, folders, `timm:PATTERN`, `torchvision:PATTERN` or `hf:ORG/NAME`. format: of the files, detected when
    None. results: a CSV file of measured accuracies in the layout of timm's results-imagenet.csv. The `problems` of the
    plan are documents that were left out. Raises UsageError for a source that does not exist or has no known format, and
    when a file with other content exists already.
    """
    from zoo.conversion import importer

    planned = importer.plan(
        [str(source) for source in sources],
        Path(to),
        format_name=format,
        results=None if results is None else Path(results),
    )
    if not dry_run:
        importer.write_files(planned)
    return planned


def export_cards(
    *names: str, format: str, to: str | Path | None = None, cards: Folders = ()
) -> tuple[WrittenDocument, ...]:
    """Return the cards as documents of another format, and write them to files in the folder `to` if there is one.

    names: models, or collections for all their models; all cards when empty. Raises UnknownName for an unknown name or
    format, UsageError when there is nothing to write.
    """
    from zoo.conversion import exporter

    documents = exporter.export(names, _catalog(cards), format)
    if to is not None:
        exporter.save(documents, Path(to))
    return documents


def publish(
    name: str,
    *,
    to: str,
    report: Report | str | Path | None = None,
    max_age_days: float | None = None,
    allow: str | None = None,
    reason: str | None = None,
    collection: str | None = None,
    branch: str = "main",
    tag: str | None = None,
    pull_request: bool = False,
    private: bool = False,
    create: bool = True,
    sign: str | Path | None = None,
    regenerate: bool = False,
    dry_run: bool = False,
    cards: Folders = (),
) -> Publication:
    """Publish one verified model to a folder or to the Hugging Face Hub, and return what was done.

    to: `folder:PATH`, `hf:ORG/REPO`, or `hf:ORG` for a repository of the model's name. report: a Report or its JSON file,
    by default the newest complete one that `verify` stored. max_age_days: the oldest report to accept, 30 days when None. allow: a check that
    may be missing (`accuracy` or `flops`), with the reason that the README gives. collection: the card's collection, to
    which the model is added on the Hub. branch, tag, pull_request, private, create: of the Hub's repository. sign: a
    private key file (PEM). regenerate: discard edits of the generated part of the published README. dry_run: only compare the
    release with what is published.
    Raises Refused when the report does not allow it, CannotCheck when the place cannot be read or written, WrongContent
    for a wrong file or card, UsageError for options that contradict each other. A `Publication.error` means that the model
    is published, but could not be added to the collection.
    """
    from zoo.publishing import gate, run
    from zoo.publishing.hub_repository import HubOptions
    from zoo.publishing.places import parse_place
    from zoo.verification import report as reports

    options = HubOptions(branch=branch, tag=tag, private=private, pull_request=pull_request, create=create)
    days = gate.MAX_AGE_DAYS if max_age_days is None else max_age_days
    request = run.PublishRequest(
        parse_place(to, options),
        terms=gate.Terms(days, gate.parse_allowance(allow, reason)),
        report=reports.read(Path(report)) if isinstance(report, (str, Path)) else report,
        signing_key=None if sign is None else Path(sign),
        collection=collection,
        dry_run=dry_run,
        regenerate=regenerate,
    )
    catalog = _catalog(cards)
    (publication,) = run.publish([catalog.find(name)], catalog, request)
    if publication.kind == "failed" and publication.error is not None:
        raise publication.error
    return publication


def check_published(
    *names: str,
    to: str,
    branch: str = "main",
    tag: str | None = None,
    signature: str | Path | None = None,
    cards: Folders = (),
) -> Report:
    """Return the report that compares these published models, or all, with their cards, as `zoo publish --check` does.

    to: as in `publish`; for several models `folder:PATH` with a folder for each, or `hf:ORG`. tag: compare the files at this
    tag, else those of the branch. signature: a public key file (PEM), whose owner must have signed the releases. A release
    that cannot be read is a finding. Raises UnknownName for an unknown model, UsageError for a place that is not valid.
    """
    from zoo.publishing import run
    from zoo.publishing.hub_repository import HubOptions
    from zoo.publishing.places import parse_place
    from zoo.verification import runner, selection

    catalog, place = _catalog(cards), parse_place(to, HubOptions(branch=branch, tag=tag))
    public_key = None if signature is None else Path(signature)
    selected = selection.choose(catalog, names, everything=not names)
    checked = run.check_published(selected, catalog, place, public_key=public_key)
    return runner.as_report(checked, options={"command": "publish --check", "strict": True})


def _catalog(cards: Folders) -> Catalog:
    return load_catalog(_folders(cards))


def _subject(name: str, catalog: Catalog, settings: Settings) -> Subject:
    from zoo.models.subject import Subject

    return Subject(Member(catalog.find(name), catalog), settings)


def _folders(cards: Folders) -> tuple[Path, ...]:
    return (Path(cards),) if isinstance(cards, (str, Path)) else tuple(Path(folder) for folder in cards)

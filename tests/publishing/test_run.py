"""Publishing and checking through `zoo.publishing.run`, as the command line and the Python API call it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.helpers.project import replace_once
from tests.helpers.releases import NAME, WEIGHTS, WEIGHTS_FILE, digits_report, shipped, with_finding
from tests.servers.hub_server import HubServer, answer
from zoo.errors import CardError, Refused, TransferFailed, UnknownName, UsageError, WrongContent
from zoo.publishing import run
from zoo.publishing.gate import Allowance, Terms
from zoo.publishing.hub_repository import HubOptions
from zoo.publishing.places import FolderPlace, HubPlace, Place, parse_place
from zoo.publishing.run import FileChange, Publication, PublishRequest
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, Catalog, load_catalog
from zoo.verification.report import Status

PATHS = ("README.md", "config.json", "model.safetensors", "verification.json")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Ada may write to the organization lab, and is logged in."""
    with HubServer() as server:
        server.add_org("lab", {"ada": "write"})
        server.configure_client(monkeypatch, tmp_path / "hf", token=server.add_user("ada"))
        yield server


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)
    return tmp_path / "key.pem", tmp_path / "key.pub"


def published(place: Place, catalog: Catalog | None = None, **request: Any) -> Publication:
    """The outcome for the digits model, with the session's report."""
    catalog = catalog or shipped()
    (publication,) = run.publish(
        [catalog.find(NAME)], catalog, PublishRequest(place, **{"report": digits_report(), **request})
    )
    return publication


def checked(place: Place, public_key: Path | None = None) -> dict[str, tuple[Status, str]]:
    """Key to status and reason of the findings about the digits model's published release."""
    (verified,) = run.check_published([shipped().find(NAME)], shipped(), place, public_key=public_key)
    assert verified.subject is None
    return {item.key: (item.status, item.reason) for item in verified.findings}


def statuses(place: Place, public_key: Path | None = None) -> set[Status]:
    return {status for status, _ in checked(place, public_key).values()}


# --- folders ------------------------------------------------------------------------------------------------------


def test_the_outcome_says_where_the_release_is_and_what_changed(tmp_path: Path) -> None:
    publication = published(FolderPlace(tmp_path / "out"))
    assert (publication.model, publication.kind, publication.error) == (NAME, "published", None)
    assert publication.location == str(tmp_path / "out")
    assert publication.changed_paths == PATHS
    size_bytes, sha256 = len(WEIGHTS), shipped().find(NAME).weights[0].sha256
    assert FileChange("model.safetensors", "new", size_bytes, str(sha256)) in publication.changes


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "out")
    published(place)
    again = published(place)
    assert (again.kind, again.location, again.changed_paths) == ("unchanged", str(tmp_path / "out"), ())
    assert {change.kind for change in again.changes} == {"same"}


def test_a_dry_run_shows_the_changes_and_writes_nothing(tmp_path: Path) -> None:
    shown = published(FolderPlace(tmp_path / "out"), dry_run=True)
    assert (shown.kind, shown.location, shown.changed_paths) == ("shown", "", PATHS)
    assert "+++ new README.md\n" in shown.readme_difference
    assert not (tmp_path / "out").exists()


def test_a_model_that_the_gate_refuses_is_failed_with_the_error(tmp_path: Path) -> None:
    report = with_finding(digits_report(), "params", "params", status=Status.WRONG)
    publication = published(FolderPlace(tmp_path / "out"), report=report)
    assert (publication.kind, publication.location, publication.changes) == ("failed", "", ())
    assert isinstance(publication.error, Refused) and publication.error.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_the_terms_of_the_request_are_the_gates(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "out")
    gap = with_finding(digits_report(), "flops", "macs", status=Status.SKIPPED)
    assert published(place, report=gap).kind == "failed"
    assert published(place, report=gap, terms=Terms(allowance=Allowance("flops", "no time"))).kind == "published"
    old = replace(digits_report(), created="2026-01-01T00:00:00Z")
    assert published(place, report=old).kind == "failed"
    assert published(place, report=old, terms=Terms(max_age_days=1e9)).kind == "published"


def test_without_a_report_the_stored_one_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    error = published(FolderPlace(tmp_path / "out"), report=None).error
    assert error is not None and "the card in its present form is not verified" in error.what


def test_models_are_published_one_by_one_and_one_failure_does_not_stop_the_others(
    digits_zoo: Path, tmp_path: Path
) -> None:
    folder = digits_zoo / "digits"
    shutil.copy(folder / f"{NAME}.yaml", folder / "broken.yaml")
    replace_once(folder / "broken.yaml", f"name: {NAME}", "nam: broken")
    catalog = load_catalog([digits_zoo])
    cards: list[Card | Broken] = [*catalog.broken, *catalog.cards]
    request = PublishRequest(FolderPlace(tmp_path / "out"), report=digits_report())
    publications = run.publish(cards, catalog, request)
    first = next(publications)
    assert (first.model, first.kind) == ("broken", "failed") and isinstance(first.error, CardError)
    assert not (tmp_path / "out").exists()
    assert [(item.model, item.location) for item in publications] == [(NAME, str(tmp_path / "out" / NAME))]


def test_a_tampered_file_is_the_outcomes_error(digits_zoo: Path, tmp_path: Path) -> None:
    (digits_zoo / "digits" / WEIGHTS_FILE).write_bytes(WEIGHTS[:-1] + b"x")
    publication = published(FolderPlace(tmp_path / "out"), load_catalog([digits_zoo]))
    assert isinstance(publication.error, WrongContent)


def test_a_published_release_is_checked_file_by_file(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "out")
    published(place)
    assert statuses(place) == {Status.OK}
    (tmp_path / "out" / "config.json").unlink()
    assert checked(place)["config.json"] == (Status.WRONG, "the file is missing")


def test_a_signed_release_stays_as_it_is_and_is_checked_by_its_key(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private_key, public_key = keys
    place = FolderPlace(tmp_path / "out")
    published(place)
    assert checked(place, public_key)["model.sig"] == (Status.WRONG, "the release is not signed")
    assert published(place, signing_key=private_key).changed_paths == ("model.sig",)
    assert published(place, signing_key=private_key).kind == "unchanged"
    assert statuses(place, public_key) == {Status.OK}


# --- requests that do not fit the cards ---------------------------------------------------------------------------


def test_one_repository_for_several_models_is_refused_before_the_first(tmp_path: Path) -> None:
    cards, place = list(shipped().cards)[:2], HubPlace("lab/net")
    with pytest.raises(UsageError, match="hf:lab/net is one repository, but several models were given"):
        run.publish(cards, shipped(), PublishRequest(place))
    with pytest.raises(UsageError):
        run.check_published(cards, shipped(), place)


@pytest.mark.parametrize(("name", "kind"), [("resnest", UsageError), ("digts", UnknownName)])
def test_a_card_of_another_collection_is_refused_before_the_first(
    tmp_path: Path, name: str, kind: type[UsageError]
) -> None:
    request = PublishRequest(FolderPlace(tmp_path / "out"), report=digits_report(), collection=name)
    with pytest.raises(kind):
        run.publish([shipped().find(NAME)], shipped(), request)


def test_all_cards_of_a_collection_are_found() -> None:
    assert [card.name for card in run.collection_cards(shipped(), "digits")] == [NAME]
    with pytest.raises(UnknownName):
        run.collection_cards(shipped(), "digts")


# --- places -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("folder:out", FolderPlace(Path("out"))),
        ("folder:C:/out", FolderPlace(Path("C:/out"))),
        ("hf:lab", HubPlace("lab")),
        ("hf:lab/net", HubPlace("lab/net")),
    ],
)
def test_a_place_is_a_folder_or_on_the_hub(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "net", "s3:net", "hf:", "folder:"])
def test_other_places_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="not a valid destination"):
        parse_place(text)


def test_options_of_the_hub_exclude_a_folder_and_are_all_named() -> None:
    options = HubOptions("next", None, True, True, False)
    assert parse_place("hf:lab/net", options) == HubPlace("lab/net", options)
    with pytest.raises(UsageError, match="--branch, --private, --pr, --no-create: only for the Hub"):
        parse_place("folder:out", options)


# --- the Hub ------------------------------------------------------------------------------------------------------


def test_the_location_is_the_page_of_the_commit(hub: HubServer) -> None:
    publication = published(parse_place("hf:lab"))
    head = hub.repo(f"lab/{NAME}").head
    assert (publication.kind, publication.location) == ("published", f"{hub.endpoint}/lab/{NAME}/commit/{head}")
    assert publication.changed_paths == PATHS
    assert published(parse_place(f"hf:lab/{NAME}")).location == f"{hub.endpoint}/lab/{NAME}/tree/{head}"


def test_messages_go_to_the_callers_function(hub: HubServer) -> None:
    hub.on("POST", "*/commit/*", answer(429, headers={"Retry-After": "0"}))
    messages: list[str] = []
    request = PublishRequest(parse_place("hf:lab/net"), report=digits_report())
    (publication,) = run.publish([shipped().find(NAME)], shipped(), request, report_progress=messages.append)
    assert publication.kind == "published"
    assert messages == ["committing: too many requests, waiting 0 s as the Hub asks"]


def test_a_model_joins_the_collection_of_its_family(hub: HubServer) -> None:
    from huggingface_hub import HfApi

    publication = published(parse_place("hf:lab"), collection="digits")
    slug = publication.collection_page.removeprefix(f"{hub.endpoint}/collections/")
    assert [item.item_id for item in HfApi().get_collection(slug).items] == [f"lab/{NAME}"]


def test_a_collection_that_fails_leaves_the_model_published_with_an_error(hub: HubServer) -> None:
    hub.on("POST", "*/collections", answer(403), times=None)
    publication = published(parse_place("hf:lab"), collection="digits")
    assert (publication.kind, publication.collection_page) == ("published", "")
    assert publication.location.startswith(f"{hub.endpoint}/lab/{NAME}/commit/")
    assert publication.error is not None and publication.error.exit_code == 3


def test_an_unreachable_hub_is_the_outcomes_error(hub: HubServer) -> None:
    hub.close()
    publication = published(parse_place("hf:lab/net"))
    assert publication.kind == "failed" and isinstance(publication.error, TransferFailed)


@pytest.mark.parametrize("options", [HubOptions(branch="next"), HubOptions(tag="v1")], ids=["branch", "tag"])
def test_a_missing_branch_or_tag_is_not_mains_content(hub: HubServer, options: HubOptions) -> None:
    published(parse_place("hf:lab/net"))
    assert statuses(parse_place("hf:lab/net")) == {Status.OK}
    missing = options.tag or options.branch
    reason = f"lab/net has no branch, tag or commit {missing!r}"
    assert checked(parse_place("hf:lab/net", options)) == {"release": (Status.UNKNOWN, reason)}


def test_a_branch_is_checked_by_its_own_content(hub: HubServer) -> None:
    published(parse_place("hf:lab/net"))
    place = parse_place("hf:lab/net", HubOptions(branch="next"))
    assert published(place).kind == "unchanged"
    assert statuses(place) == {Status.OK}
    hub.commit("lab/net", {"config.json": b"{}"})
    assert statuses(place) == {Status.OK}
    assert checked(parse_place("hf:lab/net"))["config.json"][0] is Status.WRONG

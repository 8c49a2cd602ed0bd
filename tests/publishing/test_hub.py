"""Releases on the tests' Hub: one commit, read back; and every failure with its message, exit code and a whole
repository."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.helpers.project import ROOT
from tests.helpers.releases import NAME, WEIGHTS, WEIGHTS_SHA256, digits_report, member, release
from tests.servers.hub_server import (
    Dropped,
    HubServer,
    Reply,
    answer,
    answer_html,
    call_before,
    drop_after,
    drop_before,
)
from zoo.errors import CannotCheck, Refused, TransferFailed, UsageError, WrongContent, ZooError
from zoo.publishing import audit
from zoo.publishing.hub import HubTarget
from zoo.publishing.hub_client import HubClient, WaitPolicy
from zoo.publishing.hub_push import PushResult
from zoo.publishing.hub_repository import HubOptions
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import Release, ReleaseFile

QUICK = WaitPolicy(rate_limit_seconds=2.0, pause_seconds=0.0)
FILES = {"README.md", "config.json", "model.safetensors", "verification.json"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Ada may write to the organization lab, Ben may not; Ada is logged in."""
    with HubServer() as server:
        server.add_org("lab", {"ada": "write", "ben": "read"})
        server.add_user("ben")
        log_in(server, monkeypatch, tmp_path, server.add_user("ada"))
        yield server


def log_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path, token: str | None) -> None:
    hub.configure_client(monkeypatch, home / "hf", token=token)
    monkeypatch.delenv("HF_OIDC_RESOURCE", raising=False)


@pytest.fixture
def messages() -> list[str]:
    """What a push says while it waits."""
    return []


Push = Callable[..., PushResult]


@pytest.fixture
def push(hub: HubServer, messages: list[str]) -> Push:
    """Publish the digits release as the command does, with little patience."""

    def run(
        repo_id: str = "lab/net",
        *,
        made: Release | None = None,
        wait_policy: WaitPolicy = QUICK,
        meanwhile: Callable[[], object] = lambda: None,
        **options: Any,
    ) -> PushResult:
        target = HubTarget(repo_id, HubOptions(**options), report_progress=messages.append, wait_policy=wait_policy)
        session = target.preflight()
        readme = session.read("README.md")
        made = made or release(address=target.address, readme=readme)
        meanwhile()
        return session.push(made, title="digits")

    return run


def failure(push: Push, *arguments: Any, **options: Any) -> ZooError:
    """The error of a push; a token in its text is a failure of its own."""
    with pytest.raises(ZooError) as error_info:
        push(*arguments, **options)
    assert "hf_" not in str(error_info.value).replace("hf_token", "")
    return error_info.value


def head(hub: HubServer, repo_id: str = "lab/net") -> str:
    return hub.repo(repo_id).head


def files(hub: HubServer, repo_id: str = "lab/net") -> set[str]:
    return set(hub.repo(repo_id).resolve("main").files) - {".gitattributes"}


# --- the way of a release -----------------------------------------------------------------------------------------


def test_a_release_is_one_commit_with_the_verified_bytes(hub: HubServer, push: Push) -> None:
    pushed = push()
    assert files(hub) == FILES
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS
    assert hub.log.commits == 1
    assert pushed.commit == head(hub)
    assert pushed.page == f"{hub.endpoint}/lab/net/commit/{head(hub)}"
    assert hub.repo("lab/net").history()[0].title == "digits"


def test_publishing_twice_uploads_nothing_and_commits_nothing(hub: HubServer, push: Push) -> None:
    first = push()
    hub.log.clear()
    again = push()
    assert not again.is_new
    assert again.commit == first.commit
    assert (hub.log.commits, hub.log.uploaded_lfs_bytes, hub.log.count("preupload", "lfs_batch")) == (0, 0, 0)


def test_a_changed_readme_is_committed_without_the_weights(hub: HubServer, push: Push) -> None:
    push()
    hub.log.clear()
    readme = hub.read("lab/net", "README.md") + b"\nThanks.\n"
    pushed = push(made=release(address=ReleaseAddress("lab/net", f"{hub.endpoint}/lab/net"), readme=readme))
    assert {change.file.path for change in pushed.changes if change.kind != "same"} == {
        "README.md",
        "verification.json",
    }
    assert (hub.log.commits, hub.log.uploaded_lfs_bytes, hub.log.count("lfs_batch")) == (1, 0, 0)


def test_a_persons_text_on_the_hub_is_kept(hub: HubServer, push: Push) -> None:
    push()
    edited = hub.read("lab/net", "README.md") + b"\nThanks to all.\n"
    hub.commit("lab/net", {"README.md": edited, "photo.jpg": b"jpg"})
    push()
    assert hub.read("lab/net", "README.md") == edited
    assert files(hub) == FILES | {"photo.jpg"}


def test_a_private_repository_is_created_private(hub: HubServer, push: Push) -> None:
    push(private=True)
    assert hub.repo("lab/net").private


def test_a_pull_request_leaves_the_branch_alone(hub: HubServer, push: Push) -> None:
    hub.add_repo("other/net")
    before = head(hub, "other/net")
    pushed = push("other/net", pull_request=True)
    assert pushed.page == f"{hub.endpoint}/other/net/discussions/1"
    assert head(hub, "other/net") == before
    assert set(hub.repo("other/net").resolve("refs/pr/1").files) >= FILES


def test_an_open_pull_request_with_the_release_is_not_opened_again(
    hub: HubServer, push: Push, messages: list[str]
) -> None:
    hub.add_repo("other/net")
    first = push("other/net", pull_request=True)
    hub.log.clear()
    again = push("other/net", pull_request=True)
    assert (again.commit, again.page) == (first.commit, first.page)
    assert messages == [f"a pull request with this release is already open: {hub.endpoint}/other/net/discussions/1"]
    assert hub.log.commits == hub.log.uploaded_lfs_bytes == 0
    hub.repo("other/net").pull_requests[1].status = "closed"
    assert push("other/net", pull_request=True).page == f"{hub.endpoint}/other/net/discussions/2"


def test_a_tag_stands_on_the_commit_and_is_never_moved(hub: HubServer, push: Push) -> None:
    commit = push(tag="v1").commit
    assert hub.repo("lab/net").tags == {"v1": commit}
    push(tag="v1")
    hub.commit("lab/net", {"config.json": b"{}"})
    hub.log.clear()
    error = failure(push, tag="v1")
    assert error.what == f"the tag v1 of lab/net is on commit {commit[:12]}, and zoo never moves a tag"
    assert isinstance(error, Refused) and error.exit_code == 3
    assert hub.repo("lab/net").tags == {"v1": commit}
    assert hub.log.commits == 0


def test_a_tag_on_the_head_is_not_for_another_commit(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    hub.repo("lab/net").tags["v1"] = before = head(hub)
    assert "zoo never moves a tag" in failure(push, tag="v1").what
    assert head(hub) == before


def test_a_branch_is_made_and_main_stays(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    push(branch="next")
    assert head(hub) == before
    assert set(hub.repo("lab/net").resolve("next").files) >= FILES


def test_a_missing_branch_is_not_made_when_nothing_may_be_created(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    assert failure(push, branch="next", create=False).what == "lab/net has no branch, tag or commit 'next'"


def test_a_release_over_parts_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with HubServer(part_bytes=100_000) as hub:
        log_in(hub, monkeypatch, tmp_path, hub.add_user("ada"))
        HubTarget("ada/net", wait_policy=QUICK).preflight().push(release(), title="digits")
        assert hub.read("ada/net", "model.safetensors") == WEIGHTS
        assert hub.log.count("put_part") == 3


def test_a_signature_of_another_release_goes_with_the_commit(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    hub.commit("lab/net", {"model.sig": b"{}"})
    push()
    assert files(hub) == FILES


def test_a_collection_is_made_once_and_keeps_each_model_once(hub: HubServer, push: Push) -> None:
    from huggingface_hub import HfApi

    push("lab/net")
    push("lab/other")
    for repo_id in ("lab/net", "lab/other", "lab/net"):
        session = HubTarget(repo_id, wait_policy=QUICK).preflight()
        page = session.add_to_collection("ResNeSt", "Split-Attention Networks " * 10)
    collection = HfApi().get_collection(page.removeprefix(f"{hub.endpoint}/collections/"))
    assert collection.title == "ResNeSt"
    assert [item.item_id for item in collection.items] == ["lab/net", "lab/other"]
    assert len(list(HfApi().list_collections(owner="lab"))) == 1


def test_what_is_there_is_known_without_downloading_weights(hub: HubServer, push: Push) -> None:
    push()
    hub.log.clear()
    target = HubTarget("lab/net", wait_policy=QUICK)
    findings = audit.examine(member(), target.published_files(), target.count_elements)
    assert {item.status.value for item in findings} == {"ok"}
    assert {item.key: item.measured for item in findings}["model.safetensors"] == WEIGHTS_SHA256
    from_weights = [exchange.reply_bytes for exchange in hub.log.exchanges("get_object")]
    assert from_weights and sum(from_weights) < len(WEIGHTS)
    assert all(exchange.byte_range for exchange in hub.log.exchanges("get_object"))


def test_a_trusted_publisher_is_not_asked_who_it_is(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("lab/net")
    hub.add_repo("other/net")
    token = hub.add_token("ada", "fineGrained", writes=("lab/net",))
    with ExchangeServer(token) as exchange:
        monkeypatch.setenv("HF_OIDC_RESOURCE", "lab/net")
        monkeypatch.setenv("HF_OIDC_ID_TOKEN", "proof-of-the-job")
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "ENDPOINT", exchange.endpoint)
        from huggingface_hub.utils import get_token

        assert get_token() == token  # exchanged once, then kept for the job
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        assert exchange.asked["resource"] == "lab/net"
        push()
        assert files(hub) == FILES
        assert hub.log.count("whoami") == 0
        error = failure(push, "other/net")
        assert error.where == "the Trusted Publisher of HF_OIDC_RESOURCE"


class ExchangeServer:
    """The one call of the Hub that exchanges a job's identity for a token (RFC 8693)."""

    def __init__(self, token: str) -> None:
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        owner = self
        self.asked: dict[str, str] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps({"access_token": token, "token_type": "bearer", "expires_in": 3600}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> ExchangeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


# --- what the preflight finds, before anything is changed ---------------------------------------------------------


def test_without_a_token_nobody_is_asked(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(hub, monkeypatch, tmp_path / "elsewhere", None)
    error = failure(push)
    assert error.what == f"not logged in to {hub.endpoint}"
    assert error.hint == "run `hf auth login`, or set HF_TOKEN"
    assert error.exit_code == 3
    assert hub.log.routes() == []


@pytest.mark.parametrize("is_file", [False, True])
def test_a_bad_token_is_told_by_where_it_comes_from(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_file: bool
) -> None:
    log_in(hub, monkeypatch, tmp_path, None if is_file else "hf_nobodys")
    if is_file:
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "token").write_text("hf_nobodys")
    error = failure(push)
    source = f"the file {tmp_path / 'hf' / 'token'}" if is_file else "the environment variable HF_TOKEN"
    assert error.what == f"the Hub does not accept the token from {source}"
    assert error.exit_code == 3


def test_a_token_that_may_only_read_is_told_before_anything_is_created(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(hub, monkeypatch, tmp_path, hub.add_token("ada", "read"))
    error = failure(push)
    assert error.what == "the token 'ada-read' of ada is read-only"
    assert hub.log.routes() == ["whoami"]


def test_anothers_repository_may_not_be_written_but_a_pull_request_may_be_opened(hub: HubServer, push: Push) -> None:
    hub.add_repo("other/net")
    error = failure(push, "other/net")
    assert error.what.startswith("this token cannot write to other/net: Forbidden")
    assert error.where == "the environment variable HF_TOKEN"
    assert error.hint.startswith("open a pull request with --pr")
    assert error.exit_code == 3
    assert files(hub, "other/net") == set()


def test_a_reader_of_the_organization_may_create_nothing_there(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(hub, monkeypatch, tmp_path, hub.add_token("ben"))
    error = failure(push)
    assert error.what.endswith("this token cannot create it: it can create repositories of ben")
    assert not hub.has_repo("lab/net")


def test_a_missing_and_a_private_repository_cannot_be_told_apart(hub: HubServer, push: Push) -> None:
    hub.add_repo("other/secret", private=True)
    expected = "{} does not exist or is private (the Hub does not say which)"
    assert failure(push, "lab/none", create=False).what == expected.format("lab/none")
    assert failure(push, "other/secret", create=False).what == expected.format("other/secret")
    assert not hub.has_repo("lab/none")


def test_a_gated_repository_names_the_page_to_ask_on(hub: HubServer, push: Push) -> None:
    hub.add_repo("other/net", gated="manual")
    error = failure(push, "other/net", pull_request=True)
    assert error.what == "other/net is gated, and this account has no access to it"
    assert error.hint == f"ask for access on {hub.endpoint}/other/net"


def test_a_private_intent_does_not_go_into_a_public_repository(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    error = failure(push, private=True)
    assert error.what == "lab/net is public, but --private was given"
    assert files(hub) == set()


def test_an_unreachable_hub_is_told_quickly(hub: HubServer, push: Push) -> None:
    hub.close()
    error = failure(push)
    assert error.what.startswith("cannot reach the Hub while logging in: ")
    assert isinstance(error, TransferFailed) and error.where == hub.endpoint


def test_offline_mode_is_told_and_a_dry_run_does_without(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    push()
    hub.log.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = failure(push)
    assert error.what == "the Hub's client is in offline mode (HF_HUB_OFFLINE)"
    preview = HubTarget("lab/net", report_progress=messages.append).preview()
    assert messages == ["not compared with lab/net: the Hub's client is in offline mode (HF_HUB_OFFLINE)"]
    assert {change.kind for change in preview.changes(release())} == {"unknown"}
    assert hub.log.routes() == []


def test_a_dry_run_offline_compares_with_the_readme_that_was_last_seen(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    push()
    push()  # reads the README that is there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    preview = HubTarget("lab/net").preview()
    assert preview.read("README.md") == hub.read("lab/net", "README.md")


def test_a_dry_run_needs_no_token_and_says_what_would_change(
    hub: HubServer, push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    push()
    hub.commit("lab/net", {"config.json": b"{}"})
    log_in(hub, monkeypatch, tmp_path / "elsewhere", None)
    target = HubTarget("lab/net")
    preview = target.preview()
    made = release(address=target.address, readme=preview.read("README.md"))
    assert {change.file.path: change.kind for change in preview.changes(made)} == {
        "README.md": "same",
        "config.json": "changed",
        "model.safetensors": "same",
        "verification.json": "same",
    }


@pytest.mark.parametrize(
    ("repo_id", "options"),
    [
        ("net", {}),
        ("lab/net/more", {}),
        ("lab/a net", {}),
        ("lab/net", {"pull_request": True, "tag": "v1"}),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(hub: HubServer, repo_id: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        HubTarget(repo_id, HubOptions(**options))


# --- rate limits --------------------------------------------------------------------------------------------------

LIMITED = {
    "logging in": ("GET", "*/whoami-v2"),
    "creating the repository": ("POST", "*/repos/create"),
    "committing": ("POST", "*/commit/*"),
    "tagging v1": ("POST", "*/tag/*"),
    "reading tags": ("GET", "*/refs"),
}


@pytest.mark.parametrize("doing", LIMITED)
def test_a_rate_limit_is_waited_for_and_said(hub: HubServer, push: Push, messages: list[str], doing: str) -> None:
    if doing == "reading tags":
        hub.add_repo("lab/net")
    hub.on(*LIMITED[doing], answer(429, headers={"Retry-After": "0"}))
    commit = push(tag="v1").commit
    assert messages == [f"{doing}: too many requests, waiting 0 s as the Hub asks"]
    assert hub.repo("lab/net").tags == {"v1": commit}
    assert files(hub) == FILES


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "900"}, {"RateLimit": '"api";r=0;t=900', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}],
)
def test_a_long_rate_limit_is_not_waited_for(hub: HubServer, push: Push, headers: dict[str, str]) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    hub.on("POST", "*/commit/*", answer(429, headers=headers), times=None)
    error = failure(push)
    assert (error.what, error.hint) == ("too many requests while committing", "try again in 900 s")
    assert error.exit_code == 3
    assert head(hub) == before


def test_a_release_that_could_not_be_tagged_is_tagged_by_the_next_run(hub: HubServer, push: Push) -> None:
    hub.on("POST", "*/tag/*", answer(429, headers={"Retry-After": "900"}))
    error = failure(push, tag="v1")
    commit = head(hub)
    assert error.what == f"commit {commit[:12]} is published, but not tagged v1: too many requests while tagging v1"
    assert error.hint == "publish again with the same --tag: only the tag is missing"
    hub.log.clear()
    push(tag="v1")
    assert hub.repo("lab/net").tags == {"v1": commit}
    assert hub.log.commits == 0


def test_the_client_waits_for_a_limited_upload(hub: HubServer, push: Push) -> None:
    hub.on("POST", "*/preupload/*", answer(429, headers={"Retry-After": "0"}))
    push()
    assert files(hub) == FILES


# --- uploads that fail --------------------------------------------------------------------------------------------


def test_a_failed_upload_names_file_and_cause_and_the_next_run_goes_on(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    hub.on("PUT", "/upload/*", answer(503, headers={"Retry-After": "0"}), times=None)
    error = failure(push)
    assert "Error while uploading 'model.safetensors' to the Hub." in error.what
    assert "503" in error.what
    assert error.hint == "publish again: only what is missing is uploaded"
    assert head(hub) == before
    hub.heal()
    push()
    assert files(hub) == FILES


def test_an_upload_that_is_reset_is_sent_again(hub: HubServer, push: Push) -> None:
    hub.on("PUT", "/upload/*", drop_before(by_reset=True))
    push()
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS


def test_a_file_that_changes_while_it_is_uploaded_is_not_committed(hub: HubServer, push: Push, tmp_path: Path) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(WEIGHTS)
    made = release()
    weights = replace(made.file("model.safetensors"), content=copy)
    made = replace(made, files=tuple(weights if item.path == weights.path else item for item in made.files))
    hub.on("POST", "*/lfs-verify", call_before(lambda: copy.write_bytes(b"other")))
    error = failure(push, made=made)
    assert error.what == "a file changed while it was uploaded; nothing was published"
    assert head(hub) == before


def test_bytes_that_are_not_the_verified_ones_are_not_committed_over_xet(
    hub: HubServer, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    hub.accept_xet()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    (tmp_path / "other.safetensors").write_bytes(WEIGHTS[:-1] + b"x")
    made = release()
    weights = replace(made.file("model.safetensors"), content=tmp_path / "other.safetensors")
    made = replace(made, files=tuple(weights if item.path == weights.path else item for item in made.files))
    assert failure(push, made=made).what == "a file changed while it was uploaded; nothing was published"
    assert head(hub) == before


# --- commits with an unknown outcome ------------------------------------------------------------------------------


@pytest.mark.parametrize("by_reset", [False, True])
def test_a_commit_whose_answer_is_lost_is_recognised(
    hub: HubServer, push: Push, messages: list[str], by_reset: bool
) -> None:
    hub.on("POST", "*/commit/*", drop_after(by_reset=by_reset))
    pushed = push()
    assert pushed.commit == head(hub)
    assert hub.log.commits == 1
    assert messages[0].startswith("the outcome of the commit is unknown")


@pytest.mark.parametrize(
    "fault", [answer(503), answer_html(502), drop_before(by_reset=True)], ids=["503", "502", "reset"]
)
def test_a_commit_that_was_not_made_is_made_again(hub: HubServer, push: Push, fault: Any) -> None:
    hub.on("POST", "*/commit/*", fault)
    push()
    assert len(hub.repo("lab/net").history()) == 2
    assert hub.log.commits == 2
    assert files(hub) == FILES


def test_a_commit_that_fails_each_time_leaves_the_repository_as_it_was(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    hub.on("POST", "*/commit/*", answer(503), times=None)
    error = failure(push)
    assert error.what == "the Hub answered 503 while committing"
    assert error.exit_code == 3
    assert hub.log.commits == 3
    assert head(hub) == before


def test_an_answer_that_is_no_json_is_told_as_that(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    hub.on("POST", "*/commit/*", answer(200, b"<html>maintenance</html>"), times=None)
    assert failure(push).what == "the Hub's answer while committing is not JSON but an error page"


def test_anothers_commit_in_place_of_ours_is_not_ours(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    before = head(hub)

    def overtake(handle: Callable[[], Reply]) -> Reply:
        hub.commit("lab/net", {"config.json": b"theirs"})
        return answer(503)(handle)

    hub.on("POST", "*/commit/*", overtake)
    error = failure(push)
    theirs = head(hub)
    assert error.what == (f"lab/net changed since commit {before[:12]}, now at {theirs[:12]}; nothing was published")
    assert hub.read("lab/net", "config.json") == b"theirs"


def test_when_nobody_answers_any_more_the_outcome_stays_unknown(hub: HubServer, push: Push) -> None:
    hub.on("POST", "*/commit/*", drop_after())
    hub.on("GET", "*/commits/*", answer(403), times=None)  # a 503 the client would ask again for 23 seconds
    error = failure(push)
    assert error.what.startswith("the outcome of the commit is unknown: Server disconnected")
    assert error.hint == "publish again: a commit that was made is recognised, and nothing is uploaded twice"
    hub.heal()
    hub.log.clear()
    assert not push().is_new
    assert hub.log.commits == 0


def test_a_concurrent_publisher_is_not_overwritten(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    before = head(hub)
    error = failure(push, meanwhile=lambda: hub.commit("lab/net", {"config.json": b"theirs"}))
    theirs = head(hub)
    assert isinstance(error, Refused) and error.exit_code == 3
    assert f"since commit {before[:12]}, now at {theirs[:12]}" in error.what
    assert error.where == f"{hub.endpoint}/lab/net/commits/main"
    assert files(hub) == {"config.json"}


def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(hub: HubServer, push: Push) -> None:
    hub.add_repo("other/net")
    hub.on("POST", "*/commit/*", drop_after())
    pushed = push("other/net", pull_request=True)
    assert pushed.page == f"{hub.endpoint}/other/net/discussions/1"
    assert len(hub.repo("other/net").pull_requests) == 1


def test_a_pull_request_that_was_not_opened_is_opened_again(hub: HubServer, push: Push) -> None:
    hub.add_repo("other/net")
    hub.on("POST", "*/commit/*", drop_before())
    push("other/net", pull_request=True)
    assert len(hub.repo("other/net").pull_requests) == 1


def test_a_tag_whose_answer_is_lost_is_recognised(hub: HubServer, push: Push) -> None:
    hub.on("POST", "*/tag/*", drop_after())
    commit = push(tag="v1").commit
    assert hub.repo("lab/net").tags == {"v1": commit}


def test_a_tag_that_somebody_else_sets_meanwhile_is_not_moved(hub: HubServer, push: Push) -> None:
    hub.add_repo("lab/net")
    first = head(hub)
    hub.on("POST", "*/tag/*", call_before(lambda: hub.repo("lab/net").tags.update(v1=first)))
    assert failure(push, tag="v1").what == f"the tag v1 of lab/net is on commit {first[:12]}, and zoo never moves a tag"


# --- content ------------------------------------------------------------------------------------------------------


def with_readme(text: str) -> Release:
    made = release()
    return replace(
        made,
        files=tuple(
            ReleaseFile.of_text("README.md", text) if item.path == "README.md" else item for item in made.files
        ),
    )


def test_a_readme_that_the_hub_does_not_take_is_told_before_any_upload(hub: HubServer, push: Push) -> None:
    error = failure(push, made=with_readme("---\nlicense: beerware\ntags: 5\n---\n# Net\n"))
    assert error.what.startswith("the Hub rejects the README: ")
    assert '"license" must be one of' in error.what and '"tags" must be an array' in error.what
    assert isinstance(error, WrongContent) and error.exit_code == 1
    assert hub.log.uploaded_lfs_bytes == hub.log.commits == 0


def test_an_error_page_in_place_of_the_readmes_check_is_not_bad_yaml(hub: HubServer, push: Push) -> None:
    hub.on("POST", "*/validate-yaml", answer_html(502), times=None)
    error = failure(push)
    assert isinstance(error, TransferFailed)
    assert error.what == "the Hub answered 502 while checking the README"


def test_what_is_there_afterwards_and_is_not_the_release_is_wrong(hub: HubServer, push: Push) -> None:
    def lie(handle: Callable[[], Reply]) -> Reply:
        reply = handle()
        assert isinstance(reply.body, bytes)
        return replace(reply, body=reply.body.replace(WEIGHTS_SHA256.encode(), b"0" * 64))

    hub.on("GET", "*/tree/*", lie)
    error = failure(push)
    assert f"sha256 {WEIGHTS_SHA256}, got 279632 bytes, digest {'0' * 64}" in error.what
    assert error.exit_code == 1


# --- other processes ----------------------------------------------------------------------------------------------


def command(hub: HubServer, tmp_path: Path, *arguments: str, **settings: str) -> tuple[list[str], dict[str, str]]:
    """`zoo publish` of the digits model as a process of its own, logged in as Ada."""
    report = tmp_path / "report.json"
    report.write_text(digits_report().to_json())
    to = [sys.executable, "-m", "zoo_cli", "publish", NAME, "--to", "hf:lab/net", "--report", str(report), *arguments]
    environment = hub.environment(tmp_path / "hf", token=os.environ["HF_TOKEN"])
    return to, {**environment, "ZOO_HOME": os.environ["ZOO_HOME"], **settings}


def run(hub: HubServer, tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    line, environment = command(hub, tmp_path, **settings)
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_publisher_killed_before_its_commit_leaves_nothing_and_the_next_uploads_nothing_twice(
    hub: HubServer, tmp_path: Path
) -> None:
    line, environment = command(hub, tmp_path)
    processes: list[subprocess.Popen[bytes]] = []

    def kill(handle: Callable[[], Reply]) -> Reply:
        os.kill(processes[0].pid, signal.SIGKILL)
        raise Dropped

    hub.on("POST", "*/commit/*", kill)
    processes.append(subprocess.Popen(line, cwd=ROOT, env=environment))
    assert processes[0].wait() == -signal.SIGKILL
    assert files(hub) == set()
    assert hub.log.uploaded_lfs_bytes == len(WEIGHTS)
    hub.log.clear()
    ran = run(hub, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert hub.log.uploaded_lfs_bytes == 0
    assert files(hub) == FILES


def test_a_release_goes_up_over_xet_too(hub: HubServer, tmp_path: Path) -> None:
    hub.accept_xet()
    ran = run(hub, tmp_path, HF_HUB_DISABLE_XET="0")
    assert ran.returncode == 0, ran.stderr
    assert hub.log.count("xet_write_token") and not hub.log.count("lfs_batch")
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS


@pytest.mark.parametrize("cas_url", ["", "http://127.0.0.1:9"], ids=["no token", "unreachable"])
def test_xet_that_cannot_be_used_is_told_with_the_way_around_it(hub: HubServer, tmp_path: Path, cas_url: str) -> None:
    if cas_url:
        hub.send_xet_to(cas_url)
    settings = {"HF_HUB_DISABLE_XET": "0", "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "0"}
    ran = run(hub, tmp_path, **settings)
    assert ran.returncode == 3, ran.stderr
    assert "cannot reach Xet's storage while uploading" in ran.stderr
    assert "HF_HUB_DISABLE_XET=1 uploads without Xet" in ran.stderr
    assert files(hub) == set()


def test_the_command_prints_no_token_when_it_fails(hub: HubServer, tmp_path: Path) -> None:
    hub.on("POST", "*/commit/*", answer(403, b'{"error": "no"}'))
    ran = run(hub, tmp_path)
    assert ran.returncode == 3
    assert "this token cannot write to lab/net" in ran.stderr
    assert os.environ["HF_TOKEN"] not in ran.stdout + ran.stderr


def test_errors_of_ours_are_not_explained_as_the_clients() -> None:
    with pytest.raises(CannotCheck, match="mine"):
        HubClient("lab/net").call("testing", _raise_ours)


def _raise_ours() -> None:
    raise CannotCheck("mine")

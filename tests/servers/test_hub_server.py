"""The tests' Hub against the unmodified client and the `hf` command: each call that publishing makes, and each way
in which publishing fails, with the exception that the client makes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.servers.hub_server import (
    Action,
    Dropped,
    HubServer,
    Reply,
    Repository,
    answer,
    answer_html,
    call_before,
    cut_body,
    drop_after,
    drop_before,
)
from tests.servers.hub_server.card_check import check_card
from tests.servers.hub_server.replies import parse_range

README = b"---\nlicense: apache-2.0\ntags:\n- digits\n---\n# Net\n"
WEIGHTS = bytes(range(256)) * 40
WEIGHTS_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[HubServer]:
    with HubServer(part_bytes=100_000, page_size=3) as server:
        server.configure_client(monkeypatch, home)
        server.add_org("lab", {"ada": "write"})
        yield server


@pytest.fixture
def token(hub: HubServer) -> str:
    """A token of ada, who may write in lab."""
    return hub.add_user("ada")


@pytest.fixture
def api(hub: HubServer, token: str) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


@pytest.fixture
def stranger(hub: HubServer) -> HfApi:
    """A user with a write token, but not in lab."""
    return HfApi(endpoint=hub.endpoint, token=hub.add_user("eve"))


@pytest.fixture
def anonymous(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


@pytest.fixture
def net(hub: HubServer) -> Repository:
    """The repository lab/net, with its first commit only."""
    return hub.add_repo("lab/net")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client would have waited between its tries; only the waiting itself is left out."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def publish(api: HfApi, *, weights: bytes = WEIGHTS, readme: bytes = README, **options: Any) -> CommitInfo:
    files = {"README.md": readme, "model.safetensors": weights}
    additions = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit("lab/net", additions, commit_message="Publish net", **options)


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def run(hub: HubServer, home: Path, token: str, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = hub.environment(home, token=token) | settings
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def hf(hub: HubServer, home: Path, token: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run(hub, home, token, sys.executable, "-m", "huggingface_hub.cli.hf", *arguments, **settings)


# Who is asking.


def test_whoami_names_the_user_the_organizations_and_the_tokens_role(hub: HubServer, api: HfApi) -> None:
    identity = api.whoami()
    assert (identity["name"], [org["name"] for org in identity["orgs"]]) == ("ada", ["lab"])
    assert identity["auth"]["accessToken"] == {"displayName": "ada-write", "role": "write"}


def test_a_fine_grained_token_writes_where_it_may_and_nowhere_else(hub: HubServer, token: str, net: Repository) -> None:
    hub.add_repo("lab/other")
    narrow = HfApi(endpoint=hub.endpoint, token=hub.add_token("ada", "fineGrained", writes=("lab/net",)))
    narrow.auth_check("lab/net", write=True)
    with pytest.raises(HfHubHTTPError) as refused:
        narrow.auth_check("lab/other", write=True)
    assert status(refused) == 403


# Repositories.


def test_a_new_repository_has_one_commit(hub: HubServer, api: HfApi) -> None:
    created = api.create_repo("lab/net", private=True)
    assert (created.repo_id, str(created)) == ("lab/net", f"{hub.endpoint}/lab/net")
    assert hub.repo("lab/net").private
    assert [commit.title for commit in api.list_repo_commits("lab/net")] == ["initial commit"]


def test_creating_what_exists_is_a_409_that_carries_its_url(api: HfApi, net: Repository) -> None:
    assert api.create_repo("lab/net", exist_ok=True).repo_id == "lab/net"
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_repo("lab/net")
    assert status(refused) == 409


def test_an_existing_repository_keeps_its_visibility(hub: HubServer, api: HfApi, net: Repository) -> None:
    api.create_repo("lab/net", private=True, exist_ok=True)
    assert api.model_info("lab/net").private is False


def test_a_repository_in_a_foreign_namespace_is_not_created(hub: HubServer, stranger: HfApi) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        stranger.create_repo("lab/mine")
    assert status(refused) == 403
    assert not hub.has_repo("lab/mine")


def test_a_deleted_repository_is_gone(hub: HubServer, api: HfApi, net: Repository) -> None:
    api.delete_repo("lab/net")
    assert not hub.has_repo("lab/net")
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("lab/net")


def test_model_info_reads_the_card_and_the_sizes(api: HfApi, net: Repository) -> None:
    made = publish(api)
    info = api.model_info("lab/net", files_metadata=True)
    assert (info.sha, info.private, info.gated, info.card_data.license) == (made.oid, False, False, "apache-2.0")
    assert info.tags == ["digits", "license:apache-2.0", "region:us"]
    sizes = {file.rfilename: (file.size, file.lfs.sha256 if file.lfs else None) for file in info.siblings}
    assert sizes["README.md"] == (len(README), None)
    assert sizes["model.safetensors"] == (len(WEIGHTS), WEIGHTS_SHA256)


def test_expand_gives_the_named_properties_only(api: HfApi, net: Repository) -> None:
    info = api.model_info("lab/net", expand=["sha", "gated"])
    assert (info.sha, info.gated, info.private, info.siblings) == (net.head, False, None, None)


def test_a_dataset_repository_is_apart_from_the_model_of_the_same_name(hub: HubServer, api: HfApi, home: Path) -> None:
    hub.add_repo("lab/net")
    api.create_repo("lab/net", repo_type="dataset")
    additions = [CommitOperationAdd("train.bin", WEIGHTS), CommitOperationAdd("labels.txt", b"0\n")]
    api.create_commit("lab/net", additions, commit_message="data", repo_type="dataset")
    assert api.dataset_info("lab/net").sha != api.model_info("lab/net").sha
    for file, content in (("train.bin", WEIGHTS), ("labels.txt", b"0\n")):
        assert Path(api.hf_hub_download("lab/net", file, repo_type="dataset")).read_bytes() == content


# Upload.


def test_a_regular_and_a_large_file_go_up_in_one_commit(hub: HubServer, api: HfApi, net: Repository) -> None:
    before = net.head
    made = publish(api, parent_commit=before)
    assert [commit.oid for commit in net.history()] == [made.oid, before]
    assert hub.read("lab/net", "README.md") == README
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS
    calls = ["validate_yaml", "preupload", "lfs_batch", "put_object", "lfs_verify", "commit"]
    assert hub.log.routes() == calls
    assert (hub.log.uploaded_lfs_bytes, hub.log.commits) == (len(WEIGHTS), 1)


def test_the_storage_never_sees_a_token(hub: HubServer, api: HfApi, net: Repository) -> None:
    publish(api)
    api.hf_hub_download("lab/net", "model.safetensors")
    at_storage = [exchange for exchange in hub.log.exchanges() if exchange.origin == "storage"]
    assert [exchange.route for exchange in at_storage] == ["put_object", "get_object"]
    assert not any(exchange.sent_a_token for exchange in at_storage)


def test_publishing_the_same_again_uploads_nothing_and_commits_nothing(
    hub: HubServer, api: HfApi, net: Repository
) -> None:
    first = publish(api)
    hub.log.clear()
    assert publish(api).oid == first.oid
    assert (hub.log.uploaded_lfs_bytes, hub.log.commits) == (0, 0)


def test_a_changed_readme_alone_leaves_the_weights_where_they_are(hub: HubServer, api: HfApi, net: Repository) -> None:
    publish(api)
    hub.log.clear()
    publish(api, readme=README + b"More words.\n")
    assert (hub.log.uploaded_lfs_bytes, hub.log.commits) == (0, 1)


def test_a_file_above_the_part_size_goes_up_in_parts(hub: HubServer, api: HfApi, net: Repository) -> None:
    weights = WEIGHTS * 25
    publish(api, weights=weights)
    assert hub.read("lab/net", "model.safetensors") == weights
    parts = hub.log.exchanges("put_part")
    assert [part.request_bytes for part in parts] == [100_000, 100_000, 56_000]
    assert hub.log.count("complete_multipart") == 1


def test_an_upload_with_other_content_than_announced_is_refused(hub: HubServer, api: HfApi, net: Repository) -> None:
    url = f"{hub.endpoint}/lab/net.git/info/lfs/objects/batch"
    payload = {"objects": [{"oid": WEIGHTS_SHA256, "size": len(WEIGHTS)}], "ref": {"name": "main"}}
    batch = httpx2.post(url, json=payload, headers={"Authorization": f"Bearer {api.token}"}).json()
    link = batch["objects"][0]["actions"]["upload"]["href"]
    assert httpx2.put(link, content=WEIGHTS[:-1] + b"?").status_code == 400
    assert net.lfs_objects == set()


def test_a_chunked_upload_is_read_to_its_end(hub: HubServer, api: HfApi, net: Repository) -> None:
    url = f"{hub.endpoint}/lab/net.git/info/lfs/objects/batch"
    payload = {"objects": [{"oid": WEIGHTS_SHA256, "size": len(WEIGHTS)}], "ref": {"name": "main"}}
    with httpx2.Client(headers={"Authorization": f"Bearer {api.token}"}) as client:
        batch = client.post(url, json=payload).json()
        link = batch["objects"][0]["actions"]["upload"]["href"]
        for _ in range(2):  # the second request on the same connection starts where the first one ended
            pieces = (WEIGHTS[start : start + 999] for start in range(0, len(WEIGHTS), 999))
            assert client.put(link, content=pieces).status_code == 200
    assert net.lfs_objects == {WEIGHTS_SHA256}


def test_a_commit_can_remove_files_and_folders(hub: HubServer, api: HfApi, net: Repository) -> None:
    hub.commit("lab/net", {"old.txt": b"1", "logs/a.txt": b"2", "logs/b/c.txt": b"3", "kept.txt": b"4"})
    removals = [CommitOperationDelete("old.txt"), CommitOperationDelete("logs/")]
    api.create_commit("lab/net", removals, commit_message="tidy up")
    assert sorted(net.resolve("main").files) == [".gitattributes", "kept.txt"]


def test_a_commit_is_made_whole_or_not_at_all(api: HfApi, net: Repository) -> None:
    before = net.refs()
    operations: list[Any] = [CommitOperationAdd("new.txt", b"1"), CommitOperationDelete("nowhere.txt")]
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit("lab/net", operations, commit_message="half")
    assert net.refs() == before


def test_a_pointer_to_an_object_that_was_never_uploaded_is_refused(hub: HubServer, api: HfApi, net: Repository) -> None:
    before = net.refs()
    header = {"key": "header", "value": {"summary": "s", "description": ""}}
    pointer = {"path": "model.bin", "algo": "sha256", "oid": WEIGHTS_SHA256, "size": len(WEIGHTS)}
    lines = b"\n".join(json.dumps(line).encode() for line in (header, {"key": "lfsFile", "value": pointer}))
    url = f"{hub.endpoint}/api/models/lab/net/commit/main"
    refused = httpx2.post(url, content=lines, headers={"Authorization": f"Bearer {api.token}"})
    assert refused.status_code == 400
    assert net.refs() == before


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_object_ids_are_those_of_git(hub: HubServer, net: Repository, tmp_path: Path) -> None:
    files = {"a.txt": b"1", "a/b.txt": b"2", "a-b/c/d.txt": b"3", "z.txt": b""}
    first, commit = net.head, hub.commit("lab/net", {**files, ".gitattributes": None})
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    git("add", ".")
    person = f"somebody <somebody@users.noreply.localhost> {int(commit.date.timestamp())} +0000"
    text = f"tree {git('write-tree')}parent {first}\nauthor {person}\ncommitter {person}\n\nchange\n"
    (tmp_path / "commit").write_text(text)
    assert git("hash-object", "-t", "commit", "-w", "--literally", "commit").strip() == commit.oid


# Branches, tags, pull requests.


def test_a_branch_is_created_committed_to_and_deleted(hub: HubServer, api: HfApi, net: Repository) -> None:
    api.create_branch("lab/net", branch="v2/draft")
    made = publish(api, revision="v2/draft")
    assert [commit.oid for commit in net.history("v2/draft")] == [made.oid, net.head]
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_branch("lab/net", branch="v2/draft")
    assert status(refused) == 409
    api.delete_branch("lab/net", branch="v2/draft")
    assert list(net.branches) == ["main"]


def test_a_tag_stays_on_its_commit(hub: HubServer, api: HfApi, net: Repository) -> None:
    first = publish(api)
    api.create_tag("lab/net", tag="v1", revision=first.oid)
    hub.commit("lab/net", {"README.md": b"another"})
    assert [(tag.name, tag.target_commit) for tag in api.list_repo_refs("lab/net").tags] == [("v1", first.oid)]
    assert Path(api.hf_hub_download("lab/net", "README.md", revision="v1")).read_bytes() == README
    api.delete_tag("lab/net", tag="v1")
    assert net.tags == {}


def test_a_pull_request_leaves_the_branch_until_it_is_merged(hub: HubServer, stranger: HfApi, api: HfApi) -> None:
    net = hub.add_repo("lab/net")
    before = net.head
    offer = publish(stranger, create_pr=True)
    assert (offer.pr_url, offer.pr_revision) == (f"{hub.endpoint}/lab/net/discussions/1", "refs/pr/1")
    assert (net.head, hub.read("lab/net", "model.safetensors", revision="refs/pr/1")) == (before, WEIGHTS)

    publish(stranger, readme=README + b"More.\n", revision="refs/pr/1")
    refs = api.list_repo_refs("lab/net", include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", net.refs()["refs/pr/1"])]
    opened = list(api.get_repo_discussions("lab/net", discussion_type="pull_request", discussion_status="open"))
    assert [(pr.num, pr.author, pr.title) for pr in opened] == [(1, "eve", "Publish net")]

    hub.commit("lab/net", {"LICENSE": b"text"})
    api.merge_pull_request("lab/net", 1)
    assert sorted(net.resolve("main").files) == [".gitattributes", "LICENSE", "README.md", "model.safetensors"]
    assert api.get_discussion_details("lab/net", 1).status == "merged"


# Reading.


def test_the_tree_comes_in_pages_with_its_folders(hub: HubServer, api: HfApi, net: Repository) -> None:
    hub.commit("lab/net", {"a/b/c.txt": b"1", "a/d.txt": b"2", "model.bin": WEIGHTS})
    listed = [(entry.path, type(entry).__name__) for entry in api.list_repo_tree("lab/net", recursive=True)]
    folders, files = ("a", "a/b"), (".gitattributes", "a/b/c.txt", "a/d.txt", "model.bin")
    assert listed == sorted([(path, "RepoFolder") for path in folders] + [(path, "RepoFile") for path in files])
    assert hub.log.count("tree") == 2
    assert [entry.path for entry in api.list_repo_tree("lab/net", "a")] == ["a/b", "a/d.txt"]


def test_a_path_that_is_not_there_has_no_tree(api: HfApi, net: Repository) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("lab/net", "nowhere"))


def test_paths_info_leaves_out_what_is_not_there(hub: HubServer, api: HfApi, net: Repository) -> None:
    made = publish(api)
    later = hub.commit("lab/net", {"docs/x.txt": b"1"})
    entries = api.get_paths_info("lab/net", ["model.safetensors", "docs", "nowhere.txt"], expand=True)
    assert [(entry.path, entry.last_commit.oid) for entry in entries] == [
        ("model.safetensors", made.oid),
        ("docs", later.oid),
    ]
    assert (entries[0].size, entries[0].lfs.sha256) == (len(WEIGHTS), WEIGHTS_SHA256)


def test_commits_come_newest_first_over_all_pages(hub: HubServer, api: HfApi, net: Repository) -> None:
    made = [hub.commit("lab/net", {"x.txt": bytes([number])}, title=f"change {number}") for number in range(4)]
    listed = api.list_repo_commits("lab/net")
    assert [commit.commit_id for commit in listed[:-1]] == [commit.oid for commit in reversed(made)]
    assert (listed[0].title, listed[0].authors, hub.log.count("commits")) == ("change 3", ["somebody"], 2)


def test_a_download_that_breaks_off_is_resumed_where_it_ended(
    hub: HubServer, api: HfApi, net: Repository, waits: list[float]
) -> None:
    weights = WEIGHTS * 1100
    hub.commit("lab/net", {"model.safetensors": weights})
    hub.on("GET", "/object/*", cut_body(11_000_000))
    assert Path(api.hf_hub_download("lab/net", "model.safetensors")).read_bytes() == weights
    written = constants.DOWNLOAD_CHUNK_SIZE  # the client writes whole chunks of 10 MiB, the rest of 11 MB is lost
    assert [exchange.byte_range for exchange in hub.log.exchanges("get_object")] == [None, f"bytes={written}-"]


def test_the_safetensors_header_is_read_without_the_weights(hub: HubServer, api: HfApi, net: Repository) -> None:
    tensors = {"w": {"dtype": "F32", "shape": [1_000_000], "data_offsets": [0, 4_000_000]}}
    header = json.dumps(tensors).encode()
    hub.commit("lab/net", {"model.safetensors": struct.pack("<Q", len(header)) + header + bytes(4_000_000)})
    assert api.get_safetensors_metadata("lab/net").parameter_count == {"F32": 1_000_000}
    assert sum(exchange.reply_bytes for exchange in hub.log.exchanges("get_object")) <= 200_000


def test_raw_gives_the_pointer_of_a_large_file(hub: HubServer, net: Repository) -> None:
    hub.commit("lab/net", {"model.bin": WEIGHTS})
    raw = httpx2.get(f"{hub.endpoint}/lab/net/raw/main/model.bin").text
    assert raw == f"version https://git-lfs.github.com/spec/v1\noid sha256:{WEIGHTS_SHA256}\nsize {len(WEIGHTS)}\n"


def test_a_link_to_the_storage_cannot_be_made_up(hub: HubServer, net: Repository) -> None:
    hub.commit("lab/net", {"model.bin": WEIGHTS})
    assert httpx2.get(f"{hub.storage_origin}/object/{WEIGHTS_SHA256}?signature=0").status_code == 403


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=6-", (6, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=-99", (0, 10)),
    ],
)
def test_a_range_is_cut_to_what_there_is(asked: str, given: tuple[int, int]) -> None:
    assert parse_range(asked, 10) == given


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=-", "items=0-1", "bytes=0-1,4-5"])
def test_a_range_without_a_byte_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match=asked):
        parse_range(asked, 10)


def test_a_missing_file_and_a_missing_revision_are_told_apart(api: HfApi, net: Repository) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("lab/net", "nowhere.bin")
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("lab/net", "README.md", revision="v9")


# Collections.


def test_a_collection_is_kept(hub: HubServer, api: HfApi, net: Repository) -> None:
    made = api.create_collection("ResNeSt", namespace="lab", description="A family")
    again = api.create_collection("ResNeSt", namespace="lab", exists_ok=True)
    assert (again.slug, again.title, again.description) == (made.slug, "ResNeSt", "A family")

    api.add_collection_item(made.slug, "lab/net", "model", note="measured")
    api.add_collection_item(made.slug, "lab/net", "model", exists_ok=True)
    item = api.get_collection(made.slug).items[0]
    assert (item.item_id, item.item_type, item.note) == ("lab/net", "model", "measured")
    api.update_collection_item(made.slug, item.item_object_id, note="measured twice")
    api.update_collection_metadata(made.slug, description="The family")
    assert api.get_collection(made.slug).items[0].note == "measured twice"
    assert [kept.description for kept in api.list_collections(owner="lab", item="models/lab/net")] == ["The family"]

    api.delete_collection_item(made.slug, item.item_object_id)
    assert api.get_collection(made.slug).items == []
    api.delete_collection(made.slug)
    assert list(api.list_collections(owner="lab")) == []


def test_a_listing_of_collections_shows_four_items_of_each(hub: HubServer, api: HfApi) -> None:
    slug = api.create_collection("All", namespace="lab").slug
    for number in range(5):
        hub.add_repo(f"lab/net{number}")
        api.add_collection_item(slug, f"lab/net{number}", "model")
    assert [len(kept.items) for kept in api.list_collections(owner="lab")] == [4]
    assert len(api.get_collection(slug).items) == 5


def test_a_collection_takes_no_missing_model_and_no_stranger(
    hub: HubServer, api: HfApi, stranger: HfApi, net: Repository
) -> None:
    slug = api.create_collection("All", namespace="lab", private=True).slug
    with pytest.raises(HfHubHTTPError) as refused:
        api.add_collection_item(slug, "lab/nowhere", "model")
    assert status(refused) == 404
    with pytest.raises(HfHubHTTPError) as hidden:
        stranger.add_collection_item(slug, "lab/net", "model")
    assert status(hidden) == 404


# The `hf` command.


def test_hf_uploads_downloads_and_verifies(
    hub: HubServer, token: str, net: Repository, tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "release"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_bytes(README)
    (folder / "sub" / "model.safetensors").write_bytes(WEIGHTS)
    uploaded = hf(hub, home, token, "upload", "lab/net", str(folder))
    assert uploaded.returncode == 0, uploaded.stderr
    assert hub.read("lab/net", "sub/model.safetensors") == WEIGHTS

    downloaded = hf(hub, home, token, "download", "lab/net")
    assert downloaded.returncode == 0, downloaded.stderr
    snapshot = home / "hub" / "models--lab--net" / "snapshots" / net.head
    assert (snapshot / "sub" / "model.safetensors").read_bytes() == WEIGHTS
    assert hf(hub, home, token, "cache", "verify", "lab/net").returncode == 0

    (snapshot / "README.md").resolve().write_bytes(b"tampered")
    verified = hf(hub, home, token, "cache", "verify", "lab/net")
    assert verified.returncode == 1
    assert "README.md" in verified.stdout + verified.stderr
    assert hub.log.count("unknown") == 0


def test_hf_uploads_over_xet_where_the_hub_takes_it(hub: HubServer, token: str, tmp_path: Path, home: Path) -> None:
    pytest.importorskip("hf_xet")
    hub.add_repo("lab/net")
    hub.accept_xet()
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    file = str(tmp_path / "model.safetensors")
    uploaded = hf(hub, home, token, "upload", "lab/net", file, HF_HUB_DISABLE_XET="0")
    assert uploaded.returncode == 0, uploaded.stderr
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS
    assert (hub.log.count("xet_write_token"), hub.log.count("lfs_batch")) == (1, 0)


# The README's check.


def test_a_readme_without_metadata_is_a_warning(api: HfApi, net: Repository) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        publish(api, readme=b"# Net\n")


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("license: [", "while parsing"),
        ("license: mit\nlicense: mit", "duplicated mapping key license"),
        ("- a\n- b", "metadata must be a mapping"),
        ("license: gpl-2.0-or-later", '"license" must be one of'),
        ("tags: digits", '"tags" must be an array'),
        ("datasets: [7]", '"datasets[0]" must be a string'),
        ("model-index: net", '"model-index" must be an array'),
        ("model-index: [{name: net}]", '"model-index[0].results" is required'),
        ("model-index: [{name: n, results: [{task: {}}]}]", '"model-index[0].results[0].dataset" is required'),
    ],
)
def test_bad_metadata_is_named(metadata: str, problem: str) -> None:
    assert any(problem in error for error in check_card(f"---\n{metadata}\n---\n").errors)


def test_good_metadata_with_results_passes() -> None:
    metric = "{type: accuracy, value: 0.98, name: top1}"
    result = f"{{task: {{type: image-classification}}, dataset: {{type: d, name: D}}, metrics: [{metric}]}}"
    card = check_card(
        f"---\nlicense: [mit, other]\ndatasets: d\nmodel-index: [{{name: n, results: [{result}]}}]\n---\n"
    )
    assert (card.errors, card.warnings) == ((), ())


# The ways to fail, and what the client makes of each.


def test_no_token_stops_whoami_before_any_request(hub: HubServer) -> None:
    with pytest.raises(LocalTokenNotFoundError):
        HfApi(endpoint=hub.endpoint).whoami()
    assert hub.log.count() == 0


def test_no_token_is_a_401_for_create_repo(hub: HubServer, anonymous: HfApi) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        anonymous.create_repo("lab/net")
    assert status(refused) == 401


def test_a_bad_token_is_a_401_even_for_public_data(hub: HubServer, net: Repository) -> None:
    forged = HfApi(endpoint=hub.endpoint, token="hf_forged")
    for ask in (forged.whoami, lambda: forged.model_info("lab/net")):
        with pytest.raises(HfHubHTTPError) as refused:
            ask()
        assert (status(refused), type(refused.value)) == (401, HfHubHTTPError)


@pytest.mark.parametrize("who", ["the holder of a read-only token", "a stranger"])
def test_who_may_not_write_passes_create_repo_and_fails_the_check(
    hub: HubServer, token: str, stranger: HfApi, net: Repository, who: str
) -> None:
    reader = HfApi(endpoint=hub.endpoint, token=hub.add_token("ada", "read"))
    asker = stranger if who == "a stranger" else reader
    before = net.refs()
    assert asker.create_repo("lab/net", exist_ok=True).repo_id == "lab/net"
    for ask in (lambda: asker.auth_check("lab/net", write=True), lambda: publish(asker)):
        with pytest.raises(HfHubHTTPError) as refused:
            ask()
        assert (status(refused), type(refused.value)) == (403, HfHubHTTPError)
    assert net.refs() == before


def test_a_private_repository_looks_like_a_missing_one(
    hub: HubServer, api: HfApi, stranger: HfApi, anonymous: HfApi
) -> None:
    hub.add_repo("lab/secret", private=True)
    assert api.model_info("lab/secret").private is True
    for asker, expected in ((stranger, 404), (anonymous, 401)):
        for repo_id in ("lab/secret", "lab/nowhere"):
            for ask in (asker.model_info, asker.auth_check, asker.list_repo_refs):
                with pytest.raises(RepositoryNotFoundError) as refused:
                    ask(repo_id)
                assert status(refused) == expected


def test_a_gated_repository_shows_its_listing_and_keeps_its_files(
    hub: HubServer, api: HfApi, stranger: HfApi, anonymous: HfApi
) -> None:
    gated = hub.add_repo("lab/gated", gated="manual")
    hub.commit("lab/gated", {"model.bin": WEIGHTS})
    for asker in (stranger, anonymous):
        assert "model.bin" in asker.list_repo_files("lab/gated")
        with pytest.raises(GatedRepoError):
            asker.auth_check("lab/gated")
        with pytest.raises(GatedRepoError):
            asker.hf_hub_download("lab/gated", "model.bin")
    gated.accepted.add("eve")
    assert Path(stranger.hf_hub_download("lab/gated", "model.bin")).read_bytes() == WEIGHTS


@pytest.mark.parametrize("path", ["*/preupload/*", "*/objects/batch", "/upload/*"])
def test_a_rate_limit_on_an_upload_is_waited_for_by_the_client(
    hub: HubServer, api: HfApi, net: Repository, waits: list[float], path: str
) -> None:
    hub.on("*", path, answer(429, headers={"Retry-After": "2"}), times=2)
    publish(api)
    assert waits == [3.0, 3.0]
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS


@pytest.mark.parametrize("step", ["whoami", "create_repo", "commit", "create_tag", "refs"])
def test_a_rate_limit_elsewhere_is_an_error_at_once(hub: HubServer, api: HfApi, net: Repository, step: str) -> None:
    asks: dict[str, Callable[[], object]] = {
        "whoami": api.whoami,
        "create_repo": lambda: api.create_repo("lab/other"),
        "commit": lambda: publish(api),
        "create_tag": lambda: api.create_tag("lab/net", tag="v1"),
        "refs": lambda: api.list_repo_refs("lab/net"),
    }
    path = {"whoami": "*/whoami-v2", "create_repo": "*/create", "commit": "*/commit/*", "create_tag": "*/tag/*"}
    hub.on("*", path.get(step, "*/refs"), answer(429, headers={"Retry-After": "7"}), times=None)
    before = net.refs()
    with pytest.raises(HfHubHTTPError) as refused:
        asks[step]()
    assert (status(refused), refused.value.response.headers["Retry-After"]) == (429, "7")
    assert hub.log.count(step) == 1
    assert net.refs() == before


@pytest.mark.parametrize("fault", [answer(503), drop_before(), drop_before(by_reset=True), drop_after()])
def test_an_upload_that_fails_once_is_tried_again(
    hub: HubServer, api: HfApi, net: Repository, waits: list[float], fault: Action
) -> None:
    hub.on("PUT", "/upload/*", fault)
    publish(api)
    assert (hub.log.count("put_object"), waits) == (2, [1])
    assert hub.read("lab/net", "model.safetensors") == WEIGHTS


@pytest.mark.parametrize(
    ("fault", "cause"), [(answer(503), HfHubHTTPError), (drop_before(), httpx2.RemoteProtocolError)]
)
def test_an_upload_that_keeps_failing_is_a_runtime_error_with_its_cause(
    hub: HubServer, api: HfApi, net: Repository, waits: list[float], fault: Action, cause: type[Exception]
) -> None:
    hub.on("PUT", "/upload/*", fault, times=None)
    before = net.refs()
    with pytest.raises(RuntimeError, match=r"Error while uploading 'model\.safetensors'") as failed:
        publish(api)
    assert isinstance(failed.value.__cause__, cause)
    assert (hub.log.count("put_object"), hub.log.commits, waits) == (6, 0, [1, 2, 4, 8, 8])
    assert net.refs() == before


def test_an_unreachable_storage_is_a_runtime_error_too(
    hub: HubServer, api: HfApi, net: Repository, waits: list[float]
) -> None:
    hub.close_storage()
    with pytest.raises(RuntimeError) as failed:
        publish(api)
    assert isinstance(failed.value.__cause__, httpx2.ConnectError)
    assert (hub.log.commits, sum(waits)) == (0, 23)


def test_an_object_that_the_batch_refuses_is_a_value_error(hub: HubServer, api: HfApi, net: Repository) -> None:
    refused = {"oid": WEIGHTS_SHA256, "size": len(WEIGHTS), "error": {"message": "quota exceeded", "code": 422}}
    hub.on("POST", "*/objects/batch", answer(200, json.dumps({"objects": [refused]}).encode()))
    with pytest.raises(ValueError, match="quota exceeded"):
        publish(api)


@pytest.mark.parametrize(
    ("fault", "error", "is_made"),
    [
        (answer(503), HfHubHTTPError, False),
        (drop_before(), httpx2.RemoteProtocolError, False),
        (drop_before(by_reset=True), httpx2.ReadError, False),
        (drop_after(), httpx2.RemoteProtocolError, True),
        (drop_after(by_reset=True), httpx2.ReadError, True),
    ],
)
def test_a_commit_without_an_answer_is_not_tried_again_and_may_have_been_made(
    hub: HubServer, api: HfApi, net: Repository, fault: Action, error: type[Exception], is_made: bool
) -> None:
    before = net.head
    hub.on("POST", "*/commit/*", fault, times=None)
    with pytest.raises(error):
        publish(api, parent_commit=before)
    assert hub.log.commits == 1
    assert (net.head != before) is is_made
    assert [commit.parent for commit in net.history()] == ([before, None] if is_made else [None])


def test_a_second_run_after_a_lost_commit_uploads_nothing_twice(hub: HubServer, api: HfApi, net: Repository) -> None:
    hub.on("POST", "*/commit/*", answer(503))
    with pytest.raises(HfHubHTTPError):
        publish(api)
    publish(api)
    assert hub.log.uploaded_lfs_bytes == len(WEIGHTS)


def test_a_killed_client_leaves_the_repository_as_it_was(
    hub: HubServer, api: HfApi, token: str, net: Repository, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    before = net.refs()
    started, killed = threading.Event(), threading.Event()

    def hold(handle: Callable[[], Reply]) -> Reply:
        started.set()
        killed.wait(30)
        raise Dropped

    hub.on("POST", "*/commit/*", hold)
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", "upload", "lab/net", str(tmp_path / "model.safetensors")]
    environment = hub.environment(home, token=token)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        assert started.wait(30)
        client.kill()
        assert client.wait() == -signal.SIGKILL
    killed.set()
    assert (net.refs(), hub.log.uploaded_lfs_bytes) == (before, len(WEIGHTS))
    publish(api)
    assert hub.log.uploaded_lfs_bytes == len(WEIGHTS)


def test_a_stale_parent_is_a_412(hub: HubServer, api: HfApi, net: Repository) -> None:
    stale = net.head
    theirs = hub.commit("lab/net", {"README.md": b"theirs"})
    with pytest.raises(HfHubHTTPError) as refused:
        publish(api, parent_commit=stale)
    assert status(refused) == 412
    assert net.head == theirs.oid


def test_a_publisher_who_comes_in_between_is_a_412(hub: HubServer, api: HfApi, net: Repository) -> None:
    hub.on("POST", "*/commit/*", call_before(lambda: hub.commit("lab/net", {"README.md": b"theirs"}, author="eve")))
    with pytest.raises(HfHubHTTPError) as refused:
        publish(api, parent_commit=net.head)
    assert status(refused) == 412
    assert [commit.author for commit in net.history()] == ["eve", "lab"]


def test_two_publishers_at_once_make_one_commit(hub: HubServer, api: HfApi, net: Repository) -> None:
    parent = net.head
    together = threading.Barrier(2, timeout=30)
    hub.on("POST", "*/commit/*", call_before(together.wait), times=2)
    statuses: list[int] = []

    def commit(number: int) -> None:
        try:
            publish(api, readme=README + str(number).encode(), parent_commit=parent)
        except HfHubHTTPError as error:
            statuses.append(error.response.status_code)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses, len(net.history())) == ([412], 2)


def test_a_bad_readme_is_a_value_error_before_any_upload(hub: HubServer, api: HfApi, net: Repository) -> None:
    with pytest.raises(ValueError, match='"license" must be one of'):
        publish(api, readme=b"---\nlicense: mine\n---\n")
    assert hub.log.routes() == ["validate_yaml"]


def test_the_commit_itself_refuses_a_bad_readme(hub: HubServer, api: HfApi, net: Repository) -> None:
    before = net.refs()
    hub.on("POST", "*/validate-yaml", answer(200, b"{}"))
    with pytest.raises(BadRequestError, match='"tags" must be an array'):
        publish(api, readme=b"---\ntags: digits\n---\n")
    assert net.refs() == before


def test_an_html_page_for_the_readmes_check_looks_like_a_value_error(
    hub: HubServer, api: HfApi, net: Repository
) -> None:
    hub.on("POST", "*/validate-yaml", answer_html(502))
    with pytest.raises(json.JSONDecodeError):
        publish(api)


def test_a_tag_elsewhere_is_a_409_that_exist_ok_swallows(hub: HubServer, api: HfApi, net: Repository) -> None:
    api.create_tag("lab/net", tag="v1")
    there = net.tags["v1"]
    made = publish(api)
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_tag("lab/net", tag="v1", revision=made.oid)
    assert status(refused) == 409
    api.create_tag("lab/net", tag="v1", revision=made.oid, exist_ok=True)
    assert net.tags["v1"] == there


def test_a_closed_hub_is_unreachable_on_old_connections_too(hub: HubServer, api: HfApi) -> None:
    api.whoami()
    hub.close()
    with pytest.raises(httpx2.ConnectError):
        api.whoami()


def test_offline_mode_asks_nothing(hub: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineModeIsEnabled):
        api.whoami()
    assert hub.log.count() == 0


def test_a_silent_hub_is_left_after_the_timeout(hub: HubServer, api: HfApi, net: Repository) -> None:
    hub.on("GET", "/api/models/*", hub.stall)
    with pytest.raises(httpx2.ReadTimeout):
        api.model_info("lab/net", timeout=0.1)


XET_UPLOAD = """
from huggingface_hub import CommitOperationAdd, HfApi
try:
    HfApi().create_commit("lab/net", [CommitOperationAdd("model.bin", bytes(9999))], commit_message="m")
except Exception as error:
    print(type(error) is ConnectionError)
"""


@pytest.mark.parametrize("fault", ["no store", "403 on the token", "404 on the token"])
def test_a_failed_xet_upload_is_a_builtin_connection_error(
    hub: HubServer, token: str, net: Repository, home: Path, fault: str
) -> None:
    pytest.importorskip("hf_xet")
    if fault == "no store":
        hub.send_xet_to(hub.storage_origin)
        hub.close_storage()
    elif fault == "403 on the token":
        hub.on("GET", "*/xet-write-token/*", answer(403), times=None)
    limits = {"HF_XET_CLIENT_RETRY_MAX_DURATION": "1s", "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1"}
    shown = run(hub, home, token, sys.executable, "-c", XET_UPLOAD, HF_HUB_DISABLE_XET="0", **limits)
    assert shown.stdout == "True\n", shown.stderr
    assert (hub.log.count("xet_write_token") > 0, hub.log.commits) == (True, 0)


# The server itself.


def test_a_rule_acts_from_its_first_request_on_and_no_longer_than_it_should(hub: HubServer, api: HfApi) -> None:
    hub.on("GET", "*/whoami-v2", answer(503), first=2, times=2)
    for _ in range(4):
        httpx2.get(f"{hub.endpoint}/api/whoami-v2", headers={"Authorization": f"Bearer {api.token}"})
    assert [exchange.status for exchange in hub.log.exchanges("whoami")] == [200, 503, 503, 200]


def test_healed_faults_do_not_come_back(hub: HubServer, api: HfApi) -> None:
    hub.on("*", "*", answer(503), times=None)
    hub.heal()
    assert api.whoami()["name"] == "ada"


def test_an_unknown_call_is_a_404_and_in_the_log(hub: HubServer) -> None:
    assert httpx2.get(f"{hub.endpoint}/api/spaces/lab/net").status_code == 404
    assert hub.log.routes() == ["unknown"]


def test_a_client_that_leaves_in_the_middle_is_in_the_log_with_what_it_sent(
    hub: HubServer, api: HfApi, net: Repository
) -> None:
    def half_a_body() -> Iterator[bytes]:
        yield b"half"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        httpx2.post(f"{hub.endpoint}/api/models/lab/net/commit/main", content=half_a_body())
    api.whoami()
    hub.close()
    left = next(exchange for exchange in hub.log.exchanges() if exchange.route == "commit")
    assert (left.status, left.request_bytes) == (0, 4)


def test_a_bug_of_the_server_is_not_taken_for_the_clients() -> None:
    with pytest.raises(AssertionError, match="1 bugs in the test server"), HubServer() as hub:
        assert httpx2.post(f"{hub.endpoint}/api/validate-yaml", json={}).status_code == 500


def test_commit_bytes_are_counted_apart_from_weights(hub: HubServer, api: HfApi, net: Repository) -> None:
    api.create_commit("lab/net", [CommitOperationAdd("a.txt", b"0123456789")], commit_message="m")
    hub.commit("lab/net", {"model.bin": WEIGHTS})
    assert hub.log.uploaded_lfs_bytes == 0
    assert hub.log.uploaded_commit_bytes == hub.log.exchanges("commit")[0].request_bytes > len(b"0123456789")


def test_the_environment_points_a_subprocess_here_and_drops_what_is_foreign(
    hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    environment = hub.environment(home, token="hf_x")
    assert (environment["HF_ENDPOINT"], environment["HF_TOKEN"]) == (hub.endpoint, "hf_x")
    assert not {"HF_HUB_OFFLINE", "HTTPS_PROXY"} & environment.keys()

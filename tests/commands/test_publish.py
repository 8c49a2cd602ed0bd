"""`zoo publish` from the command line: to folders and to the tests' Hub, and from there into timm, transformers and zoo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.helpers.project import ROOT, Ran, RunZoo, replace_once
from tests.helpers.releases import NAME, WEIGHTS, WEIGHTS_FILE, WEIGHTS_SHA256, digits_report, with_finding
from tests.servers.hub_server import HubServer, answer
from zoo.verification.report import Status

Publish = Callable[..., Ran]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Ada may write to the organization lab, and is logged in."""
    with HubServer() as server:
        server.add_org("lab", {"ada": "write"})
        server.configure_client(monkeypatch, tmp_path / "hf", token=server.add_user("ada"))
        yield server


@pytest.fixture
def report_file(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(digits_report().to_json())
    return path


@pytest.fixture
def publish(run_zoo: RunZoo, report_file: Path) -> Publish:
    """`zoo publish resnest_digits --report FILE ...`."""

    def run(*arguments: object, report: Path = report_file) -> Ran:
        return run_zoo("publish", NAME, "--report", report, *arguments)

    return run


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("ada", "ben"):
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (tmp_path / f"{name}.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        (tmp_path / f"{name}.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
    return tmp_path


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_verified_model_is_published_to_a_folder_once(run_zoo: RunZoo, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_zoo("verify", NAME).code == 0
    ran = run_zoo("publish", NAME, "--to", f"folder:{out}")
    assert (ran.code, ran.out) == (0, f"{out}\n")
    published = "README.md, config.json, model.safetensors, verification.json"
    assert ran.err == f"{NAME}: published {published}; read back and verified\n"
    assert (out / "model.safetensors").read_bytes() == WEIGHTS
    again = run_zoo("publish", NAME, "--to", f"folder:{out}")
    assert again.err == f"{NAME}: unchanged; read back and verified\n"


def test_a_dry_run_writes_nothing_and_shows_files_digests_and_the_readme(publish: Publish, tmp_path: Path) -> None:
    ran = publish("--to", f"folder:{tmp_path / 'out'}", "--dry-run")
    assert ran.code == 0
    assert f"new            279,632  {WEIGHTS_SHA256}  model.safetensors\n" in ran.out
    assert "+++ new README.md\n" in ran.out
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_not_fetched_is_refused_with_what_to_run(run_zoo: RunZoo, tmp_path: Path) -> None:
    assert run_zoo("verify", "resnest269e").code == 0
    ran = run_zoo("publish", "resnest269e", "--to", f"folder:{tmp_path / 'out'}")
    assert ran.code == 3
    assert "skipped files resnest269-0cc87c48.pth/sha256: resnest269-0cc87c48.pth is not on this machine" in ran.err
    assert "    hint: zoo fetch resnest269e\n" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_model_that_nobody_verified_is_refused_with_the_command(
    run_zoo: RunZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    ran = run_zoo("publish", NAME, "--to", f"folder:{tmp_path / 'out'}")
    assert ran.code == 3
    assert ran.err.endswith(f"  hint: zoo verify {NAME} --fetch\n")


def test_a_tampered_file_is_refused_and_nothing_is_written(publish: Publish, digits_zoo: Path, tmp_path: Path) -> None:
    path = digits_zoo / "digits" / WEIGHTS_FILE
    path.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    ran = publish("--cards", digits_zoo, "--to", f"folder:{tmp_path / 'out'}")
    assert ran.code == 1
    assert f"the card says {WEIGHTS_SHA256}" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("status", "code"), [(Status.UNKNOWN, 3), (Status.WRONG, 1)])
def test_the_exit_code_of_a_refusal_is_the_reports(publish: Publish, tmp_path: Path, status: Status, code: int) -> None:
    report = tmp_path / "altered.json"
    report.write_text(with_finding(digits_report(), "flops", "macs", status=status).to_json())
    assert publish("--to", f"folder:{tmp_path / 'out'}", report=report).code == code


def test_an_expired_report_is_refused_by_a_shorter_limit(publish: Publish, tmp_path: Path) -> None:
    report = tmp_path / "old.json"
    report.write_text(replace(digits_report(), created="2026-01-01T00:00:00Z").to_json())
    ran = publish("--to", f"folder:{tmp_path / 'out'}", report=report)
    assert ran.code == 3
    assert "days old (of 2026-01-01T00:00:00Z), the limit is 30 days" in ran.err
    assert publish("--to", f"folder:{tmp_path / 'out'}", "--max-age", "100000", report=report).code == 0


def test_an_edit_of_the_cards_prose_asks_for_no_new_proof(publish: Publish, digits_zoo: Path, tmp_path: Path) -> None:
    to = ("--cards", digits_zoo, "--to", f"folder:{tmp_path / 'out'}")
    assert publish(*to).code == 0
    replace_once(digits_zoo / "digits" / "collection.yaml", "Small networks for handwritten digits,", "Nets,")
    ran = publish(*to)
    assert ran.err == f"{NAME}: published README.md, verification.json; read back and verified\n"


def test_an_allowed_gap_is_told_in_the_readme(publish: Publish, tmp_path: Path) -> None:
    report = digits_report()
    for key in ("digits/validation/top1", "digits/validation/top5"):
        report = with_finding(report, "accuracy", key, status=Status.SKIPPED)
    (tmp_path / "gap.json").write_text(report.to_json())
    to = ("--to", f"folder:{tmp_path / 'out'}")
    assert publish(*to, report=tmp_path / "gap.json").code == 3
    reasoned = ("--allow", "accuracy", "--reason", "the images are secret")
    assert publish(*to, *reasoned, report=tmp_path / "gap.json").code == 0
    assert "The publisher's reason: the images are secret" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "net"), "--to net: not a valid destination"),
        (("--to", "s3:net"), "--to s3:net: not a valid destination"),
        (("--to", "folder:x", "--private"), "--private: only for the Hub"),
        (("--to", "folder:x", "--allow", "accuracy"), "--allow and --reason go together"),
        (("--to", "folder:x", "--reason", "why"), "--allow and --reason go together"),
        (("--to", "folder:x", "--collection", "resnest"), "resnest_digits does not belong to the collection resnest"),
        (("--to", "folder:x", "--collection", "resnst"), "did you mean 'resnest'?"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(publish: Publish, arguments: tuple[str, ...], message: str) -> None:
    ran = publish(*arguments)
    assert ran.code == 2
    assert message in ran.err


def test_what_may_be_allowed_and_how_old_is_old_are_the_gates() -> None:
    from zoo.commands.publish import command
    from zoo.publishing import gate

    options: dict[str | None, Any] = {option.name: option for option in command.params}
    assert sorted(options["allow"].type.choices) == sorted(gate.COVERED)
    assert options["max_age"].default == gate.MAX_AGE_DAYS


@pytest.mark.parametrize(
    "arguments", [("--dry-run",), ("--sign",), ("--private",), ("--pr",), ("--max-age", "7"), ("--reason", "why")]
)
def test_a_check_refuses_options_that_only_publishing_reads(
    publish: Publish, run_zoo: RunZoo, keys: Path, arguments: tuple[str, ...]
) -> None:
    given = (*arguments, keys / "ada.pem") if arguments == ("--sign",) else arguments
    ran = run_zoo("publish", NAME, "--to", "hf:lab/net", "--check", *given)
    assert ran.code == 2
    assert ran.err.startswith(f"zoo: cannot combine --check with {arguments[0]}\n")


def test_a_signature_to_verify_goes_with_a_check(publish: Publish, keys: Path) -> None:
    assert publish("--to", "folder:x", "--signature", keys / "ada.pub").code == 2


def test_several_models_need_a_namespace(run_zoo: RunZoo) -> None:
    ran = run_zoo("publish", NAME, "resnest14d", "--to", "hf:lab/net")
    assert ran.code == 2
    assert "hf:lab/net is one repository, but several models were given" in ran.err


# --- the Hub ------------------------------------------------------------------------------------------------------

TO = ("--to", f"hf:lab/{NAME}")


def test_a_published_model_loads_in_timm_transformers_and_zoo_with_equal_outputs(
    hub: HubServer, publish: Publish, run_zoo: RunZoo, digits_zoo: Path, tmp_path: Path
) -> None:
    import timm
    import torch
    from transformers import AutoModelForImageClassification

    import zoo

    ran = publish(*TO, "--tag", "v1")
    assert ran.code == 0, ran.err
    assert ran.out == f"{hub.endpoint}/lab/{NAME}/commit/{hub.repo(f'lab/{NAME}').head}\n"

    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = zoo.create_model(NAME, pretrained=True)(images)
        cache = tmp_path / "timm"
        by_timm = timm.create_model(f"hf-hub:lab/{NAME}@v1", pretrained=True, cache_dir=cache).eval()
        assert torch.equal(by_timm(images), expected)
        cache = tmp_path / "transformers"
        by_transformers = AutoModelForImageClassification.from_pretrained(f"lab/{NAME}", cache_dir=cache).eval()
        assert torch.equal(by_transformers(images).logits, expected)

    weights = digits_zoo / "digits" / WEIGHTS_FILE
    weights.unlink()
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    replace_once(
        card,
        "    format: safetensors\n",
        f"    format: safetensors\n    urls: [hf://lab/{NAME}@v1/model.safetensors]\n",
    )
    fetched = run_zoo("fetch", NAME, "--cards", digits_zoo)
    assert fetched.code == 0, fetched.err
    assert Path(fetched.out.strip()).read_bytes() == WEIGHTS


def test_the_clients_own_check_of_a_download_agrees(hub: HubServer, publish: Publish, tmp_path: Path) -> None:
    assert publish(*TO).code == 0
    environment = hub.environment(tmp_path / "hf")
    hf = [sys.executable, "-m", "huggingface_hub.cli.hf"]
    for line in (["download", f"lab/{NAME}"], ["cache", "verify", f"lab/{NAME}"]):
        ran = subprocess.run([*hf, *line], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 file(s)" in ran.stdout + ran.stderr


def test_publishing_twice_is_0_bytes_and_0_commits(hub: HubServer, publish: Publish) -> None:
    publish(*TO)
    hub.log.clear()
    ran = publish(*TO)
    assert ran.err == f"{NAME}: unchanged; read back and verified\n"
    assert (hub.log.uploaded_lfs_bytes, hub.log.uploaded_commit_bytes, hub.log.commits) == (0, 0, 0)


def test_an_edit_of_the_prose_uploads_no_weights(hub: HubServer, publish: Publish, digits_zoo: Path) -> None:
    publish("--cards", digits_zoo, *TO)
    hub.log.clear()
    replace_once(digits_zoo / "digits" / "collection.yaml", "Small networks for handwritten digits,", "Nets,")
    ran = publish("--cards", digits_zoo, *TO)
    assert ran.err == f"{NAME}: published README.md, verification.json; read back and verified\n"
    assert (hub.log.uploaded_lfs_bytes, hub.log.commits) == (0, 1)


def test_a_readme_that_both_sides_changed_is_shown_and_not_overwritten(
    hub: HubServer, publish: Publish, digits_zoo: Path
) -> None:
    publish("--cards", digits_zoo, *TO)
    readme = hub.read(f"lab/{NAME}", "README.md").replace(b"With timm:", b"With good old timm:")
    hub.commit(f"lab/{NAME}", {"README.md": readme})
    replace_once(digits_zoo / "digits" / "collection.yaml", "Small networks for handwritten digits,", "Nets,")
    ran = publish("--cards", digits_zoo, *TO)
    assert ran.code == 3
    assert "-With timm:\n+With good old timm:\n" in ran.err  # by hand, since zoo wrote it
    assert "\n+Nets, trained for zoo." in ran.err  # by zoo, since then
    assert "\n-With good old timm:" not in ran.err
    assert hub.read(f"lab/{NAME}", "README.md") == readme


def test_without_a_login_the_weights_are_not_even_looked_for(
    hub: HubServer, publish: Publish, digits_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (digits_zoo / "digits" / WEIGHTS_FILE).unlink()
    ran = publish("--cards", digits_zoo, *TO)
    assert ran.code == 3
    assert "not logged in to" in ran.err and WEIGHTS_FILE not in ran.err


def test_what_is_there_can_be_proved_at_any_time(hub: HubServer, publish: Publish, run_zoo: RunZoo) -> None:
    publish(*TO, "--tag", "v1")
    ran = run_zoo("publish", NAME, *TO, "--check")
    assert (ran.code, ran.out) == (0, f"{NAME}           ok        6 ok\n1 model: 6 ok\n")
    hub.commit(f"lab/{NAME}", {"model.safetensors": WEIGHTS[:-1] + b"x"})
    ran = run_zoo("publish", NAME, *TO, "--check")
    assert ran.code == 1
    assert "wrong published model.safetensors: the file changed since it was published" in ran.out
    assert run_zoo("publish", NAME, *TO, "--check", "--tag", "v1").code == 0


@pytest.mark.parametrize("option", ["--branch", "--tag"])
def test_a_check_of_a_missing_branch_or_tag_says_so(
    hub: HubServer, publish: Publish, run_zoo: RunZoo, option: str
) -> None:
    publish(*TO)
    ran = run_zoo("publish", NAME, *TO, "--check", option, "next")
    assert ran.code == 3
    assert f"unknown published release: lab/{NAME} has no branch, tag or commit 'next'\n" in ran.out
    assert hub.repo(f"lab/{NAME}").branches.keys() == {"main"}


def test_a_check_of_what_cannot_be_seen_is_unknown(hub: HubServer, run_zoo: RunZoo) -> None:
    ran = run_zoo("publish", NAME, "--to", "hf:lab/none", "--check")
    assert ran.code == 3
    assert "unknown published release: lab/none does not exist or is private (the Hub does not say which)" in ran.out


def test_a_signed_release_is_checked_and_fetched_by_its_key_only(
    hub: HubServer, publish: Publish, run_zoo: RunZoo, keys: Path, digits_zoo: Path
) -> None:
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    replace_once(
        card, "    format: safetensors\n", f"    format: safetensors\n    urls: [hf://lab/{NAME}/model.safetensors]\n"
    )
    fetch = ("fetch", NAME, "--cards", digits_zoo, "--signature")
    check = ("publish", NAME, *TO, "--check", "--signature")

    publish(*TO)
    ran = run_zoo(*check, keys / "ada.pub")
    assert ran.code == 1 and "the release is not signed" in ran.out
    ran = run_zoo(*fetch, keys / "ada.pub")
    assert (ran.code, ran.out) == (1, "") and f"lab/{NAME} is not signed" in ran.err

    assert publish(*TO, "--sign", keys / "ada.pem").err.startswith(f"{NAME}: published model.sig;")
    assert "unchanged" in publish(*TO, "--sign", keys / "ada.pem").err
    assert run_zoo(*check, keys / "ada.pub").code == 0
    assert run_zoo(*fetch, keys / "ada.pub").code == 0
    for command in (check, fetch):
        ran = run_zoo(*command, keys / "ben.pub")
        assert ran.code == 1
        assert "the signature is not by the key ben.pub" in ran.out + ran.err

    hub.commit(f"lab/{NAME}", {"config.json": b"{}"})
    ran = run_zoo(*fetch, keys / "ada.pub")
    assert ran.code == 1
    assert "by the key ada.pub, but over other files: config.json" in ran.err


def test_a_file_without_an_address_on_the_hub_has_no_signature_to_check(
    hub: HubServer, run_zoo: RunZoo, keys: Path
) -> None:
    ran = run_zoo("fetch", NAME, "--signature", keys / "ada.pub")
    assert ran.code == 3
    assert "has no hf:// URL, so there is no signature to check" in ran.err


def test_a_family_is_published_and_one_failure_stops_none_of_the_others(
    hub: HubServer, run_zoo: RunZoo, digits_zoo: Path
) -> None:
    from huggingface_hub import HfApi

    folder = digits_zoo / "digits"
    for name in ("a_copy", "z_copy"):
        text = (folder / f"{NAME}.yaml").read_text().replace(f"name: {NAME}", f"name: {name}")
        (folder / f"{name}.yaml").write_text(text)
    accept = 'ignore:\n  - {rule: consistency/shared-digest, reason: "a copy"}\n  - {rule: consistency/shared-size, reason: "a copy"}\n'
    for path in folder.glob("*[ys].yaml"):
        if path.name != "collection.yaml":
            path.write_text(path.read_text() + accept)
    ran = run_zoo("verify", "--all", "--cards", digits_zoo)
    assert ran.code == 0, ran.out + ran.err
    hub.on("POST", f"*/lab/{NAME}/commit/*", answer(403), times=None)
    ran = run_zoo("publish", "--all", "--collection", "digits", "--cards", digits_zoo, "--to", "hf:lab")
    assert ran.code == 3
    assert ran.out.splitlines()[-1] == f"3 models: 2 published; 1 not published: {NAME}"
    slug = next(iter(HfApi().list_collections(owner="lab"))).slug
    assert [item.item_id for item in HfApi().get_collection(slug).items] == ["lab/a_copy", "lab/z_copy"]
    hub.heal()
    ran = run_zoo("publish", "--all", "--collection", "digits", "--cards", digits_zoo, "--to", "hf:lab")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "3 models: 2 unchanged; 1 published")
    assert len(HfApi().get_collection(slug).items) == 3


def test_a_broken_card_is_told_and_the_others_are_published(run_zoo: RunZoo, digits_zoo: Path, tmp_path: Path) -> None:
    assert run_zoo("verify", NAME, "--cards", digits_zoo).code == 0
    shutil.copy(digits_zoo / "digits" / f"{NAME}.yaml", digits_zoo / "digits" / "broken.yaml")
    replace_once(digits_zoo / "digits" / "broken.yaml", f"name: {NAME}", "nam: broken")
    ran = run_zoo("publish", "--all", "--cards", digits_zoo, "--to", f"folder:{tmp_path / 'out'}")
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "2 models: 1 published; 1 not published: broken"
    assert json.loads((tmp_path / "out" / NAME / "config.json").read_text())["architecture"] == "resnest14d"


def test_the_workflow_for_a_ci_without_a_stored_token_is_what_the_client_asks_for() -> None:
    import yaml

    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    job = workflow["jobs"]["publish"]
    assert job["permissions"]["id-token"] == "write"
    assert job["env"]["HF_OIDC_RESOURCE"] == "${{ inputs.repository }}"
    assert "HF_TOKEN" not in json.dumps(workflow)
    lines = [step["run"] for step in job["steps"] if "run" in step]
    assert any("zoo publish" in line and "--no-create" in line for line in lines)

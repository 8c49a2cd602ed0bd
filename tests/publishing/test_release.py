"""The release folder: its files, the same bytes each time, weights that are converted, and where it is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.project import ROOT, replace_once
from tests.helpers.releases import (
    NAME,
    WEIGHTS,
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    admit,
    digits_report,
    finding,
    member,
    release,
    shipped,
    with_finding,
)
from tests.servers.hub_server.card_check import check_card
from zoo import api
from zoo.errors import CannotCheck, NotHere, Refused, UsageError, WrongContent
from zoo.publishing import gate
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import Release, ReleaseFile, compose_release, measure_files, released_weights
from zoo.publishing.targets import FolderTarget
from zoo.registry import schema
from zoo.registry.catalog import Catalog, load_catalog
from zoo.verification.report import Report
from zoo.weights import store, tensors


def texts(made: Release) -> dict[str, str]:
    return {item.path: item.read().decode() for item in made.files if item.path != "model.safetensors"}


def front_matter(made: Release) -> dict[str, Any]:
    check = check_card(made.file("README.md").read().decode())
    assert check.errors == check.warnings == ()
    return check.metadata


def test_a_release_has_these_files_and_the_weights_as_they_were_verified() -> None:
    made = release()
    assert [item.path for item in made.files] == ["README.md", "config.json", "model.safetensors", "verification.json"]
    assert made.file("model.safetensors").read() == WEIGHTS
    assert made.file("model.safetensors").sha256 == WEIGHTS_SHA256


def test_the_same_proof_gives_the_same_bytes() -> None:
    assert [(item.path, item.read()) for item in release().files] == [
        (item.path, item.read()) for item in release().files
    ]


def test_the_config_is_the_cards_and_what_the_build_found() -> None:
    assert json.loads(texts(release())["config.json"]) == {
        "architecture": "resnest14d",
        "num_classes": 10,
        "num_features": 128,
        "global_pool": "avg",
        "label_names": list("0123456789"),
        "model_args": {"channels": [8, 16, 24, 32], "stem_width": 8},
        "pretrained_cfg": {
            "pool_size": None,
            "custom_load": False,
            "input_size": [3, 32, 32],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 10,
            "first_conv": "conv1.0",
            "classifier": "fc",
            "license": "apache-2.0",
        },
    }


def test_classes_come_from_the_data_set_where_the_card_names_none(digits_zoo: Path) -> None:
    replace_once(
        digits_zoo / "digits" / f"{NAME}.yaml", 'class_names: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]\n', ""
    )
    report, catalog = _about(digits_zoo)
    assert json.loads(texts(release(report, catalog=catalog))["config.json"])["label_names"] == list("0123456789")


def test_another_librarys_model_is_not_given_out_as_one_of_timms(digits_zoo: Path) -> None:
    replace_once(digits_zoo / "digits" / f"{NAME}.yaml", "library: timm,", "library: torchvision,")
    report, catalog = _about(digits_zoo)
    made = release(report, catalog=catalog)
    config = json.loads(texts(made)["config.json"])
    assert config["builder"]["library"] == "torchvision" and "architecture" not in config
    assert front_matter(made)["tags"] == ["image-classification", "torchvision", "digits"]
    assert "timm.create_model" not in texts(made)["README.md"] and "from_pretrained" not in texts(made)["README.md"]


def test_names_that_the_hub_cannot_take_stay_out_of_the_metadata(digits_zoo: Path) -> None:
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    card.write_text(card.read_text() + "base_model: resnest50d\n")
    replace_once(digits_zoo / "digits" / "collection.yaml", "data: [digits]", "data: [digits, ImageNet and more]")
    report, catalog = _about(digits_zoo)
    made = release(report, catalog=catalog)
    assert front_matter(made)["datasets"] == ["digits"] and "base_model" not in front_matter(made)
    assert "* base model: resnest50d\n" in texts(made)["README.md"]
    replace_once(card, "base_model: resnest50d", "base_model: timm/resnest50d")
    report, catalog = _about(digits_zoo)
    assert front_matter(release(report, catalog=catalog))["base_model"] == "timm/resnest50d"


def test_a_readme_that_is_no_utf8_is_not_written_again() -> None:
    with pytest.raises(Refused, match="the published README is not UTF-8, at byte 2"):
        release(readme=b"# \xff\n")


def test_a_factory_of_the_cards_own_is_no_library_of_the_hub(digits_zoo: Path) -> None:
    replace_once(
        digits_zoo / "digits" / f"{NAME}.yaml", "library: timm, entry: resnest14d", "library: python, entry: 'net:make'"
    )
    report, catalog = _about(digits_zoo)
    report = with_finding(report, "build", "build", claimed="net:make", measured="net:make")
    metadata = front_matter(release(report, catalog=catalog))
    assert "library_name" not in metadata and metadata["tags"] == ["image-classification", "digits"]


def test_the_statement_names_every_other_file_and_carries_the_report() -> None:
    made = release()
    statement = json.loads(texts(made)["verification.json"])
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    named = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    assert named == {item.path: item.sha256 for item in made.files if item.path != "verification.json"}
    assert not schema.violations(statement["predicate"], "report")
    expected = json.loads(digits_report().to_json())
    for item in expected["findings"]:
        item["where"] = item["where"].rpartition("/")[2]
    assert statement["predicate"] == expected


def test_the_hub_takes_the_metadata_and_the_values_are_the_measured_ones() -> None:
    from huggingface_hub import ModelCard

    made = release()
    assert {key: value for key, value in front_matter(made).items() if key != "model-index"} == {
        "license": "apache-2.0",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "transformers", "digits"],
        "datasets": ["digits"],
        "metrics": ["accuracy", "top_5_accuracy"],
    }
    data: Any = ModelCard(texts(made)["README.md"]).data
    results = data.eval_results
    assert results is not None
    assert [(item.dataset_type, item.dataset_split, item.metric_type, item.metric_value) for item in results] == [
        ("digits", "validation", "accuracy", finding(digits_report(), "accuracy", "digits/validation/top1").measured),
        ("digits", "validation", "top_5_accuracy", 100.0),
    ]
    assert "verified:" not in texts(made)["README.md"] and "verifyToken" not in texts(made)["README.md"]


@pytest.mark.parametrize(
    ("license_line", "expected"),
    [
        ("license: Apache-2.0", {"license": "apache-2.0"}),
        ("license: My Own 1.0", {"license": "other", "license_name": "my-own-1.0"}),
        ("", {}),
    ],
)
def test_the_licence_is_the_cards_and_none_is_invented(
    digits_zoo: Path, license_line: str, expected: dict[str, str]
) -> None:
    comment = "license: apache-2.0  # of the weights; the data they were trained on are CC BY 4.0"
    replace_once(digits_zoo / "digits" / f"{NAME}.yaml", comment, license_line)
    report, catalog = _about(digits_zoo)
    metadata = front_matter(release(report, catalog=catalog))
    assert {key: value for key, value in metadata.items() if key.startswith("license")} == expected


def test_the_text_of_a_licence_is_released_with_it(digits_zoo: Path) -> None:
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    card.write_text(card.read_text() + "license_file: TERMS.txt\n")
    report, catalog = _about(digits_zoo)
    with pytest.raises(NotHere, match=r"no such file: TERMS\.txt"):
        release(report, catalog=catalog)
    (card.parent / "TERMS.txt").write_text("Do as you like.\n")
    assert release(report, catalog=catalog).file("LICENSE").read() == b"Do as you like.\n"


def _about(zoo: Path, report: Report | None = None) -> tuple[Report, Catalog]:
    """A report, or the session's, as if it were about the digits card of this zoo."""
    catalog = load_catalog([zoo])
    report = report or digits_report()
    return replace(report, subjects=(replace(report.subjects[0], card_sha256=member(catalog).sha256),)), catalog


def test_a_weights_file_that_was_tampered_with_is_refused_with_both_digests(digits_zoo: Path) -> None:
    path = digits_zoo / "digits" / WEIGHTS_FILE
    path.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    with pytest.raises(WrongContent, match=f"the card says {WEIGHTS_SHA256}") as error_info:
        release(catalog=load_catalog([digits_zoo]))
    assert error_info.value.exit_code == 1


def test_a_file_of_the_store_is_read_again_whatever_its_record_says(
    digits_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    card = digits_zoo / "digits" / f"{NAME}.yaml"
    source = (digits_zoo / "digits" / WEIGHTS_FILE).as_uri()
    replace_once(card, "    format: safetensors\n", f"    format: safetensors\n    urls: [{source}]\n")
    fetched = load_catalog([digits_zoo]).find(NAME)
    blob = store.fetch(fetched, fetched.weights[0]).path
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    assert measure_files(fetched, folders[0])[0].path.read_bytes() == WEIGHTS
    blob.chmod(0o644)
    before = blob.stat()
    blob.write_bytes(WEIGHTS[:-1] + b"x")
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WrongContent, match=f"the card says {WEIGHTS_SHA256}"):
        measure_files(fetched, folders[1])


# --- weights that are no safetensors ------------------------------------------------------------------------------


def test_a_pickle_is_converted_and_its_tensors_are_equal(digits_zoo: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder, card = digits_zoo / "digits", digits_zoo / "digits" / f"{NAME}.yaml"
    state = load_file(folder / WEIGHTS_FILE)
    torch.save({"state_dict": state}, folder / "digits.pth")
    size_bytes, sha256 = store.digest(folder / "digits.pth")
    for old, new in (
        (f"file: {WEIGHTS_FILE}", "file: digits.pth"),
        ("format: safetensors", "format: pickle"),
        ("size_bytes: 279632", f"size_bytes: {size_bytes}"),
        (WEIGHTS_SHA256, sha256),
    ):
        replace_once(card, old, new)
    card.write_text(f"{card.read_text()}ignore: [{{rule: consistency/size-params, reason: pickles are larger}}]\n")
    report, catalog = _about(digits_zoo, api.verify(NAME, cards=digits_zoo, strict=True))
    admission = admit(report, catalog=catalog)
    (digits_zoo / "copies").mkdir()
    proof = gate.prove(admission, measure_files(admission.card, digits_zoo / "copies"))
    weights = released_weights(proof, folder)
    assert weights.source.file == "digits.pth"
    written = load_file(folder / "model.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) and written[name].dtype == state[name].dtype for name in state)
    assert (weights.file.size_bytes, weights.file.sha256) == store.digest(folder / "model.safetensors")
    made = compose_release(proof, weights, address=ReleaseAddress())
    assert "* `model.safetensors`: the same tensors as `digits.pth`, compared bit by bit" in texts(made)["README.md"]


def test_safetensors_under_foreign_names_are_converted_to_the_architectures(digits_zoo: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = digits_zoo / "digits"
    state = load_file(folder / WEIGHTS_FILE)
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, folder / "parallel.safetensors")
    size_bytes, sha256 = store.digest(folder / "parallel.safetensors")
    proof = gate.prove(admit(), measure_files(shipped().find(NAME), digits_zoo))
    path = folder / "parallel.safetensors"
    artifact = replace(proof.artifacts[0], path=path, size_bytes=size_bytes, sha256=sha256, stamp=None)
    released_weights(replace(proof, artifacts=(artifact,)), folder)
    assert load_file(folder / "model.safetensors").keys() == state.keys()


def test_a_conversion_that_came_out_otherwise_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "model.safetensors")
    expected = {"a": torch.zeros(2), "b": torch.tensor([0.0, -0.0])}
    with pytest.raises(WrongContent, match=r"1 tensor of net\.pth changed in the safetensors file, first b"):
        tensors._refuse_difference(expected, tmp_path / "model.safetensors", "net.pth")


def test_views_and_tied_tensors_are_written_as_they_are(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open

    from zoo.weights.store import Artifact

    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {
        "whole": whole,
        "tied": whole,
        "row": whole[1],
        "turned": whole.T,
        "half": torch.tensor([float("nan"), -0.0]).half(),
    }
    torch.save(state, tmp_path / "odd.pth")
    size_bytes, sha256 = store.digest(tmp_path / "odd.pth")
    source = Artifact(tmp_path / "odd.pth", "odd.pth", "pickle", size_bytes, sha256, "here")
    tensors.write_safetensors(source, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as written:
        assert written.metadata() == {"format": "pt"}
        for name, tensor in state.items():
            assert written.get_tensor(name).numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_weights_that_are_safetensors_are_released_without_torch(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(digits_report().to_json())
    code = (
        "import sys, zoo_cli\n"
        f"sys.argv = ['zoo', 'publish', '{NAME}', '--to', 'folder:{tmp_path / 'out'}', '--report', '{report}']\n"
        "try:\n    zoo_cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({'torch', 'timm', 'numpy', 'safetensors', 'requests'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert ran.stdout.splitlines()[-1] == "[]", ran.stdout + ran.stderr


# --- the folder ---------------------------------------------------------------------------------------------------


def test_a_folder_loads_in_timm_and_transformers_with_equal_outputs(tmp_path: Path) -> None:
    import timm
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    import zoo

    out = tmp_path / "out"
    FolderTarget(out).preflight().put(release(), title="")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = zoo.create_model(NAME, pretrained=True)(images)
        by_timm = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        by_transformers = AutoModelForImageClassification.from_pretrained(out).eval()
        assert torch.equal(by_timm(images), expected)
        assert torch.equal(by_transformers(images).logits, expected)
    assert timm.data.resolve_model_data_config(by_timm) == {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    assert AutoImageProcessor.from_pretrained(out).data_config["mean"] == (0.5, 0.5, 0.5)


def test_timm_finds_head_and_stem_to_adapt_them(tmp_path: Path) -> None:
    import timm
    import torch

    FolderTarget(tmp_path / "out").preflight().put(release(), title="")
    adapted = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=3, in_chans=1).eval()
    assert adapted(torch.zeros(1, 1, 32, 32)).shape == (1, 3)


def kinds(folder: Path, made: Release) -> dict[str, str]:
    return {change.file.path: change.kind for change in FolderTarget(folder).preview().changes(made)}


def test_a_folder_is_written_once_and_other_files_in_it_stay(tmp_path: Path) -> None:
    made = release()
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    assert set(kinds(tmp_path, made).values()) == {"new"}
    FolderTarget(tmp_path).preflight().put(made, title="")
    assert set(kinds(tmp_path, made).values()) == {"same"}
    (tmp_path / "config.json").write_text("{}")
    assert kinds(tmp_path, made)["config.json"] == "changed"
    before = (tmp_path / "model.safetensors").stat().st_ino
    FolderTarget(tmp_path).preflight().put(made, title="")
    assert (tmp_path / "model.safetensors").stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(item.path for item in made.files), "photo.jpg"]
    )


def test_a_file_that_changes_while_it_is_copied_replaces_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"other bytes")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"old")
    made = Release("net", (ReleaseFile("model.safetensors", source, 11, "0" * 64),))
    with pytest.raises(CannotCheck, match="changed while it was copied"):
        FolderTarget(tmp_path / "out").preflight().put(made, title="")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"old"


def test_a_file_is_no_folder_to_publish_to(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        FolderTarget(tmp_path / "out").preflight()


def test_a_signature_of_an_older_release_does_not_stay_beside_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "model.sig").write_text("{}")
    FolderTarget(tmp_path).preflight().put(release(), title="")
    assert not (tmp_path / "model.sig").exists()

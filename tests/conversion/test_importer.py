"""zoo import: find documents, give their models names, and write all files or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from tests.conversion.test_dialects import README
from tests.helpers.project import RunZoo
from tests.servers.hub_server import HubServer
from zoo.registry.document import MAX_BYTES


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def model(name: str, **fields: str) -> str:
    lines = "".join(f"\n    {key.replace('_', ' ')}: {value}" for key, value in fields.items())
    return f"  - Name: {name}{lines}\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def test_an_index_imports_files_by_name_and_by_pattern_each_once(run_zoo: RunZoo, source: Path, tmp_path: Path) -> None:
    write(
        source,
        {
            "model-index.yml": "Import:\n  - a/metafile.yml\n  - 'sets/**/*.yml'\n  - a/metafile.yml\n",
            "a/metafile.yml": "Import: ../model-index.yml\nModels:\n" + model("one"),
            "sets/x/two.yml": "Models:\n" + model("two"),
            "sets/config.yml": "a: 1\n",
        },
    )
    ran = run_zoo("import", source / "model-index.yml", "--to", tmp_path / "zoo")
    assert sorted(path.name for path in (tmp_path / "zoo").rglob("*.yaml")) == ["one.yaml", "two.yaml"]
    assert "found no models in a known format" in ran.err  # the pattern includes sets/config.yml
    assert ran.code == 1


def test_all_documents_in_a_folder_are_read_and_other_files_are_skipped(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    write(
        source,
        {
            "deep/er/m.yaml": "Models:\n" + model("one"),
            "config.yml": "a: 1\n",
            ".git/x.yml": "Models:\n" + model("two"),
            "t.csv": "model,top1\nx,1\n",
        },
    )
    ran = run_zoo("import", source, "--to", tmp_path / "zoo")
    assert (ran.code, ran.out) == (0, f"{tmp_path / 'zoo' / 'models' / 'one.yaml'}\n")


def test_a_broken_document_is_left_out_and_reported_with_its_line(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    write(source, {"bad.yml": "Models:\n" + model("one") + "  - Name: [\n", "good.yml": "Models:\n" + model("two")})
    ran = run_zoo("import", source, "--to", tmp_path / "zoo")
    assert ran.code == 1
    assert "source/bad.yml:4:1: invalid YAML" in ran.err
    assert [path.name for path in (tmp_path / "zoo").rglob("*.yaml")] == ["two.yaml"]


def test_an_import_of_a_missing_file_is_a_problem(run_zoo: RunZoo, source: Path, tmp_path: Path) -> None:
    write(source, {"m.yml": "Import: gone.yml\nModels:\n" + model("one")})
    ran = run_zoo("import", source / "m.yml", "--to", tmp_path / "zoo")
    assert "imports gone.yml, which does not exist" in ran.err
    assert ran.code == 1


def test_two_different_models_of_one_name_get_different_names(run_zoo: RunZoo, source: Path, tmp_path: Path) -> None:
    first, second = (
        model("net", Weights=f"https://example.org/net-{digest}.pth") for digest in ("1a2b3c4d", "5e6f7a8b")
    )
    write(source, {"m.yml": f"Models:\n{first}{second}"})
    ran = run_zoo("import", source, "--to", tmp_path / "zoo")
    assert sorted(path.stem for path in (tmp_path / "zoo").rglob("*.yaml")) == ["net-1a2b3c4d", "net-5e6f7a8b"]
    assert "2 different models are named net; their new names are net-1a2b3c4d, net-5e6f7a8b" in ran.err


def test_one_model_in_two_documents_is_one_card_with_both_documents(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    page = f"# Net\n<!--\nType: model-index\nModels:\n{model('net')}-->\n"
    write(source, {"a.md": page, "b.mdx": page})
    run_zoo("import", source, "--to", tmp_path / "zoo")
    (path,) = (tmp_path / "zoo").rglob("*.yaml")
    imported = yaml.safe_load(path.read_text())["extra"]["imported"]
    assert [place["document"] for place in imported] == ["source/a.md", "source/b.mdx"]


def test_file_names_are_lower_case_and_unique_on_case_insensitive_file_systems(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    write(
        source,
        {
            "m.yml": "Models:\n"
            + "".join(map(model, ["RepVGG-A0", "repvgg-a0", "con", "collection", "Ünï cöde/5", "模型"]))
        },
    )
    assert run_zoo("import", source, "--to", tmp_path / "zoo").code == 0
    names = sorted(path.name for path in (tmp_path / "zoo").rglob("*.yaml"))
    assert names == sorted(name.lower() for name in set(names))
    assert len(names) == 6
    assert {"con.yaml", "collection.yaml"}.isdisjoint(names)
    assert run_zoo("validate", "--all", "--cards", tmp_path / "zoo").code == 0


def test_different_collections_of_one_name_get_different_names_and_keep_their_models(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    def text(number: int) -> str:
        return f"Collections:\n  - {{Name: Net, Paper: {{Title: Paper {number}}}}}\nModels:\n" + model(
            f"m{number}", In_Collection="Net"
        )

    write(source, {"a/metafile.yml": text(1), "b/metafile.yml": text(2)})
    run_zoo("import", source, "--to", tmp_path / "zoo")
    cards = {path.stem: yaml.safe_load(path.read_text()) for path in (tmp_path / "zoo").rglob("m?.yaml")}
    assert {name: card["collection"] for name, card in cards.items()} == {"m1": "Net-a", "m2": "Net-b"}
    assert run_zoo("validate", "--all", "--cards", tmp_path / "zoo").code == 0


def test_a_dry_run_writes_nothing_and_a_second_run_changes_nothing(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    write(source, {"m.yml": "Models:\n" + model("net")})
    zoo = tmp_path / "zoo"
    assert "1 model in 1 document: 1 file would be written" in run_zoo("import", source, "--to", zoo, "--dry-run").err
    assert not zoo.exists()
    run_zoo("import", source, "--to", zoo)
    assert "1 model in 1 document: 0 files written, 1 unchanged" in run_zoo("import", source, "--to", zoo).err


def test_an_existing_file_with_other_content_stops_the_import_before_it_writes(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    write(source, {"m.yml": "Models:\n" + model("net") + model("other")})
    write(tmp_path, {"zoo/models/other.yaml": "name: mine\n"})
    ran = run_zoo("import", source, "--to", tmp_path / "zoo")
    assert ran.code == 2
    assert "models/other.yaml: the file exists with other content than the import would write" in ran.err
    assert [path.name for path in (tmp_path / "zoo").rglob("*.yaml")] == ["other.yaml"]


def test_a_missing_source_and_one_without_documents_are_usage_errors(run_zoo: RunZoo, tmp_path: Path) -> None:
    gone = run_zoo("import", tmp_path / "gone", "--to", tmp_path / "zoo")
    assert (gone.code, gone.err.splitlines()) == (2, [
        f"zoo: no such file or folder: {tmp_path / 'gone'}",
        "  hint: give a path, or one of hf:PATTERN, timm:PATTERN, torchvision:PATTERN",
    ])  # fmt: skip
    write(tmp_path, {"plain/a.txt": "prose\n"})
    plain = run_zoo("import", tmp_path / "plain", "--to", tmp_path / "zoo")
    assert plain.code == 2 and "plain: found no document in a known format" in plain.err
    names = run_zoo("import", "csv:net", "--to", tmp_path / "zoo")
    assert names.code == 2 and "csv:net: the format csv reads files, not names" in names.err


def test_a_file_that_cannot_be_read_is_a_problem(run_zoo: RunZoo, source: Path, tmp_path: Path) -> None:
    write(source, {"good.yml": "Models:\n" + model("one"), "a.pdf": "x"})
    (source / "latin.yml").write_bytes("Models: [{Name: \xe9}]".encode("latin-1"))
    (source / "large.yml").write_bytes(b"#" * (MAX_BYTES + 1))
    ran = run_zoo("import", source, source / "a.pdf", "--to", tmp_path / "zoo")
    assert ran.err.splitlines() == [
        f"source/large.yml:1:1: the file is larger than {MAX_BYTES} bytes, the limit for a document",
        "source/latin.yml:1:1: the file is not valid UTF-8",
        "source/a.pdf:1:1: zoo does not import files with the suffix .pdf",
        "  hint: `zoo import --help` lists the formats",
        "1 model in 1 document: 1 file written, 3 problems",
    ]


def test_timms_configurations_get_the_accuracies_of_a_results_file(run_zoo: RunZoo, tmp_path: Path) -> None:
    table = "model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation\nresnest14d.gluon_in1k,224,75.516,24.484,92.512,7.488,10.61,0.875,bilinear\n"
    write(tmp_path, {"results-imagenet.csv": table})
    ran = run_zoo(
        "import", "timm:resnest14d*", "--to", tmp_path / "zoo", "--results", tmp_path / "results-imagenet.csv"
    )
    card = yaml.safe_load((tmp_path / "zoo" / "resnest" / "resnest14d.gluon_in1k.yaml").read_text())
    assert ran.code == 0
    assert card["builder"] == {"library": "timm", "entry": "resnest14d.gluon_in1k"}
    assert card["weights"][0]["urls"] == ["hf://timm/resnest14d.gluon_in1k/model.safetensors"]
    assert card["license"] == "apache-2.0"
    assert card["claims"]["params"]["value"] == 10_610_000
    assert [claim["value"] for claim in card["claims"]["results"]] == [75.516, 92.512]


def test_deprecated_timm_names_are_replaced_but_not_by_wrong_aliases(
    run_zoo: RunZoo, source: Path, tmp_path: Path
) -> None:
    code = "https://github.com/rwightman/pytorch-image-models/blob/x/timm/models/resnet.py"
    ids = ("efficientnet_b2a", "ig_resnext101_32x16d", "ig_resnext101_32x48d", "resnet18")
    models = "".join(f"  - {{Name: {name}, Code: '{code}', Metadata: {{ID: {name}}}}}\n" for name in ids)
    write(source, {"m.yml": f"Models:\n{models}"})
    ran = run_zoo("import", source, "--to", tmp_path / "zoo")
    cards = {path.stem: yaml.safe_load(path.read_text()) for path in (tmp_path / "zoo").rglob("*.yaml")}
    entries = {name: card.get("builder", {}).get("entry") for name, card in cards.items()}
    assert entries == {
        "efficientnet_b2a": "efficientnet_b2",
        "ig_resnext101_32x16d": "resnext101_32x16d.fb_wsl_ig1b_ft_in1k",
        "ig_resnext101_32x48d": None,
        "resnet18": "resnet18",
    }
    assert ran.err.count("note:") == 3


def test_torchvisions_enums(run_zoo: RunZoo, tmp_path: Path) -> None:
    ran = run_zoo("import", "torchvision:vit_b_16", "--to", tmp_path / "zoo")
    path = tmp_path / "zoo" / "vision_transformer" / "vit_b_16.imagenet1k_swag_e2e_v1.yaml"
    card = yaml.safe_load(path.read_text())
    assert ran.code == 0
    assert card["claims"]["params"]["value"] == 86_859_496
    assert card["claims"]["flops"] == [
        {"value": 55_484_000_000, "convention": "macs", "rounded_to": 1_000_000, "origin": "upstream"}
    ]
    assert card["weights"][0]["sha256"] == "9ac1b537"
    assert card["input"]["size"] == [3, 384, 384]
    assert run_zoo("validate", "--all", "--cards", tmp_path / "zoo").code == 0


def test_a_pattern_without_a_match_suggests_the_nearest_name(run_zoo: RunZoo, tmp_path: Path) -> None:
    ran = run_zoo("import", "torchvision:resnet5O", "--to", tmp_path / "zoo")
    assert ran.code == 2
    assert "did you mean 'resnet50'" in ran.err


def test_a_hub_repository_gives_its_card_and_its_files_at_the_current_commit(
    run_zoo: RunZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = bytes(range(256)) * 1000
    with HubServer() as hub:
        hub.configure_client(monkeypatch, tmp_path / "hf")
        hub.add_org("lab", {"ada": "write"})
        hub.add_repo("lab/net")
        hub.commit(
            "lab/net",
            {
                "README.md": README.replace("2023-01-01", "then").encode(),
                "model.safetensors": weights,
                "notes.txt": b"no weights",
            },
        )
        head = hub.repo("lab/net").head
        ran = run_zoo("import", "hf:lab/net", "--to", tmp_path / "zoo")
        gone = run_zoo("import", "hf:lab/nothing", "--to", tmp_path / "zoo")
    (path,) = (tmp_path / "zoo").rglob("*.yaml")
    card = yaml.safe_load(path.read_text())
    assert ran.code == 0
    assert card["weights"] == [
        {
            "file": "model.safetensors",
            "format": "safetensors",
            "size_bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
            "urls": [f"hf://lab/net@{head}/model.safetensors"],
        }
    ]
    assert card["builder"] == {"library": "timm", "entry": "net"}
    assert card["claims"]["results"][0]["source"] == "hf:lab/net/README.md:12"
    assert run_zoo("validate", "--all", "--cards", tmp_path / "zoo").code == 0
    assert gone.code == 3
    assert "lab/nothing does not exist or is private" in gone.err

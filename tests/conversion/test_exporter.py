"""zoo export: imported cards give back the data of their source, edited cards their edits, new cards a new document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from tests.helpers.project import RunZoo
from tests.helpers.strategies import cards
from zoo.conversion import exporter, importer
from zoo.conversion.dialects import WrittenDocument
from zoo.conversion.mapping import equal
from zoo.registry.catalog import load_catalog
from zoo.registry.edit import card_text

ODD = """\
Collections:
  - Name: Fam One
    Metadata: {Architecture: [Conv, Conv], Training Data: ImageNet, Epochs: 1e2}
    Paper: https://example.org/paper
    README: configs/README.md
Models:
  - Name: Model/With (odd) name
    In Collection: Fam One
    Metadata:
      FLOPs: 54.75G
      Parameters: '25.6M'
      Training Memory (GB): _
      LR: 1e-4
      Released: 2021-05-28
      Mixed: yes
      inference time (ms/im): [{value: 50.76, hardware: V100, resolution: (512,1024)}]
    Results: {Task: A, Dataset: null, Metrics: {AP: '58.17/87.00/69.30', mIoU: 77.10}}
    Weights: null
    Unheard of: {7: [null, {}, [], '']}
  - &first
    Name: second
    In Collection: Nobody's
    Weights: [https://example.org/a.pth, 3]
    Results: null
  - {<<: *first, Name: second, Code: {URL: https://example.org/c, Version: v1.0}}
openxlab: true
"""


def same(first: str, second: str) -> bool:
    """Return whether PyYAML's safe_load reads equal data of equal types in two texts."""
    return equal(yaml.safe_load(first), yaml.safe_load(second))


def imported(folder: Path, text: str, name: str = "metafile.yml") -> Path:
    """Import one document and return the folder of the zoo."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    (source / name).write_text(text, encoding="utf-8")
    importer.write_files(importer.plan([str(source / name)], folder / "zoo"))
    return folder / "zoo"


@pytest.mark.parametrize(
    "text",
    [
        ODD,
        "Models:\n  Weights: https://example.org/a.pth\n",
        "- Name: a\n  In Collection: B\n- Name: b\n",
        "models: [{name: a, metadata: {params: 5M}}]\ncollections: []\nImport: []\n",
        "Models: [{Name: a}, {Name: a}, {Name: A}]\nType: model-index\nLibrary: {Name: x}\n",
        'Models: [{"Name": 5, "Metadata": {"FLOPs": 0x10, "Parameters": 0123, "Top": 12:30}}]\n',
        "Models: [{Name: a, Metadata: {File Size: 5000}}, {Name: b, Weights: null, Metadata: {File Size: 6000}}]\n",
        "Models: [{Name: a, Weights: TBD, Metadata: {File Size: 97.8 MB, Crop Pct: 87.5, Image Size: any}}]\n",
        "Models: [{Name: ''}, {Name: null}, {Name: [a]}, {Name: ' a '}]\n",
        "Collections: [{Name: alone, Code: {URL: null}}]\n",
    ],
)
def test_what_was_imported_comes_back_equal(tmp_path: Path, text: str) -> None:
    zoo = load_catalog([imported(tmp_path, text)])
    assert zoo.broken == ()
    (written,) = exporter.export([], zoo, "model-index")
    assert written.document == "source/metafile.yml"
    assert same(written.text, text)


def test_each_of_several_documents_comes_back_in_its_own_file(tmp_path: Path, run_zoo: RunZoo) -> None:
    imported(tmp_path, ODD, "a.yml")
    texts = {"a": ODD, "b": "Models: [{Name: other}]\n"}
    imported(tmp_path, texts["b"], "b.yml")
    ran = run_zoo("export", "--all", "--format", "model-index", "--to", tmp_path / "out", "--cards", tmp_path / "zoo")
    assert ran.code == 0
    for name, text in texts.items():
        assert same((tmp_path / "out" / "source" / f"{name}.yml").read_text(), text)


def test_an_edited_card_is_exported_with_its_edits(tmp_path: Path) -> None:
    folder = imported(tmp_path, ODD)
    path = next(folder.rglob("model-with*.yaml"))
    path.write_text(
        path.read_text().replace("value: 25600000", "value: 26600000").replace("value: 77.1", "value: 78.2")
    )
    (written,) = exporter.export([], load_catalog([folder]), "model-index")
    entry = yaml.safe_load(written.text)["Models"][0]
    assert entry["Metadata"]["Parameters"] == 26_600_000
    assert entry["Metadata"]["FLOPs"] == "54.75G"
    assert entry["Results"] == [{"Task": "A", "Dataset": "unknown", "Metrics": {"mIoU": 78.2}}]


def test_fields_added_to_an_imported_card_are_exported_beside_its_source(tmp_path: Path) -> None:
    folder = imported(tmp_path, "Models: [{Name: a}]\n")
    path = next(folder.rglob("a.yaml"))
    path.write_text(path.read_text() + "builder: {library: timm, entry: resnet18}\n")
    (written,) = exporter.export(["a"], load_catalog([folder]), "model-index")
    (entry,) = yaml.safe_load(written.text)["Models"]
    assert entry == {"Name": "a", "Card": {"builder": {"library": "timm", "entry": "resnet18"}}}


def test_a_collection_selects_its_models(tmp_path: Path) -> None:
    zoo = load_catalog(
        [imported(tmp_path, "Collections: [{Name: F}]\nModels: [{Name: a, In Collection: F}, {Name: b}]\n")]
    )
    assert [card.name for card in exporter.select_cards(["F"], zoo)] == ["a"]


def test_the_hub_format_has_licence_and_results(run_zoo: RunZoo) -> None:
    text = run_zoo("export", "resnest14d", "--format", "hf").out
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["library_name"]) == ("apache-2.0", "timm")
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert metrics == [
        {"type": "accuracy", "name": "Top-1 Accuracy", "value": 75.51},
        {"type": "top_5_accuracy", "name": "Top-5 Accuracy", "value": 92.52},
    ]


def test_the_hub_format_keeps_results_through_export_and_import(run_zoo: RunZoo, tmp_path: Path) -> None:
    run_zoo("export", "resnest14d", "--format", "hf", "--to", tmp_path / "out")
    importer.write_files(importer.plan([str(tmp_path / "out")], tmp_path / "back"))
    (card,) = load_catalog([tmp_path / "back"]).cards
    assert [(claim.dataset, claim.split, claim.metric, claim.value) for claim in card.results] == [
        ("imagenet-1k", "validation", "top1", 75.51),
        ("imagenet-1k", "validation", "top5", 92.52),
    ]


HUB_CARD = """\
---
license: mit
model-index:
- name: net
  results:
  - task: {type: image-classification}
    dataset: {name: ImageNet-1k, type: imagenet-1k, split: validation}
    metrics:
    - {type: accuracy, name: Top-1 Accuracy, value: 81.30}
    - {type: accuracy, name: Top-5 Accuracy, value: 95.0}
---
"""


def test_a_hub_card_with_one_type_for_two_metrics_comes_back_equal(tmp_path: Path) -> None:
    zoo = load_catalog([imported(tmp_path, HUB_CARD, "README.md")])
    assert [claim.metric for claim in zoo.cards[0].results] == ["top1", "top5"]
    (written,) = exporter.export([], zoo, "hf")
    assert same(written.text.split("---")[1], HUB_CARD.split("---")[1])


def test_a_table_has_a_row_a_card(run_zoo: RunZoo) -> None:
    lines = run_zoo("export", "resnest14d", "resnest26d", "--format", "csv").out.splitlines()
    assert lines[0].startswith("name,collection,")
    assert [line.partition(",")[0] for line in lines[1:]] == ["resnest14d", "resnest26d"]


def test_a_format_without_documents_cannot_be_written(run_zoo: RunZoo) -> None:
    ran = run_zoo("export", "resnest14d", "--format", "timm")
    assert ran.code == 2
    assert ran.err == "zoo: zoo does not write the format timm\n  hint: use one of csv, hf, model-index\n"


def test_a_document_is_saved_below_the_folder_under_its_name(tmp_path: Path) -> None:
    names = ("a/metafile.yml", "../page.md#2", "/t.csv", "net/README.md")
    paths = exporter.save([WrittenDocument(name, name) for name in names], tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "a/metafile.yml", "page.md-2.yml", "t.csv", "net/README.md",
    ]  # fmt: skip


def test_missing_and_unknown_names_are_usage_errors(run_zoo: RunZoo) -> None:
    assert run_zoo("export", "--format", "csv").code == 2
    assert "did you mean 'resnest14d'" in run_zoo("export", "resnest14", "--format", "csv").err


def unsourced(data: Any) -> Any:
    """Return a card without its sources: `source`, and the documents that it was imported from."""
    if isinstance(data, dict):
        remaining = {key: unsourced(value) for key, value in data.items() if key not in ("source", "imported")}
        return {key: value for key, value in remaining.items() if value != {} or data[key] == {}}
    return [unsourced(item) for item in data] if isinstance(data, list) else data


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=cards())
def test_any_card_survives_export_and_import(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trip")
    data.pop("schema", None)
    if data.get("extra") == {}:
        del data["extra"]  # an empty value means the same as none
    if "extra" in data:
        data["extra"] = {key: value for key, value in data["extra"].items() if key not in ("imported", "model_index")}
    (folder / "in").mkdir()
    (folder / "in" / "card.yaml").write_text(card_text({"schema": 1, **data}), encoding="utf-8")
    zoo = load_catalog([folder / "in"])
    assert zoo.broken == ()
    exporter.save(exporter.export([], zoo, "model-index"), folder / "out")
    importer.write_files(importer.plan([str(folder / "out")], folder / "back"))
    (path,) = (folder / "back").rglob("*.yaml")
    back = (
        dict(load_catalog([folder / "back"]).cards[0].where.document.data)
        if load_catalog([folder / "back"]).cards
        else path.read_text()
    )
    assert unsourced(back) == unsourced({"schema": 1, **data})

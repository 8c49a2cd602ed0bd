"""Foreign formats: what zoo reads, what it keeps, and which pages it rejects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zoo.conversion.dialects import Draft, ReadResult, SourceFile, csv, hf, model_index
from zoo.registry.metrics import METRICS, metric_name
from zoo.registry.quantities import count, digest_in_name, heading_multiple, image_size, measure, whole_bytes
from zoo.runtime.spelling import is_typo


def read(text: str, name: str = "metafile.yml") -> ReadResult:
    return model_index.read(SourceFile(Path(name), name, text))


def only(text: str, name: str = "metafile.yml") -> Draft:
    result = read(text, name)
    assert result.problems == ()
    (draft,) = [draft for draft in result.drafts if draft.kind == "card"]
    return draft


MODEL = """\
Models:
  - Name: net
    Metadata: {FLOPs: 54.75G, Parameters: 25.6M, File Size: 102530333, Image Size: 3x224x224, Crop Pct: '0.875'}
    Weights: https://example.org/net_8xb32_in1k_20210831-ea4938fc.pth
    Results:
      - {Task: Image Classification, Dataset: ImageNet-1k, Metrics: {Top 1 Accuracy: 72.50, Top 5 Accuracy: '91.30%'}}
"""


def test_counts_sizes_and_accuracies_are_read_with_unit_rounding_and_source() -> None:
    data = only(MODEL).data
    origin = {"origin": "upstream", "source": "metafile.yml:3"}
    assert data["claims"]["params"] == {"value": 25_600_000, "rounded_to": 100_000, **origin}
    assert data["claims"]["flops"] == [{"value": 54_750_000_000, "rounded_to": 10_000_000, **origin}]
    first, five = data["claims"]["results"]
    assert (first["value"], first["rounded_to"], first.get("unit"), first["source"]) == (
        72.5,
        0.01,
        None,
        "metafile.yml:6",
    )
    assert (five["metric"], five["value"], five["unit"]) == ("top5", 91.3, "percent")
    assert data["input"] == {"size": [3, 224, 224], "crop_pct": 0.875}
    assert data["weights"][0]["sha256"] == "ea4938fc"
    assert data["weights"][0]["size_bytes"] == 102_530_333
    assert data["task"] == "image-classification"


@pytest.mark.parametrize(
    ("weights", "urls"),
    [
        ("https://example.org/a.pth", [["https://example.org/a.pth"]]),
        ("[https://example.org/a.pth, https://mirror.example.org/x/a.pth]", [["https://example.org/a.pth", "https://mirror.example.org/x/a.pth"]]),
        ("[https://example.org/a.pth, https://example.org/b.pth]", [["https://example.org/a.pth"], ["https://example.org/b.pth"]]),
        ("", None),
        ("null", None),
        ("TBD", None),
        ("7", None),
        ("see the README of the project", None),
        ("[https://example.org/a.pth, 3]", None),
        ("checkpoints/a.pth", [["checkpoints/a.pth"]]),
    ],
)  # fmt: skip
def test_weights_are_read_from_text_and_lists_and_other_values_are_kept(
    weights: str, urls: list[list[str]] | None
) -> None:
    draft = only(f"Models:\n  - Name: net\n    Weights: {weights}\n")
    actual = [item["urls"] for item in draft.data["weights"]] if "weights" in draft.data else None
    assert actual == urls
    if urls is None:
        assert "Weights" in draft.data["extra"]["model_index"]


def test_a_file_size_without_weights_is_kept_without_adding_weights() -> None:
    data = only("Models:\n  - Name: net\n    Weights: null\n    Metadata: {File Size: 5000}\n").data
    assert data == {"extra": {"model_index": {"Weights": None, "Metadata": {"File Size": 5000}}}}


@pytest.mark.parametrize(
    "results",
    [
        "{Task: T, Dataset: D, Metrics: {Top 1 Accuracy: 70.1}}",
        "[{Task: T, Dataset: D, Metrics: {Top 1 Accuracy: 70.1}}]",
        "[{task: T, dataset: D, metrics: [{Top 1 Accuracy: 70.1}]}]",
        "[{Dataset: {Name: D}, Metrics: [{Name: Top-1 Accuracy, Value: 70.1}]}]",
        "{D: {Acc@1: 70.1}}",
    ],
)
def test_results_as_list_and_mapping(results: str) -> None:
    (claim,) = only(f"Models:\n  - Name: net\n    Results: {results}\n").data["claims"]["results"]
    assert (claim["dataset"], claim["metric"], claim["value"]) == ("D", "top1", 70.1)


def test_nested_metrics_several_tasks_and_results_without_a_dataset() -> None:
    text = """\
Models:
  Name: net
  Results:
    - {Task: A, Dataset: COCO, Metrics: {AP: {box: 40.1, mask: 35.2}, note: soon, none: null}}
    - {Task: B, Metrics: {mIoU: '77.1'}}
"""
    claims = [(c["dataset"], c["metric"], c["value"]) for c in only(text).data["claims"]["results"]]
    assert claims == [("COCO", "AP/box", 40.1), ("COCO", "AP/mask", 35.2), ("unknown", "mIoU", 77.1)]


def test_keys_are_found_in_any_case_and_spelling() -> None:
    data = only("models:\n  - name: net\n    in collections: Fam\n    metadata: {Params(M): 3.1, GFLOPs: 0.3}\n").data
    assert data["collection"] == "Fam"
    assert data["claims"]["params"]["value"] == 3_100_000
    assert data["claims"]["flops"][0]["value"] == 300_000_000


def test_the_last_of_two_equal_keys_is_used_with_a_note() -> None:
    result = read("Models:\n  - Name: net\n    Weights: https://a/x.pth\n    Weights: https://b/x.pth\n")
    assert result.drafts[0].data["weights"][0]["urls"] == ["https://b/x.pth"]
    assert result.notes == ("metafile.yml:4:5: duplicate key 'Weights'; the last one is used",)


def test_a_comment_that_contradicts_its_value_is_noted() -> None:
    text = "Models:\n  - Name: net\n    Metadata:\n      FLOPs: 810000000     # 0.81G\n      Parameters: 3210000   # 32.1M\n"
    assert read(text).notes == ("metafile.yml:5:7: Parameters is 3,210,000, but the comment in the same line is 32.1M",)


PAGE = """\
# Net

A **net** is a net.

## How

```markdown
<!-- Type: model-index -->
```

## Citation

```BibTeX
@misc{net}
```

<!--
Type: model-index
Collections:
- Name: Net
  Paper: {Title: 'On: Nets', URL: https://example.org/p}
Models:
- Name: net
  In Collection: Net
-->
"""


@pytest.mark.parametrize("comment", [("<!--", "-->"), ("{/*", "*/}")])
def test_a_page_keeps_line_numbers_and_gives_its_prose_to_the_collection(comment: tuple[str, str]) -> None:
    text = PAGE.replace("<!--\nType", f"{comment[0]}\nType").replace("Net\n-->", f"Net\n{comment[1]}")
    family, model = read(text, "net.mdx").drafts
    assert (family.line, model.line) == (20, 23)
    assert family.data["description"] == "A **net** is a net."
    assert family.data["citation"] == "@misc{net}"
    assert family.data["extra"]["page"] == {"How": "```markdown\n<!-- Type: model-index -->\n```"}


def test_an_incomplete_page_is_rejected_at_its_last_line() -> None:
    result = read(PAGE.replace("-->\n", "").replace("<!-- Type: model-index ", ""), "net.md")
    assert result.drafts == ()
    assert [(problem.place.line, problem.what) for problem in result.problems] == [
        (23, "the page is incomplete: the comment with the model-index has no end")
    ]


FLAT = PAGE.replace("'On: Nets', URL: https://example.org/p}", "").replace("{Title: ", "") + "Footer\n"
LINES = """\
<!--
Type: model-index
Collections:
- Name: Net
Paper:
Title: Rethinking the Net and the Impact on
Learning
URL: https://example.org/p
Models:
- Name: net
In Collection: Net
Metadata:
FLOPs: 1000000000
Architecture:
- 1x1 Convolution
- ReLU
Crop Pct: '0.875'
Code: https://example.org/c
Weights: https://example.org/net.pth
Results:
- Task: Image Classification
Dataset: ImageNet
Metrics:
Top 1 Accuracy: 81.11%
Top 5 Accuracy: 95.55%
- Name: net2
In Collection: Net
-->
409 lines
"""


def flattened(lines: str) -> str:
    """Return the page as a browser saved it: a heading, and `|` lines after each line."""
    return "11 KiB\n# Net\n" + "".join(f"{line}\n|\n|\n" for line in lines.splitlines())


def test_a_page_that_lost_its_indentation_is_recovered_with_its_line_numbers() -> None:
    result = read(flattened(LINES), "page.txt")
    assert result.problems == ()
    family, net, net2 = result.drafts
    assert family.data["paper"] == {
        "title": "Rethinking the Net and the Impact on Learning",
        "url": "https://example.org/p",
    }
    assert net.data["claims"]["flops"] == [
        {"value": 10**9, "rounded_to": 10**9, "origin": "upstream", "source": "page.txt:39"}
    ]
    assert net.data["extra"]["model_index"]["Metadata"]["Architecture"] == ["1x1 Convolution", "ReLU"]
    assert [claim["value"] for claim in net.data["claims"]["results"]] == [81.11, 95.55]
    assert (net2.title, net2.line) == ("net2", 78)


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("Dataset: ImageNet\n", "Dataset: ImageNet\nDataset: ImageNet\n", 69, "duplicate key 'dataset'"),
        ("Code: https", "Color: https", 0, ""),  # an unknown key of Metadata: kept
        ("Paper:\n", "Paper:\nsome words\n", 18, "is not a `key: value` or an item"),
        ("- Name: Net\n", "", 12, "comes before the first"),
        ("- 1x1 Convolution", "- 1x1: Convolution", 45, "can be an item or a key"),
        ("Title: Rethinking", "Journal: Rethinking", 18, "does not belong here"),
        ("Title: Rethinking the", "Title: 'Rethinking the", 0, "invalid YAML"),
    ],
)
def test_a_flattened_page_is_rejected_at_the_first_line_that_fits_nowhere(
    old: str, new: str, line: int, what: str
) -> None:
    assert old in LINES
    result = read(flattened(LINES.replace(old, new)), "page.txt")
    if not what:
        assert result.problems == ()
        return
    (problem,) = result.problems
    assert result.drafts == ()
    assert what in problem.what
    if line:
        assert problem.place.line == line


README = """\
---
license: apache-2.0
library_name: timm
pipeline_tag: image-classification
created: 2023-01-01
model-index:
- name: net
  results:
  - task: {type: image-classification}
    dataset: {name: ImageNet-1k, type: imagenet-1k, split: validation}
    metrics:
    - {type: accuracy, value: 81.30, name: Top-1 Accuracy, verified: true}
---
# Net
"""


def test_a_hub_card_gives_licence_task_and_results_and_comes_back_equal(tmp_path: Path) -> None:
    file = SourceFile(tmp_path / "net" / "README.md", "net/README.md", README)
    assert hf.recognises(file)
    (draft,) = hf.read(file).drafts
    assert draft.data["license"] == "apache-2.0"
    assert draft.data["task"] == "image-classification"
    (claim,) = draft.data["claims"]["results"]
    assert (claim["metric"], claim["split"], claim["value"], claim["rounded_to"]) == ("top1", "validation", 81.3, 0.01)
    assert draft.data["extra"]["readme"] == "# Net\n"


def test_a_page_with_other_front_matter_is_not_a_model_card() -> None:
    text = "---\ntitle: A post\ntags: [x]\n---\nprose\n"
    assert not hf.recognises(SourceFile(Path("post.md"), "post.md", text))


def test_a_metric_of_a_hub_card_is_known_by_its_name_or_its_type() -> None:
    for name, metric in METRICS.items():
        assert metric_name(metric.hub_name) == metric_name(metric.model_index) == name
    assert len({metric.hub_type for metric in METRICS.values()}) == len(METRICS)
    text = README.replace("type: accuracy, value: 81.30, name: Top-1 Accuracy", "type: top_5_accuracy, value: 81.30")
    (draft,) = hf.read(SourceFile(Path("README.md"), "README.md", text)).drafts
    assert draft.data["claims"]["results"][0]["metric"] == "top5"


def test_a_text_that_is_not_a_csv_table_is_a_problem() -> None:
    result = csv.read(SourceFile(Path("t.csv"), "t.csv", 'model,top1\nnet,"1\n'))
    assert [(str(item.place), item.what) for item in result.problems] == [
        ("t.csv:1:1", "not a valid CSV table: unexpected end of data")
    ]


def test_the_row_of_a_table_gives_weights_and_only_input_that_a_card_accepts() -> None:
    text = (
        "name,params,macs,top1,dataset,url,size_bytes,image_size,crop_pct,interpolation\n"
        "net,25.6M,4.1G,80.1,real,https://example.org/net-1a2b3c4d.pth?download=1,100,3x224x320,9,cubic\n"
    )
    (draft,) = csv.read(SourceFile(Path("t.csv"), "t.csv", text)).drafts
    source = {"origin": "upstream", "source": "t.csv:2"}
    assert draft.data["weights"] == [
        {
            "file": "net-1a2b3c4d.pth",
            "size_bytes": 100,
            "urls": ["https://example.org/net-1a2b3c4d.pth?download=1"],
            "sha256": "1a2b3c4d",
            "source": "t.csv:2",
        }
    ]
    assert draft.data["input"] == {"size": [3, 224, 320]}
    assert draft.data["claims"] == {
        "params": {"value": 25_600_000, "rounded_to": 100_000, **source},
        "flops": [{"value": 4_100_000_000, "convention": "macs", "rounded_to": 100_000_000, **source}],
        "results": [
            {"dataset": "real", "metric": "top1", "value": 80.1, "unit": "percent", "rounded_to": 0.1, **source}
        ],
    }


def test_a_results_table_gives_claims_with_their_lines() -> None:
    text = "model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation\nnet,448,90.056,9.944,99.054,0.946,305.08,1.000,bicubic\n"
    file = SourceFile(Path("results-imagenet.csv"), "results-imagenet.csv", text)
    assert csv.recognises(file)
    (draft,) = csv.read(file).drafts
    origin = {"origin": "upstream", "source": "results-imagenet.csv:2"}
    assert draft.data["claims"]["params"] == {"value": 305_080_000, "rounded_to": 10_000, **origin}
    assert draft.data["input"] == {"size": [3, 448, 448], "interpolation": "bicubic", "crop_pct": 1.0}


@pytest.mark.parametrize(
    ("text", "value", "step"),
    [
        ("54.75G", 54_750_000_000, 10_000_000),
        ("25.6 M", 25_600_000, 100_000),
        ("33 GFLOPs", 33_000_000_000, 10**9),
        ("1,234,567", 1_234_567, 1),
        (25_560_000, 25_560_000, 10_000),
        ("1.3B", 1_300_000_000, 10**8),
        ("1e9", 10**9, 10**9),
    ],
)
def test_counts(text: Any, value: float, step: float) -> None:
    read = count(text)
    assert read is not None
    assert (read.value, read.rounded_to) == (value, step)


@pytest.mark.parametrize("text", ["", "-", "3 or 4", "58.17/87.00", None, True, [], {}, "1" * 100, "NaN", "inf", "五"])
def test_values_that_are_not_numbers_give_none(text: Any) -> None:
    assert (count(text), measure(text), whole_bytes(text)) == (None, None, None)


def test_sizes_digests_headings_and_typos() -> None:
    assert [image_size(text) for text in ("224", "3x224x320", 224, [224, 320], "short-side 320", True, 0)] == [
        (3, 224, 224), (3, 224, 320), (3, 224, 224), (3, 224, 320), None, None, None,
    ]  # fmt: skip
    names = (
        "a_20210528-bd6371c8.pth",
        "a-7c227391_20230807.pth?x=1",
        "a-20210528.pth",
        "a_00160000.pth",
        "a-75117900.pth",
    )
    assert [digest_in_name(name) for name in names] == ["bd6371c8", "7c227391", None, None, "75117900"]
    assert (heading_multiple("Params (M)"), heading_multiple("FLOPs(G)"), heading_multiple("FLOPs")) == (6, 9, 0)
    typos = [
        ("models.org", "modles.org"),
        ("license", "licence"),
        ("host1.org", "host2.org"),
        ("abc", "abcd"),
        ("same", "same"),
    ]
    assert [is_typo(*pair) for pair in typos] == [True, True, False, False, False]


def test_json_is_read_as_yaml() -> None:
    text = json.dumps({"Models": [{"Name": "net", "Metadata": {"Parameters": 1000}}]})
    file = SourceFile(Path("model-index.json"), "model-index.json", text)
    assert model_index.recognises(file)
    assert only(text, "model-index.json").data["claims"]["params"]["value"] == 1000

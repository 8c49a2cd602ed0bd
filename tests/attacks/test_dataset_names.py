"""A data set's name means one data set: a zoo may complete a dataset card that comes with zoo, and never redefine it.

Each attack is a dataset card in a zoo with the digits model. What uses the name is never ok, and nothing is published.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.helpers import about, copy_digits, findings
from tests.helpers.digit_images import save_digits
from tests.helpers.project import ROOT, Ran, RunZoo, replace_once
from zoo.registry import catalog
from zoo.registry.catalog import load_catalog
from zoo.registry.document import read

MODEL = "resnest_digits"
SHIPPED = (ROOT / "cards" / "datasets" / "imagenet-1k.yaml").read_text()
ONE_IMAGE = "name: {name}\nkind: folder\nsplits: {{validation: {{images: 1}}}}\nclasses: [cat, dog]\n{more}"


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    copy_digits(tmp_path / "zoo")
    return tmp_path / "zoo"


def broken(ran: Ran) -> list[dict[str, Any]]:
    """Return the findings about files, in the order of the report."""
    return [item for item in findings(ran) if item["check"] == "schema" and item["status"] == "wrong"]


REDEFINITIONS = {
    "one image": ("    images: 50000\n", "    images: 1\n", "splits.validation.images is 50000 there, 1 here"),
    "fewer per class": ("images_per_class: 50", "images_per_class: 5", "images_per_class is 50 there, 5 here"),
    "no count per class": ("    images_per_class: 50\n", "", "images_per_class is 50 there, missing here"),
    "other labels": (
        "label_files: [LOC_val_solution.csv, labels.txt]",
        "label_files: [easy.txt]",
        "label_files is a list",
    ),
    "swapped classes": ("n01440764, n01443537", "n01443537, n01440764", "classes.0 is n01440764 there, n01443537 here"),
    "another class": ("n01440764,", "n99999999,", "classes.0 is n01440764 there, n99999999 here"),
    "fewer classes": ("n01440764, ", "", "classes is a list of 1000 there, a list of 999 here"),
    "another kind": ("kind: folder", "kind: idx", "kind is folder there, idx here"),
    "another split": ("splits:\n", "splits:\n  easy: {images: 1}\n", "splits.easy is missing there, given here"),
    "a renamed split": ("  validation:\n", "  test:\n", "splits.validation is given there, missing here"),
    "a label space": (
        "kind: folder",
        "kind: folder\nlabel_space: imagenet-a",
        "label_space is missing there, imagenet-a here",
    ),
    "other names of classes": ("tench", "a great white shark", "class_names.0 is"),
}


@pytest.mark.parametrize("attack", REDEFINITIONS)
@pytest.mark.parametrize("name", ["imagenet-1k", "ImageNet_1K"])
def test_a_shipped_data_set_cannot_be_redefined(zoo: Path, run_zoo: RunZoo, attack: str, name: str) -> None:
    old, new, what = REDEFINITIONS[attack]
    assert old in SHIPPED
    text = SHIPPED.replace(old, new, 1).replace("name: imagenet-1k", f"name: {name}")
    (zoo / "datasets" / "mine.yaml").write_text(text)
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    reasons = [item["reason"] for item in broken(ran)]
    assert ran.code == 1 and any(what in reason for reason in reasons), reasons
    loaded = load_catalog([zoo])
    assert {loaded.dataset(name) for name in ("imagenet-1k", "ImageNet", "ILSVRC2012", name)} == {None}
    assert loaded.dataset_problem("imagenet") is not None and loaded.dataset_problem("digits") is None


CLAIMS = "- {dataset: imagenet-1k, split: validation, metric: top1, value: 100.0, unit: percent}\n"


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("imagenet-1k", ""),
        ("my-set", "aliases: [ImageNet]\n"),
        ("my-set", "aliases: ['imagenet 1K']\n"),
        ("ILSVRC2012", ""),
        ("imagenet-1k", "nonsense: 1\n"),  # not valid: the shipped one is not used in its place
        ("ImageNet", "classes: [a]\n"),
    ],
)
def test_one_image_is_not_imagenet(
    zoo: Path, tmp_path: Path, run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch, name: str, more: str
) -> None:
    card = zoo / "digits" / "resnest_digits.yaml"
    card.write_text(card.read_text().replace("dataset: digits, split", "dataset: imagenet-1k, split"))
    (zoo / "datasets" / "mine.yaml").write_text(ONE_IMAGE.format(name=name, more=more))
    (tmp_path / "copy" / "cat").mkdir(parents=True)
    (tmp_path / "copy" / "cat" / "1.png").write_bytes(one_image(tmp_path))
    for variable in ("ZOO_DATA_IMAGENET_1K", "ZOO_DATA_MY_SET", "ZOO_DATA_ILSVRC2012"):
        monkeypatch.setenv(variable, str(tmp_path / "copy"))
    ran = run_zoo("verify", MODEL, "--cards", zoo, "--format", "json")
    assert ran.code == 1
    used = [item for item in findings(ran) if item["check"] in ("data", "accuracy") or item["key"] == "unknown-dataset"]
    assert {item["status"] for item in used} == {"wrong"} and len(used) == 4
    assert {Path(item["where"].partition(":")[0]).name for item in used if item["check"] in ("data", "accuracy")} == {
        "mine.yaml"
    }
    published = run_zoo("publish", MODEL, "--cards", zoo, "--to", f"folder:{tmp_path / 'release'}")
    assert published.code == 1 and not list((tmp_path / "release").rglob("*.md"))
    assert run_zoo("data", "verify", "imagenet-1k", "--cards", zoo).code == 1
    assert run_zoo("data", "list", "--cards", zoo).err.count("mine.yaml") >= 1


def one_image(folder: Path) -> bytes:
    (name,) = save_digits(folder / "digits-as-files", 1)[:1]
    return (folder / "digits-as-files" / name).read_bytes()


def repeat_one_digit(zoo: Path) -> None:
    """Make a copy of the digits that has one image 1,797 times, with the classes' names at their places."""
    path = zoo / "datasets" / "digits.csv.gz"
    (line, *_) = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress((f"{line}\n" * 1797).encode()))


@pytest.mark.parametrize("attack", ["other digests", "no digests", "one digest", "another name for them"])
def test_digits_with_one_image_1797_times_are_not_the_digits(zoo: Path, run_zoo: RunZoo, attack: str) -> None:
    repeat_one_digit(zoo)
    card = zoo / "datasets" / "digits.yaml"
    lines = card.read_text().splitlines(keepends=True)
    if attack == "other digests":
        lines = [
            line.replace('_sha256: "', '_sha256: "0000')[: line.index('"') + 65] + '"\n' if "_sha256" in line else line
            for line in lines
        ]
    elif attack == "one digest":
        lines = [line for line in lines if "manifest_sha256" not in line]
    else:
        lines = [line for line in lines if "_sha256" not in line]
    card.write_text("".join(lines))
    if attack == "another name for them":
        replace_once(card, "name: digits\n", "name: Digits\n")
    ran = run_zoo("verify", MODEL, "--cards", zoo, "--format", "json")
    assert ran.code == 1
    assert {item["status"] for item in findings(ran) if item["check"] in ("data", "accuracy")} == {"wrong"}
    assert run_zoo("data", "verify", "digits", "--cards", zoo).code == 1


def test_a_new_data_set_of_one_repeated_image_is_suspect_and_says_so(zoo: Path, run_zoo: RunZoo) -> None:
    """Under a name of its own, the copy is what its card says. Its equal images are counted, and stop publishing."""
    repeat_one_digit(zoo)
    card = zoo / "datasets" / "digits.yaml"
    lines = [line for line in card.read_text().splitlines(keepends=True) if "_sha256" not in line]
    card.write_text("".join(lines).replace("name: digits\n", "name: easy-digits\n"))
    model = zoo / "digits" / "resnest_digits.yaml"
    model.write_text(
        model.read_text().replace("dataset: digits, split", "dataset: easy-digits, split")
        + "ignore:\n  - {rule: data, reason: it is a small data set}\n  - {rule: data/easy-digits/validation, reason: so}\n"
    )
    ran = run_zoo("verify", MODEL, "--cards", zoo, "--format", "json")
    (data,) = [item for item in findings(ran) if item["check"] == "data"]
    assert (data["status"], data["reason"]) == ("suspect", "359 of 360 images equal another image of the copy")
    assert data["evidence"]["equal_images"] == 359
    top1 = next(item for item in findings(ran) if item["check"] == "accuracy")
    assert top1["evidence"]["equal_images"] == 359
    examined = run_zoo("data", "verify", "easy-digits/validation", "--cards", zoo, "--format", "json")
    images = next(item for item in findings(examined) if item["key"] == "validation/images")
    assert (images["status"], images["evidence"]) == ("suspect", {"equal_images": 359})


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("my-set", "My_Set"), ("a", "b\naliases: [A]")])
def test_two_dataset_cards_of_one_name_are_both_wrong(zoo: Path, run_zoo: RunZoo, first: str, second: str) -> None:
    for number, name in enumerate((first, second)):
        (zoo / "datasets" / f"{number}.yaml").write_text(ONE_IMAGE.format(name=name, more=""))
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    assert ran.code == 1
    assert {Path(item["where"].partition(":")[0]).name for item in broken(ran)} == {"0.yaml", "1.yaml"}
    assert all("is also in use at" in item["reason"] for item in broken(ran))
    assert load_catalog([zoo]).dataset(first) is None


def test_a_dataset_card_of_the_same_name_in_another_folder_of_cards_is_wrong_too(
    zoo: Path, tmp_path: Path, run_zoo: RunZoo
) -> None:
    (tmp_path / "other" / "datasets").mkdir(parents=True)
    (tmp_path / "other" / "datasets" / "mine.yaml").write_text(ONE_IMAGE.format(name="digits", more=""))
    ran = run_zoo("verify", MODEL, "--cards", zoo, "--cards", tmp_path / "other", "--format", "json", "--check", "data")
    assert ran.code == 1 and {item["status"] for item in findings(ran)} == {"wrong"}


def test_names_that_only_look_alike_are_not_aliases(zoo: Path, run_zoo: RunZoo) -> None:
    for number, alias in enumerate(("ImаgeNet-1k", "іmagenet-1k", "imagenet–1k", "\u200bimagenet-1k")):
        (zoo / "datasets" / f"{number}.yaml").write_text(
            ONE_IMAGE.format(name=f"mine{number}", more=f'aliases: ["{alias}"]\n')
        )
    ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json")
    assert ran.code == 1 and len(broken(ran)) == 4
    assert all("is not a valid value for 'aliases'" in item["reason"] for item in broken(ran))


def test_other_cards_are_found_as_without_the_wrong_dataset_card(zoo: Path, run_zoo: RunZoo) -> None:
    clean = run_zoo("verify", "--all", "--cards", zoo, "--format", "json")
    (zoo / "datasets" / "mine.yaml").write_text(ONE_IMAGE.format(name="imagenet-1k", more=""))
    (zoo / "datasets" / "empty.yaml").write_text("")
    ran = run_zoo("verify", "--all", "--cards", zoo, "--format", "json")
    assert (clean.code, ran.code) == (0, 1) and about(ran, MODEL) == about(clean, MODEL)


def test_the_cached_verdicts_of_validate_follow_the_dataset_cards(zoo: Path, run_zoo: RunZoo) -> None:
    text = (zoo / "digits" / "resnest_digits.yaml").read_text()
    for number in range(70):  # enough cards for a cache
        (zoo / "digits" / f"m{number}.yaml").write_text(text.replace("name: resnest_digits", f"name: m{number}"))

    def wrong() -> int:
        ran = run_zoo("validate", "--all", "--cards", zoo, "--format", "json", "--select", "unknown-dataset")
        return sum(item["status"] == "wrong" for item in findings(ran))

    assert wrong() == 0
    card = zoo / "datasets" / "digits.yaml"
    card.write_text(card.read_text().replace("images: 360", "images: 36"))
    assert wrong() == 71 * 2
    card.write_text(card.read_text().replace("images: 36\n", "images: 360\n"))
    assert wrong() == 0


# What is allowed.


def test_a_zoo_may_complete_a_shipped_card_and_say_where_the_data_are(zoo: Path, run_zoo: RunZoo) -> None:
    digests = f'    manifest_sha256: "{"1" * 64}"\n    content_sha256: "{"2" * 64}"\n'
    text = SHIPPED.replace("    images_per_class: 50\n", f"    images_per_class: 50\n{digests}")
    (zoo / "datasets" / "mine.yaml").write_text(text + "extra: {note: ours}\n")
    assert run_zoo("validate", "--all", "--cards", zoo).code == 0
    loaded = load_catalog([zoo])
    completed = loaded.dataset("ImageNet")
    assert completed is not None and completed.splits["validation"].manifest_sha256 == "1" * 64
    assert loaded.is_own_manifest(completed, "validation")
    digits = loaded.dataset("digits")
    assert digits is not None and digits.path.is_relative_to(zoo) and not loaded.is_own_manifest(digits, "train")


def picture_card(more: str = "") -> str:
    names = "zero, one, two, three, four, five, six, seven, eight, nine"
    return f"name: pictures\nkind: folder\nsplits:\n  validation: {{images: 20{more}}}\nclasses: [{names}]\n"


def test_data_verify_write_records_the_missing_digests(zoo: Path, tmp_path: Path, run_zoo: RunZoo) -> None:
    save_digits(tmp_path / "copy", 2)
    card = zoo / "datasets" / "pictures.yaml"
    card.write_text(f"# ours\n{picture_card()}")
    arguments = ("data", "verify", "pictures", "--cards", zoo, "--data", f"pictures={tmp_path / 'copy'}")
    first = run_zoo(*arguments, "--write")
    assert (
        first.code == 0 and "added /splits/validation/manifest_sha256, /splits/validation/content_sha256" in first.err
    )
    assert card.read_text().startswith("# ours\n") and set(read(card).data["splits"]["validation"]) == {
        "images",
        "manifest_sha256",
        "content_sha256",
    }
    again = run_zoo(*arguments, "--write", "--format", "json")
    assert again.code == 0 and "nothing to add" in again.err
    assert {item["status"] for item in findings(again)} == {"ok"}
    (path, *_) = sorted((tmp_path / "copy").rglob("*.png"))
    path.write_bytes(path.read_bytes() + b"x")
    changed = run_zoo(*arguments, "--write", "--format", "json")
    assert changed.code == 1 and "nothing recorded, because validation/images is wrong" in changed.err
    assert {item["key"] for item in findings(changed) if item["status"] == "wrong"} == {
        "validation/images",
        "validation/manifest",
    }


def test_content_decides_about_images_and_the_manifest_about_labels(zoo: Path, tmp_path: Path, run_zoo: RunZoo) -> None:
    save_digits(tmp_path / "copy", 2)
    arguments = (
        "data",
        "verify",
        "pictures",
        "--cards",
        zoo,
        "--data",
        f"pictures={tmp_path / 'copy'}",
        "--format",
        "json",
    )
    card = zoo / "datasets" / "pictures.yaml"
    card.write_text(picture_card())
    run_zoo(*arguments, "--write")
    content = read(card).data["splits"]["validation"]["content_sha256"]
    card.write_text(picture_card(f', content_sha256: "{content}"'))
    assert statuses(run_zoo(*arguments))["images"] == "ok"
    card.write_text(picture_card(f', content_sha256: "{"0" * 64}"'))
    assert statuses(run_zoo(*arguments))["images"] == "wrong"
    card.write_text(picture_card(f', content_sha256: "{content}", manifest_sha256: "{"0" * 64}"'))
    permuted = statuses(run_zoo(*arguments))
    assert permuted["labels"] == "wrong" and permuted["images"] == "ok"


def statuses(ran: Ran) -> Mapping[str, str]:
    return {item["key"].rpartition("/")[2]: item["status"] for item in findings(ran)}


def test_write_completes_a_shipped_card_in_the_zoo_and_never_the_shipped_one(
    zoo: Path, tmp_path: Path, run_zoo: RunZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped card is one of pictures here, in the place of ImageNet's, whose images are not on this machine."""
    save_digits(tmp_path / "copy", 2)
    shipped = tmp_path / "root" / "cards" / "datasets" / "pictures.yaml"
    shipped.parent.mkdir(parents=True)
    shipped.write_text(f"# Shipped\n{picture_card()}")
    monkeypatch.setattr(catalog, "data_root", lambda: tmp_path / "root")
    arguments = ("data", "verify", "pictures", "--data", f"pictures={tmp_path / 'copy'}", "--write")
    assert run_zoo(*arguments).code == 2, "the zoo has no folder of its own"
    assert run_zoo(*arguments, "--cards", zoo).code == 0
    assert shipped.read_text() == f"# Shipped\n{picture_card()}"
    written = read(zoo / "datasets" / "pictures.yaml").data
    assert {**written, "splits": read(shipped).data["splits"]} == read(shipped).data
    assert set(written["splits"]["validation"]) == {"images", "manifest_sha256", "content_sha256"}
    completed = load_catalog([zoo]).dataset("pictures")
    assert completed is not None and load_catalog([zoo]).is_own_manifest(completed, "validation")


def test_write_does_not_write_through_a_link_out_of_the_zoo(zoo: Path, tmp_path: Path, run_zoo: RunZoo) -> None:
    save_digits(tmp_path / "copy", 2)
    (tmp_path / "outside.yaml").write_text(picture_card())
    (zoo / "datasets" / "pictures.yaml").symlink_to(tmp_path / "outside.yaml")
    ran = run_zoo("data", "verify", "pictures", "--cards", zoo, "--data", f"pictures={tmp_path / 'copy'}", "--write")
    assert ran.code == 1 and (tmp_path / "outside.yaml").read_text() == picture_card()

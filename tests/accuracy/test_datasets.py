from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from tests.helpers.digit_images import NAMES, dataset, picture_zoo, save_digits
from tests.helpers.project import RunZoo
from zoo.accuracy.datasets import Copy, folder, location, open_copy
from zoo.errors import CardError, NotHere, WrongContent
from zoo.registry.catalog import load_catalog

DIGITS = 40


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with four held-out digits of each class in class folders."""
    save_digits(tmp_path / "copy" / "val", 4)
    return tmp_path / "copy"


def opened(tmp_path: Path, path: Path, more: str = "") -> Copy:
    zoo = picture_zoo(tmp_path / "zoo", images=DIGITS, more=more)
    return open_copy(dataset(zoo), "validation", {"digit-files": path})


def manifest(copy: Copy) -> str | None:
    copy.hash_all()
    return copy.manifest_sha256


def flatten(root: Path) -> list[tuple[str, str]]:
    """Move all images to the top; their names and classes."""
    pairs = []
    for path in sorted(root.rglob("*.png")):
        pairs.append((path.name, path.parent.name))
        path.rename(root / path.name)
    return pairs


def test_labels_are_by_the_dataset_card_not_by_the_folders_order(tmp_path: Path, files: Path) -> None:
    images = opened(tmp_path, files).images
    assert list(images.labels) == sorted(images.labels)
    assert {Path(images.name(i)).parts[0]: images.labels[i][0] for i in range(DIGITS)} == {
        name: place for place, name in enumerate(NAMES)
    }


def test_an_image_is_decoded_as_rgb(tmp_path: Path, files: Path) -> None:
    images = opened(tmp_path, files).images
    image = images.decode(0, images.read(0))
    assert (image.mode, image.size) == ("RGB", (8, 8))


@pytest.mark.parametrize("top", ["", "copy/", "copy/val/"])
def test_a_tar_is_read_in_place_and_is_the_same_copy(tmp_path: Path, files: Path, top: str) -> None:
    archive = tmp_path / "copy.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(files.rglob("*.png")):
            tar.add(path, top + str(path.relative_to(files / "val")))
    copy = opened(tmp_path, archive)
    assert manifest(copy) == manifest(open_copy(copy.dataset, "validation", {"digit-files": files}))


def test_a_compressed_tar_is_refused(tmp_path: Path, files: Path) -> None:
    archive = tmp_path / "copy.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(files, "copy")
    with pytest.raises(WrongContent, match="not an uncompressed tar"):
        opened(tmp_path, archive)


@pytest.mark.parametrize("line", ["{0} {1}", "{0},{1}", "{2}\t{1} 3 4 5"])
def test_a_flat_folder_with_a_file_of_labels_is_the_same_copy(tmp_path: Path, files: Path, line: str) -> None:
    known = manifest(opened(tmp_path, files, ", label_files: [none.csv, labels.csv]"))
    pairs = flatten(files / "val")
    lines = [line.format(name, kind, Path(name).stem) for name, kind in pairs]
    (files / "labels.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))
    card = picture_zoo(tmp_path / "again", images=DIGITS, more=", label_files: [none.csv, labels.csv]")
    assert manifest(open_copy(dataset(card), "validation", {"digit-files": files})) == known


def test_a_flat_folder_without_a_file_of_labels_is_refused(tmp_path: Path, files: Path) -> None:
    flatten(files / "val")
    with pytest.raises(WrongContent, match="no file of labels"):
        opened(tmp_path, files)


def test_a_class_in_a_file_of_labels_that_the_card_does_not_have_is_named(tmp_path: Path, files: Path) -> None:
    (files / "labels.txt").write_text("000.png zero\n001.png eno\n")
    with pytest.raises(WrongContent, match="'eno' is not a class of digit-files") as raised:
        opened(tmp_path, files, ", label_files: [labels.txt]")
    assert raised.value.where == "labels.txt:2"


def test_images_may_have_several_labels_and_those_without_any_do_not_count(tmp_path: Path, files: Path) -> None:
    first, second = sorted(path.stem for path in files.rglob("*.png"))[:2]
    (files / "real.json").write_text(json.dumps([[3, 5], [], *[[1]] * (DIGITS - 2)]))
    images = opened(tmp_path, files, ", label_files: [real.json]").images
    labels = {Path(images.name(index)).stem: label for index, label in enumerate(images.labels)}
    assert len(labels) == DIGITS - 1 and labels[first] == (3, 5) and second not in labels


def test_labels_for_another_number_of_images_are_refused(tmp_path: Path, files: Path) -> None:
    (files / "real.json").write_text("[[1]]")
    with pytest.raises(WrongContent, match="the file has labels for 1 images, but the copy has 40"):
        opened(tmp_path, files, ", label_files: [real.json]")


def test_a_hashed_image_is_not_read_again(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = opened(tmp_path, files)
    known = manifest(copy)
    monkeypatch.delattr(folder.StoredImage, "read")
    assert manifest(open_copy(copy.dataset, "validation", {"digit-files": files})) == known


def test_a_changed_file_is_read_again(tmp_path: Path, files: Path) -> None:
    copy = opened(tmp_path, files)
    known = manifest(copy)
    changed = next(files.rglob("*.png"))
    changed.write_bytes(changed.read_bytes() + b"more")
    again = open_copy(copy.dataset, "validation", {"digit-files": files})
    assert again.digests.count(None) == 1
    assert manifest(again) != known


def test_a_split_that_the_dataset_card_does_not_have_is_an_error_in_the_card(tmp_path: Path, files: Path) -> None:
    copy = opened(tmp_path, files)
    with pytest.raises(CardError, match="has no split 'test'"):
        open_copy(copy.dataset, "test", {"digit-files": files})


def test_without_a_copy_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    zoo = picture_zoo(tmp_path / "zoo")
    with pytest.raises(NotHere) as raised:
        open_copy(dataset(zoo), "validation", {})
    assert raised.value.hint == "give --data digit-files=PATH or set ZOO_DATA_DIGIT_FILES"


# Each damage is a finding of its own.


def examined(run_zoo: RunZoo, tmp_path: Path, files: Path, more: str = "") -> dict[str, tuple[str, str]]:
    """Status and reason of each thing that `zoo data verify` looks at."""
    picture_zoo(tmp_path / "zoo", images=DIGITS, more=more)
    arguments = ("--cards", tmp_path / "zoo", "--data", f"digit-files={files}", "--format", "json")
    ran = run_zoo("data", "verify", "digit-files", *arguments)
    findings = json.loads(ran.out)["findings"]
    assert ran.code == (1 if any(item["status"] == "wrong" for item in findings) else 0)
    return {item["key"].removeprefix("validation/"): (item["status"], item["reason"]) for item in findings}


def digests(tmp_path: Path, files: Path) -> str:
    copy = opened(tmp_path / "first", files)
    copy.hash_all()
    return f', manifest_sha256: "{copy.manifest_sha256}", content_sha256: "{copy.content_sha256}"'


def wrong(findings: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {key: reason for key, (status, reason) in findings.items() if status == "wrong"}


def test_a_right_copy_is_ok_in_everything(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    findings = examined(run_zoo, tmp_path, files, digests(tmp_path, files))
    assert {status for status, _ in findings.values()} == {"ok"} and len(findings) == 5


def test_a_part_without_a_recorded_digest_is_not_shown_as_ok(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    findings = examined(run_zoo, tmp_path, files)
    assert {key for key, (status, _) in findings.items() if status == "unclaimed"} == {"labels", "manifest"}


def test_damaged_images_are_named(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    more = digests(tmp_path, files)
    for path in sorted(files.rglob("*.png"))[:2]:
        path.write_bytes(path.read_bytes()[:-40])
    findings = wrong(examined(run_zoo, tmp_path, files, more))
    assert set(findings) == {"decoding", "images", "manifest"}
    first, second = (str(path.relative_to(files / "val")) for path in sorted(files.rglob("*.png"))[:2])
    assert findings["decoding"].startswith("2 images cannot be decoded") and first.split("/")[1] in findings["decoding"]
    assert second.split("/")[1] in findings["decoding"]


def test_a_missing_class_is_named(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    for path in (files / "val" / "three").iterdir():
        path.unlink()
    findings = wrong(examined(run_zoo, tmp_path, files))
    assert findings["classes"] == "missing classes (1 of 10): three"


def test_a_folder_that_is_not_a_class_is_named(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    (files / "val" / "ten").mkdir()
    (files / "val" / "ten" / "x.png").write_bytes(next(files.rglob("*.png")).read_bytes())
    assert wrong(examined(run_zoo, tmp_path, files)) == {"classes": "folders that are not classes of digit-files: ten"}


def test_a_missing_image_is_counted_and_its_class_named(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    for folder_ in (files / "val").iterdir():  # three of each
        for path in sorted(folder_.iterdir())[3:]:
            path.unlink()
    next((files / "val" / "one").iterdir()).unlink()
    picture_zoo(tmp_path / "zoo", images=30, more=", images_per_class: 3")
    arguments = ("--cards", tmp_path / "zoo", "--data", f"digit-files={files}", "--format", "json")
    (finding,) = [item for item in json.loads(run_zoo("data", "verify", "digit-files", *arguments).out)["findings"]
                if item["status"] == "wrong"]  # fmt: skip
    assert finding["key"] == "validation/images"
    assert finding["reason"] == (
        "the copy has 29 images, but the dataset card says 30; classes that do not have 3 images: one (2)"
    )


def test_permuted_labels_are_distinguished_from_wrong_images(run_zoo: RunZoo, tmp_path: Path, files: Path) -> None:
    more = digests(tmp_path, files)
    (files / "val" / "one").rename(files / "val" / "x")
    (files / "val" / "two").rename(files / "val" / "one")
    (files / "val" / "x").rename(files / "val" / "two")
    findings = wrong(examined(run_zoo, tmp_path, files, more))
    assert list(findings) == ["labels"] and "labels are permuted" in findings["labels"]


# The MNIST family.


def idx(values: bytes, *sizes: int) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + b"".join(size.to_bytes(4, "big") for size in sizes) + values


IDX_CARD = """\
schema: 1
name: digit-files
kind: idx
splits:
  test: {{images: {images}{more}}}
classes: [zero, one, two]
"""


def idx_copy(tmp_path: Path, labels: bytes, *, pack: bool = False) -> Copy:
    pixels = bytes(range(18))
    (tmp_path / "idx").mkdir(exist_ok=True)
    for name, content in (("images-idx3", idx(pixels, 3, 2, 3)), ("labels-idx1", idx(labels, len(labels)))):
        path = tmp_path / "idx" / f"t10k-{name}-ubyte{'.gz' if pack else ''}"
        path.write_bytes(gzip.compress(content) if pack else content)
    zoo = picture_zoo(tmp_path / "zoo", images=3, card=IDX_CARD)
    return open_copy(dataset(zoo), "test", {"digit-files": tmp_path / "idx"})


@pytest.mark.parametrize("pack", [True, False])
def test_idx_files_are_read_with_or_without_gzip(tmp_path: Path, pack: bool) -> None:
    images = idx_copy(tmp_path, bytes((2, 0, 1)), pack=pack).images
    assert images.labels == ((2,), (0,), (1,))
    image = images.decode(1, images.read(1))
    assert (image.size, image.getpixel((0, 0)), image.getpixel((2, 1))) == ((3, 2), (6, 6, 6), (11, 11, 11))


def test_idx_labels_beyond_the_classes_are_a_problem(tmp_path: Path) -> None:
    assert [problem.what for problem in idx_copy(tmp_path, bytes((2, 7, 1))).problems()] == [
        "labels that are not classes of digit-files: 7"
    ]


def test_idx_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongContent, match="the copy has 3 images, but 2 labels"):
        idx_copy(tmp_path, bytes((2, 0)))


def test_a_truncated_idx_file_is_refused(tmp_path: Path) -> None:
    copy = idx_copy(tmp_path, bytes((2, 0, 1)))
    path = tmp_path / "idx" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WrongContent, match="is truncated"):
        open_copy(copy.dataset, "test", {"digit-files": tmp_path / "idx"})


# The Hub's Parquet files.

HF_CARD = IDX_CARD.replace("kind: idx", "kind: hf")


def test_parquet_files_of_the_hub_are_unpacked_once(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'zoo-verify[hf]'")
    import pyarrow
    import pyarrow.parquet

    names = save_digits(tmp_path / "files", 1)[:3]
    rows = [{"bytes": (tmp_path / "files" / name).read_bytes(), "path": name} for name in names]
    (tmp_path / "data").mkdir()
    for number, part in enumerate((slice(0, 2), slice(2, 3))):
        table = pyarrow.table({"image": rows[part], "label": [2, 0, 1][part]})
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"test-0000{number}-of-00002.parquet", row_group_size=1)
    zoo = picture_zoo(tmp_path / "zoo", images=3, card=HF_CARD)
    for _ in range(2):
        images = open_copy(dataset(zoo), "test", {"digit-files": tmp_path}).images
        assert images.labels == ((2,), (0,), (1,))
        assert [images.read(index) for index in (2, 0, 1)] == [rows[index]["bytes"] for index in (2, 0, 1)]
        assert images.decode(0, images.read(0)).size == (8, 8)


# The shipped dataset cards.


def test_imagenets_variants_are_subsets_of_its_classes() -> None:
    from zoo.accuracy.datasets import output_indices
    from zoo.registry.catalog import load_catalog

    zoo = load_catalog()
    whole = dataset(zoo, "imagenet-1k")
    for name in ("imagenet-a", "imagenet-r"):
        subset = dataset(zoo, name)
        chosen = output_indices(subset, zoo)
        assert chosen is not None and [whole.classes[place] for place in chosen] == list(subset.classes)
        assert len(chosen) == 200
    assert output_indices(dataset(zoo, "imagenet-v2"), zoo) is None
    assert dataset(zoo, "imagenet-real").classes == whole.classes


def test_fashion_mnist_agrees_with_its_card(run_zoo: RunZoo) -> None:
    from zoo.registry.catalog import load_catalog

    card = dataset(load_catalog(), "fashion-mnist")
    if not Path(str(card.installed_at)).is_dir():
        pytest.skip("apt-get install dataset-fashion-mnist")
    assert run_zoo("data", "verify", "fashion-mnist/test").out == (
        "fashion-mnist            ok        5 ok\n1 model: 5 ok\n"
    )


def test_an_empty_variable_means_that_there_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_catalog().dataset("digits")
    assert digits is not None and location(digits, {}).name == "digits.csv.gz"
    monkeypatch.setenv("ZOO_DATA_DIGITS", "")
    with pytest.raises(NotHere, match="no copy of digits on this machine"):
        location(digits, {})

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.digit_images import dataset, picture_zoo, save_digits
from tests.helpers.project import ROOT, RunZoo
from tests.helpers.state import rewrite
from zoo import plugins
from zoo.accuracy import evaluate
from zoo.accuracy.datasets import folder, open_copy
from zoo.accuracy.evaluate import Counts, EvaluationProgress, Measured, measure, part_size, random_order
from zoo.accuracy.ranking import Ranker, ranks_of
from zoo.errors import CannotCheck, WrongContent
from zoo.models.subject import Evaluation, Settings, Subject
from zoo.registry.catalog import Catalog, Member, load_catalog
from zoo.runtime.engines import Options
from zoo.runtime.storage import state_folder
from zoo.verification.report import Status

DIGITS = Counts(360, 359, 360)


@pytest.fixture(autouse=True)
def _fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known from another test."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


def evaluated(zoo: Catalog | None = None, *, name: str = "digits", events: list[EvaluationProgress] | None = None,
              data: dict[str, Path] | None = None, refresh: bool = False, **how: Any) -> Measured:  # fmt: skip
    zoo = zoo or load_catalog()
    on_progress = events.append if events is not None else None
    settings = Settings(
        device="cpu", data=data or {}, refresh=refresh, evaluation=Evaluation(**how), on_progress=on_progress
    )
    return measure(Subject(Member(zoo.find("resnest_digits"), zoo), settings), dataset(zoo, name), "validation")


@pytest.mark.parametrize("batch_size", [1, 7, 64, 360])
def test_counts_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    assert evaluated(batch_size=batch_size).counts == DIGITS


@pytest.mark.parametrize("jobs", [2, 3])
def test_counts_do_not_depend_on_the_number_of_workers(jobs: int) -> None:
    assert evaluated(options=Options(jobs=jobs)).counts == DIGITS


KILLED = """
import os, signal
from zoo.accuracy.evaluate import measure
from zoo.models.subject import Settings, Subject
from zoo.registry.catalog import Member, load_catalog
zoo = load_catalog()

def report_progress(event):
    if event.counts.images >= 135:
        os.kill(os.getpid(), signal.SIGKILL)

measure(Subject(Member(zoo.find("resnest_digits"), zoo), Settings(device="cpu", on_progress=report_progress)), zoo.dataset("digits"), "validation")
"""


def test_a_killed_evaluation_is_resumed_and_gives_the_same_counts() -> None:
    ran = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False)
    assert ran.returncode == -9
    events: list[EvaluationProgress] = []
    assert evaluated(events=events).counts == DIGITS
    assert events[-1].ranked <= 360 - 135


def test_a_second_run_ranks_no_image() -> None:
    evaluated()
    events: list[EvaluationProgress] = []
    assert evaluated(events=events).counts == DIGITS and events == []


def test_a_larger_sample_ranks_only_the_additional_images() -> None:
    small = evaluated(limit=100)
    events: list[EvaluationProgress] = []
    whole = evaluated(events=events)
    assert (small.counts.images, small.is_whole, whole.is_whole) == (100, False, True)
    assert whole.counts == DIGITS and events[-1].ranked == 260


def test_refresh_ranks_all_images_again() -> None:
    evaluated()
    events: list[EvaluationProgress] = []
    evaluated(events=events, refresh=True)
    assert events[-1].ranked == 360


def test_an_accuracy_is_reused_across_versions_up_to_the_maximum_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluated()
    monkeypatch.setattr(evaluate, "version_of", lambda name: "99")
    events: list[EvaluationProgress] = []
    assert evaluated(events=events, max_age_days=1).evidence["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert events == []
    rewrite(stored_accuracy(), lambda data: data["evidence"].update(measured="2026-01-01T00:00:00Z"))
    assert evaluated(events=events, max_age_days=1).evidence["libraries"]["torch"] == "99"
    assert events[-1].ranked == 360


def stored_accuracy() -> Path:
    """The file of the fact about a whole split."""
    (fact,) = (path for path in state_folder("facts").rglob("*.json") if '"measured"' in path.read_text())
    return fact


def test_an_accuracy_that_is_reused_across_versions_says_so_in_its_evidence(run_zoo: RunZoo) -> None:
    def evidence() -> dict[str, Any]:
        ran = run_zoo("verify", "resnest_digits", "--check", "accuracy", "--format", "json")
        findings = {finding["key"]: finding for finding in json.loads(ran.out)["findings"]}
        assert (ran.code, findings["digits/validation/top1"]["status"]) == (0, "ok")
        found: dict[str, Any] = findings["digits/validation/top1"]["evidence"]
        return found

    measured = evidence()
    assert "reused" not in measured and "reused" not in evidence()  # the same versions: the same answer

    def age(stored: dict[str, Any]) -> None:
        assert len(stored["evidence"]["code_sha256"]) == 64
        stored["evidence"]["libraries"]["torch"] = "2.5.0"
        stored["evidence"] |= {"zoo": "0.1.9", "code_sha256": "0" * 64}

    rewrite(stored_accuracy(), age)
    reused = evidence()
    assert reused.pop("reused") == {
        "torch": {"measured": "2.5.0", "now": measured["libraries"]["torch"]},
        "zoo": {"measured": "0.1.9", "now": measured["zoo"]},
        "code_sha256": {"measured": "0" * 64, "now": measured["code_sha256"]},
    }
    assert reused["correct"] == measured["correct"] and reused["measured"] == measured["measured"]
    ran = run_zoo("verify", "resnest_digits", "--check", "accuracy", "--format", "json", "--refresh")
    assert "reused" not in json.loads(ran.out)["findings"][0]["evidence"]


def test_parts_of_a_sample_are_not_reused_across_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(limit=100)
    monkeypatch.setattr(evaluate, "version_of", lambda name: "99")
    events: list[EvaluationProgress] = []
    evaluated(events=events, limit=100)
    assert events[-1].ranked == 100


def test_only_the_part_with_a_changed_image_is_ranked_again(tmp_path: Path) -> None:
    names = save_digits(tmp_path / "copy")
    zoo = picture_zoo(tmp_path / "zoo")
    copy = {"digit-files": tmp_path / "copy"}
    assert evaluated(zoo, name="digit-files", data=copy, limit=300).counts.images == 300
    inside = open_copy(dataset(zoo), "validation", copy).images.name(random_order(360, 0)[0])
    assert inside in names
    path = tmp_path / "copy" / inside
    path.write_bytes(path.read_bytes() + b"a comment after the image's end")
    events: list[EvaluationProgress] = []
    evaluated(zoo, name="digit-files", data=copy, events=events, limit=300)
    assert events[-1].ranked == part_size(300, 16)


def test_images_are_read_once_for_evaluation_and_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_digits(tmp_path / "copy")
    picture_zoo(tmp_path / "zoo")
    read: list[str] = []
    honest = folder.StoredImage.read

    def noted(entry: folder.StoredImage) -> bytes:
        read.append(str(entry.name))
        return honest(entry)

    monkeypatch.setattr(folder.StoredImage, "read", noted)
    catalog = load_catalog([tmp_path / "zoo"])
    member, settings = (
        Member(catalog.find("resnest_digits"), catalog),
        Settings(data={"digit-files": tmp_path / "copy"}),
    )
    for name in ("accuracy", "data") * 2:
        check = plugins.load("checks", name)
        for question in check.questions(member):
            assert check.answer(Subject(member, settings), question).status is Status.OK
    assert len(read) == len(set(read)) == 360


def test_a_damaged_image_blames_the_data_not_the_model(tmp_path: Path) -> None:
    names = save_digits(tmp_path / "copy")
    path = tmp_path / "copy" / names[7]
    path.write_bytes(path.read_bytes()[:-40])
    zoo = picture_zoo(tmp_path / "zoo")
    with pytest.raises(
        CannotCheck, match=f"the copy of digit-files/validation is damaged: the image {names[7]} cannot be decoded"
    ) as raised:
        evaluated(zoo, name="digit-files", data={"digit-files": tmp_path / "copy"})
    assert raised.value.hint == "zoo data verify digit-files"


def test_classes_of_another_data_set_restrict_the_outputs(tmp_path: Path) -> None:
    """Of the digits 3 and 8 alone, on outputs for ten digits: nothing else can be answered."""
    save_digits(tmp_path / "copy")
    for path in (tmp_path / "copy").iterdir():
        if path.name not in ("three", "eight"):
            for image in path.iterdir():
                image.unlink()
    count = len(list((tmp_path / "copy").rglob("*.png")))
    zoo = picture_zoo(tmp_path / "zoo", images=360)
    (tmp_path / "zoo" / "datasets" / "two.yaml").write_text(
        "schema: 1\nname: two\nkind: folder\nlabel_space: digit-files\nclasses: [eight, three]\n"
        f"splits: {{validation: {{images: {count}}}}}\n"
    )
    zoo = load_catalog((tmp_path / "zoo",))
    measured = evaluated(zoo, name="two", data={"two": tmp_path / "copy"})
    assert measured.counts == Counts(count, count, count)


def test_the_order_is_a_permutation_that_a_seed_fixes() -> None:
    assert sorted(random_order(1000, 3)) == list(range(1000))
    assert random_order(8, 0) == [3, 7, 5, 2, 4, 1, 6, 0]
    assert random_order(1000, 0) != random_order(1000, 1)


def test_a_part_is_a_small_share_of_the_split_and_at_least_a_batch() -> None:
    assert [part_size(50_000, 16), part_size(360, 16), part_size(360, 360), part_size(50_000, 1)] == [128, 45, 360, 64]


def test_another_precision_is_measured_separately() -> None:
    evaluated(limit=20)
    events: list[EvaluationProgress] = []
    measured = evaluated(events=events, limit=20, precision="bf16")
    assert events[-1].ranked == 20 and measured.evidence["precision"] == "bf16" and measured.counts.top5 == 20


class Fussy(nn.Module):
    """Reports what a CPU allocator does when a batch is larger than its memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.batch_sizes: list[int] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.batch_sizes.append(len(batch))
        if len(batch) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:131] DefaultCPUAllocator: can't allocate memory")
        return batch.flatten(1)


def ranker(model: nn.Module, batch_size: int) -> Ranker:
    images = open_copy(dataset(load_catalog(), "digits"), "validation", {}).images
    return Ranker(model, images, torch.device("cpu"), lambda image: torch.arange(10.0).reshape(1, 1, 10), batch_size)


def test_a_batch_that_does_not_fit_into_memory_is_halved_and_no_image_is_lost() -> None:
    model = Fussy(most=5)
    (ranked,) = ranker(model, 32).rank([range(50)])
    assert ranked.indices == tuple(range(50)) and len(ranked.ranks) == len(ranked.digests) == 50
    sizes = model.batch_sizes
    assert [size for size in sizes if size > 5] and sum(size for size in sizes if size <= 5) == 50


def test_an_error_other_than_lack_of_memory_is_raised() -> None:
    class Broken(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(ranker(Broken(), 8).rank([range(8)]))


def rank(logits: Sequence[float], *labels: int) -> str:
    return ranks_of(torch.tensor([logits]), [labels])


def test_a_rank_is_the_place_of_the_best_label() -> None:
    logits = [0.0, 5.0, 4.0, 3.0, 2.0, 1.0, -1.0]
    assert [rank(logits, 1), rank(logits, 2), rank(logits, 5), rank(logits, 0), rank(logits, 0, 4)] == list("01453")


def test_with_fewer_than_five_outputs_all_are_among_the_first_five() -> None:
    assert rank([1.0, 2.0], 0) == "1"


@pytest.mark.parametrize(("logits", "label", "message"), [
    ([1.0, float("nan")], 0, "not all finite"), ([1.0, 2.0], 2, "has 2 outputs, but the data set has label 2")
])  # fmt: skip
def test_outputs_that_cannot_be_ranked_are_refused(logits: list[float], label: int, message: str) -> None:
    with pytest.raises(WrongContent, match=message):
        rank(logits, label)


def test_the_next_part_is_decoded_while_one_is_computed() -> None:
    next_part_decoded = Event()

    class Waiting(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            assert next_part_decoded.wait(timeout=60)
            return batch.flatten(1)

    waiting = ranker(Waiting(), 4)
    honest = waiting.images.decode

    class Watched:
        labels, read = waiting.images.labels, waiting.images.read

        def decode(self, index: int, content: bytes) -> Any:
            if index == 4:
                next_part_decoded.set()
            return honest(index, content)

    watched = replace(waiting, images=Watched())  # type: ignore[arg-type]  # what a ranker uses of Images
    assert len(list(watched.rank([range(4), range(4, 8)]))) == 2

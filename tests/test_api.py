"""What `import zoo` offers: lazily, by name, and the same as the command line."""

from __future__ import annotations

import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from tests.helpers.digit_images import NAMES, save_digits
from tests.helpers.fetching import card_about, noise
from tests.helpers.project import ROOT
from zoo.errors import CannotCheck, NotHere, Refused, UnknownName, UsageError, WrongContent
from zoo.registry.document import parse
from zoo.verification.report import Status

DIGITS, FASHION = "resnest_digits", "resnest_fashion"


# --- the names ----------------------------------------------------------------------------------------------------


def test_the_public_names_are_those_and_cost_nothing_to_import() -> None:
    code = "import sys, zoo; print(len(sys.modules) < 200, {'torch', 'yaml', 'click'} & set(sys.modules) or '')"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True"]
    assert dir(zoo) == zoo.__all__ == sorted(zoo.__all__)
    assert all(getattr(zoo, name) for name in zoo.__all__)


def test_the_functions_of_the_api_are_the_public_functions() -> None:
    from zoo import api

    functions = {name for name, value in vars(api).items() if callable(value) and value.__module__ == "zoo.api"}
    assert {name for name in functions if not name.startswith("_")} == {
        name for name in zoo.__all__ if name[0].islower()
    }


@pytest.mark.parametrize("name", [name for name in zoo.__all__ if name[0].islower()])
def test_a_public_function_says_what_it_returns_and_raises(name: str) -> None:
    text = getattr(zoo, name).__doc__ or ""
    assert text.split()[0].rstrip(",") in ("Return", "Create", "Publish") and "Return" in text.replace(
        "return", "Return"
    )
    assert "aises" in text or name == "list_models"


@pytest.mark.parametrize("name", ["create_model", "fetch", "load_card", "list_models", "verify"])
def test_a_function_imports_no_room_that_it_does_not_need(name: str) -> None:
    code = f"import sys, zoo; zoo.{name}; print([n for n in sys.modules if n.startswith(('zoo.publishing', 'zoo.conversion'))])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_no_public_name_hides_a_module() -> None:
    modules = {path.stem for path in (ROOT / "zoo").iterdir() if not path.name.startswith("_")}
    assert set(zoo.__all__) & modules == set()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing


def test_the_version_is_that_of_the_installed_distribution() -> None:
    from importlib.metadata import version

    assert zoo.__version__ == version("zoo-verify")


def test_python_m_zoo_is_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise RuntimeError('imported from the working folder')")
    ran = subprocess.run([sys.executable, "-m", "zoo", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"zoo {zoo.__version__}\n"), ran.stderr
    ran = subprocess.run([sys.executable, "-m", "zoo", "show"], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, "Missing argument 'NAME'" in ran.stderr) == (2, True)


# --- cards --------------------------------------------------------------------------------------------------------


def test_models_are_listed_by_a_part_of_their_name_and_by_what_they_claim() -> None:
    assert zoo.list_models("50d") == ["resnest50d", "resnest50d_1s4x24d", "resnest50d_4s2x40d"]
    assert zoo.list_models("resnest", where="top1 > 84", sort="-top1") == [DIGITS, FASHION, "resnest269e"]
    with pytest.raises(UnknownName, match="unknown field 'top2'"):
        zoo.list_models(sort="top2")


def test_a_card_is_found_by_its_name() -> None:
    assert zoo.load_card("resnest269e").weights[0].size_bytes == 445402691
    with pytest.raises(UnknownName, match="did you mean 'resnest269e'"):
        zoo.load_card("resnest269")


def test_own_cards_replace_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\n")
    assert zoo.list_models(cards=tmp_path) == ["a"]
    with pytest.raises(NotHere, match="names no builder"):
        zoo.create_model("a", cards=str(tmp_path))


def test_validate_reports_about_names_and_paths_or_about_all_cards(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nclaims: {results: [{dataset: digits, metric: top1, value: 101}]}\n")
    report = zoo.validate(tmp_path / "a.yaml", DIGITS)
    assert report.exit_code == 1 and {item.model for item in report.findings} == {"a", DIGITS}
    (wrong,) = (item for item in report.findings if item.status is Status.WRONG)
    assert "outside 0 to 100" in wrong.reason
    assert {subject.model for subject in zoo.validate().subjects} == set(zoo.list_models())


def test_validate_applies_selected_rules_and_fixes_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nlicence: mit\n")
    report = zoo.validate("a", select=["schema"], cards=tmp_path)
    assert report.exit_code == 1 and {item.check for item in report.findings} == {"schema"}
    assert zoo.validate("a", ignore=["schema"], cards=tmp_path).findings == ()
    assert zoo.validate("a", fix=True, cards=tmp_path).exit_code == 0
    assert "license: mit" in path.read_text()
    with pytest.raises(UnknownName, match="unknown rule"):
        zoo.validate("a", select=["shema"], cards=tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        zoo.validate(tmp_path / "b.yaml")


def test_cards_are_imported_and_exported_again(tmp_path: Path) -> None:
    source = "Models:\n- Name: net\n  Metadata: {Parameters: 1000}\n"
    (tmp_path / "model-index.yml").write_text(source)
    planned = zoo.import_cards(tmp_path / "model-index.yml", to=tmp_path / "zoo", dry_run=True)
    assert (planned.models, planned.documents, planned.problems) == (1, 1, ()) and not (tmp_path / "zoo").exists()
    zoo.import_cards(tmp_path / "model-index.yml", to=tmp_path / "zoo", format="model-index")
    assert zoo.list_models(cards=tmp_path / "zoo") == ["net"]
    (document,) = zoo.export_cards("net", format="model-index", to=tmp_path / "out", cards=tmp_path / "zoo")
    (written,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written.read_text() == document.text
    exported = parse(document.text, written, str(written)).data
    assert exported == {"Models": [{"Name": "net", "Metadata": {"Parameters": 1000}}]}
    with pytest.raises(UsageError, match="no such file"):
        zoo.import_cards(tmp_path / "absent.yml", to=tmp_path / "zoo")
    with pytest.raises(UnknownName, match="unknown dialect"):
        zoo.export_cards("net", format="tsv", cards=tmp_path / "zoo")


# --- weights and models -------------------------------------------------------------------------------------------


def test_fetch_gives_the_verified_file_of_a_format(tmp_path: Path) -> None:
    path = zoo.fetch(DIGITS, offline=True)
    assert path == next((ROOT / "cards" / "digits").glob("*.safetensors")) == zoo.fetch(DIGITS, format="safetensors")
    with pytest.raises(NotHere, match="lists no pickle weights"):
        zoo.fetch(DIGITS, format="pickle")
    with pytest.raises(NotHere, match="is not on this machine"):
        zoo.fetch("resnest14d", offline=True)


def test_fetch_raises_for_a_file_that_is_not_what_the_card_says_or_cannot_be_downloaded(tmp_path: Path) -> None:
    card_about(tmp_path, noise(100), name="wrong")
    (tmp_path / "wrong.pth").write_bytes(noise(100, seed=1))
    with pytest.raises(WrongContent):
        zoo.fetch("wrong", cards=tmp_path)
    card_about(tmp_path, noise(100), ["http://127.0.0.1:1/net"], name="gone")
    assert issubclass(zoo.TransferFailed, CannotCheck)
    with pytest.raises(zoo.TransferFailed):
        zoo.fetch("gone", cards=tmp_path)


def test_a_model_is_built_and_loaded_with_verified_weights() -> None:
    model = zoo.create_model(DIGITS, pretrained=True)
    again = zoo.create_model(DIGITS, pretrained=True)
    fresh = zoo.create_model(DIGITS)
    pixels = torch.ones(1, 3, 32, 32)
    with torch.inference_mode():
        assert not model.training and torch.equal(model(pixels), again(pixels)) and model(pixels).shape == (1, 10)
        assert not torch.equal(model(pixels), fresh(pixels))


def test_a_model_is_adapted_after_its_weights_are_loaded() -> None:
    whole: typing.Any = zoo.create_model(DIGITS, pretrained=True)
    pixels = torch.rand(2, 3, 32, 32)
    three = zoo.create_model(DIGITS, pretrained=True, num_classes=3)
    headless = zoo.create_model(DIGITS, pretrained=True, num_classes=0)
    grey = zoo.create_model(DIGITS, pretrained=True, in_chans=1)
    features = zoo.create_model(DIGITS, pretrained=True, features_only=True)
    with torch.inference_mode():
        assert three(pixels).shape == (2, 3) and headless(pixels).ndim == 2 and grey(pixels[:, :1]).shape == (2, 10)
        assert torch.equal(whole.forward_head(whole.forward_features(pixels), pre_logits=True), headless(pixels))
        maps = features(pixels)
    assert all(item.ndim == 4 for item in maps)
    assert [item.shape[-1] for item in maps] == sorted((item.shape[-1] for item in maps), reverse=True)
    with pytest.raises(UsageError, match="num_classes"):
        zoo.create_model(DIGITS, num_classes=-1)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "PA", "RGBA", "1", "I;16", "CMYK", "YCbCr", "HSV", "LAB"])
def test_a_transform_takes_an_image_of_any_mode_and_gives_what_the_model_takes(mode: str) -> None:
    pixels = zoo.create_transform(DIGITS)(
        Image.new("RGB", (8, 8), "white").convert(mode.partition(";")[0]).convert(mode)
    )
    assert (pixels.shape, pixels.dtype) == ((3, 32, 32), torch.float32)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_transform_refuses_an_image_whose_values_have_no_fixed_range(mode: str) -> None:
    with pytest.raises(UsageError, match=f"mode {mode}"):
        zoo.create_transform(DIGITS)(Image.new(mode, (8, 8)))


def test_a_transform_normalises() -> None:
    pixels = zoo.create_transform(DIGITS)(Image.new("RGB", (8, 8), "white"))
    assert torch.equal(pixels, torch.ones(3, 32, 32))


# --- measuring ----------------------------------------------------------------------------------------------------


def test_verify_gives_the_report_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    report = zoo.verify(DIGITS, strict=True)
    assert report.exit_code == 0
    assert [subject.model for subject in report.subjects] == [DIGITS]
    command = [sys.executable, "-m", "zoo", "verify", DIGITS, "--strict", "--report", str(tmp_path / "report.json")]
    subprocess.run(command, capture_output=True, check=True)
    from zoo.verification import report as reports

    said = reports.read(tmp_path / "report.json")
    assert (said.options, said.subjects) == (report.options, report.subjects)
    assert [(item.check, item.key, item.status) for item in said.findings] == [
        (item.check, item.key, item.status) for item in report.findings
    ]


def test_verify_of_some_checks_and_a_sample(tmp_path: Path) -> None:
    report = zoo.verify(DIGITS, checks=["accuracy"], limit=100, seed=3, refresh=True, device="cpu")
    assert {item.check for item in report.findings} == {"accuracy"}
    assert {item.evidence["images"] for item in report.findings} == {100}
    assert (report.options["limit"], report.options["seed"]) == (100, 3)


def test_verify_writes_what_is_not_claimed(digits_zoo: Path) -> None:
    path = digits_zoo / "digits" / "resnest_digits.yaml"
    text = path.read_text()
    (line,) = (line for line in text.splitlines(True) if line.startswith("  params:"))
    path.write_text(text.replace(line, ""))
    assert zoo.verify(DIGITS, checks=["params"], write=True, cards=digits_zoo).exit_code == 0
    assert zoo.load_card(DIGITS, cards=digits_zoo).claims.params.value == 64482


def test_a_broken_card_is_a_finding_and_an_unknown_name_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nlicence: mit\n")
    assert zoo.verify("a", cards=tmp_path).exit_code == 1 == zoo.verify(cards=tmp_path).exit_code
    with pytest.raises(UnknownName, match="unknown model"):
        zoo.verify("b", cards=tmp_path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"checks": ["parms"]}, "unknown check 'parms'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"engine": "lokal"}, "unknown engine 'lokal'"),
        ({"jobs": 0}, "jobs is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"max_age_days": 0}, "max_age_days is 0"),
    ],
    ids=lambda value: str(value),
)
def test_an_option_that_is_not_valid_is_refused(option: dict[str, typing.Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        zoo.verify(DIGITS, "resnest14d", **option)
    assert message in str(raised.value)


def test_evaluate_gives_accuracies_in_percent_with_intervals() -> None:
    (score,) = zoo.evaluate(DIGITS, on=["digits/validation"])
    assert (score.model, score.dataset, score.split, score.images, score.problem) == (
        DIGITS,
        "digits",
        "validation",
        360,
        "",
    )
    assert score.top1 is not None and score.top1.correct == 359
    assert score.top1.low < score.top1.percent == round(100 * 359 / 360, 4) < score.top1.high
    with pytest.raises(UnknownName, match="unknown data set"):
        zoo.evaluate(DIGITS, on=["digitz"])
    with pytest.raises(UsageError, match="no model is named"):
        zoo.evaluate()


def test_a_model_that_cannot_be_evaluated_says_why() -> None:
    (score,) = zoo.evaluate("resnest14d")
    assert score.top1 is None and score.problem and score.hint


def test_predict_names_the_five_most_probable_classes(tmp_path: Path) -> None:
    save_digits(tmp_path, 2)
    path = max((tmp_path / NAMES[7]).iterdir())
    (prediction,) = zoo.predict(DIGITS, path)
    assert prediction.image == str(path) and prediction.guesses[0].name == "7" and len(prediction.guesses) == 5
    assert 0.5 < prediction.guesses[0].probability <= 1
    (tmp_path / "x.png").write_text("text")
    with pytest.raises(UsageError):
        zoo.predict(DIGITS, tmp_path / "x.png")
    with pytest.raises(UsageError, match="no image is named"):
        zoo.predict(DIGITS)
    with pytest.raises(CannotCheck, match="gluon_resnest14"):
        zoo.predict("resnest14d", path)


def test_count_flops_counts_under_every_convention_and_explains_a_number() -> None:
    report = zoo.count_flops("resnest50d", input_size=(3, 224, 285), explain=[6937106336])
    counts = {cost.convention: cost.value for cost in report.costs}
    assert (counts["thop"], report.params, report.input_shape) == (6937106336, 27483240, (3, 224, 285))
    (explained,) = (item for item in report.explained if item.solution.value == 6937106336)
    assert [(fit.convention, fit.input_shape) for fit in explained.solution.fits] == [("thop", (3, 224, 285))]
    for size in ((224, 224), (3, 0, 224)):
        with pytest.raises(UsageError):
            zoo.count_flops("resnest50d", input_size=size)
    with pytest.raises(UsageError, match="depth is 0"):
        zoo.count_flops("resnest50d", depth=0)


# --- publishing ---------------------------------------------------------------------------------------------------


def test_a_verified_model_is_published_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    to = f"folder:{tmp_path / 'release'}"
    with pytest.raises(Refused, match="is not verified"):
        zoo.publish(DIGITS, to=to)
    report = zoo.verify(DIGITS)
    shown = zoo.publish(DIGITS, to=to, dry_run=True)
    assert shown.kind == "shown" and "model.safetensors" in shown.changed_paths and not (tmp_path / "release").exists()
    published = zoo.publish(DIGITS, to=to)
    assert (published.kind, published.location) == ("published", str(tmp_path / "release"))
    assert zoo.publish(DIGITS, to=to).kind == "unchanged"
    assert zoo.check_published(DIGITS, to=to).exit_code == 0
    assert zoo.publish(DIGITS, to=f"folder:{tmp_path / 'other'}", report=report).kind == "published"
    with (tmp_path / "release" / "config.json").open("a") as config:
        config.write(" ")
    assert zoo.check_published(DIGITS, to=to).exit_code == 1


def test_a_request_to_publish_that_is_not_valid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a valid destination"):
        zoo.publish(DIGITS, to="somewhere")
    with pytest.raises(UsageError, match="go together"):
        zoo.publish(DIGITS, to="hf:org/repo", allow="accuracy")
    with pytest.raises(UsageError, match="only for the Hub"):
        zoo.publish(DIGITS, to=f"folder:{tmp_path}", private=True)
    with pytest.raises(UsageError, match="not a valid destination"):
        zoo.check_published(to="somewhere")


def test_all_models_are_checked_when_none_is_named(tmp_path: Path) -> None:
    report = zoo.check_published(to=f"folder:{tmp_path}")
    assert {item.model for item in report.findings} == set(zoo.list_models()) and report.exit_code == 1

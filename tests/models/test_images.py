"""An image of any mode becomes 8-bit RGB in one place, for the public preprocessing and for data sets."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from zoo.accuracy.datasets import DamagedImage
from zoo.accuracy.datasets.folder import read_image
from zoo.accuracy.datasets.hf import Rows
from zoo.errors import UsageError
from zoo.models.build import make_transform
from zoo.models.images import to_rgb
from zoo.registry.card import Input

GREY = numpy.tile(numpy.arange(256, dtype=numpy.uint8), (4, 1))


def gradient(mode: str) -> Image.Image:
    """Black to white, in each mode."""
    if mode.startswith("I;16"):
        byte_order = ">u2" if mode == "I;16B" else "<u2"
        return Image.frombytes(mode, (256, 4), (GREY.astype(numpy.uint16) * 257).astype(byte_order).tobytes())
    if mode in ("La", "RGBa"):
        return Image.fromarray(GREY).convert(mode.upper()).convert(mode)
    if mode == "CMYK":  # all ink in black, as converters of grey images do
        return Image.merge("CMYK", [Image.new("L", (256, 4))] * 3 + [Image.fromarray(255 - GREY)])
    return Image.fromarray(GREY).convert(mode)


@pytest.mark.parametrize(
    "mode", ["L", "LA", "La", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "P", "PA", "YCbCr", "I;16", "I;16L", "I;16B"]
)
def test_grey_values_of_every_mode_are_kept(mode: str) -> None:
    converted = to_rgb(gradient(mode))
    assert converted.mode == "RGB"
    values = numpy.asarray(converted).astype(int)
    assert numpy.abs(values - GREY[..., None]).max() <= (1 if mode == "YCbCr" else 0)


def test_black_and_white_is_kept() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert [to_rgb(image).getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]


def test_16_bits_are_rounded_to_the_nearest_of_8() -> None:
    values = numpy.array([[0, 128, 129, 385, 386, 65535]], dtype=numpy.uint16)
    assert numpy.asarray(to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 1, 1, 2, 255]


def test_colours_of_a_palette_are_kept() -> None:
    image = Image.new("RGB", (2, 2), (10, 200, 30)).quantize(4)
    assert image.mode == "P" and to_rgb(image).getpixel((1, 1)) == (10, 200, 30)


def test_an_image_in_rgb_is_not_copied() -> None:
    image = Image.new("RGB", (2, 2))
    assert to_rgb(image) is image


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_fixed_range_are_refused(mode: str) -> None:
    with pytest.raises(UsageError, match=f"an image of mode {mode} has no fixed range of values"):
        to_rgb(Image.new(mode, (2, 2)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "CMYK", "P", "I;16"])
def test_the_preprocessing_takes_every_mode_also_in_another_process(mode: str) -> None:
    transform = pickle.loads(pickle.dumps(make_transform(Input(None, size=(3, 4, 4)))))  # type: ignore[arg-type]  # no card
    image = gradient(mode)
    pixels = transform(image)
    assert pixels.shape == (3, 4, 4) and torch.equal(pixels, transform(to_rgb(image)))


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG"), ("L", "JPEG")]
)
def test_data_sets_read_what_the_preprocessing_makes_of_an_image(mode: str, kind: str, tmp_path: Path) -> None:
    path, buffer = tmp_path / "image", io.BytesIO()
    gradient(mode).save(buffer, kind)
    path.write_bytes(buffer.getvalue())
    with Image.open(path) as stored:
        expected = to_rgb(stored)
    rows = Rows(path, (0, len(buffer.getvalue())), ((0,),), "")
    for image in (read_image(path), rows.decode(0, rows.read(0))):
        assert (image.mode, image.tobytes()) == ("RGB", expected.tobytes())


def test_an_image_that_has_no_fixed_range_is_damaged_as_a_part_of_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    Image.new("F", (2, 2)).save(path)
    rows = Rows(path, (0, path.stat().st_size), ((0,),), "")
    with pytest.raises(
        DamagedImage, match="the image 0 cannot be decoded: an image of mode F has no fixed range"
    ) as raised:
        rows.decode(0, rows.read(0))
    assert "\n" not in raised.value.what and raised.value.where == str(path)

"""Convert an image of any mode to 8-bit RGB, as models and data sets take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


STEP_16_BIT = 257
"""65,535 / 255: the brightest value of 16 bits is the brightest one of 8 bits."""


def to_rgb(image: Image) -> Image:
    """Return the image with 8-bit red, green and blue; one that has mode RGB is returned as it is.

    A transparency is dropped, not blended, as Pillow's convert does and so timm's and torchvision's readers. 16-bit grey
    is scaled, which convert does not: it makes every value above 255 white (Pillow 13.0). Raises UsageError for modes
    whose values have no fixed range (I and F).
    """
    if image.mode == "RGB":
        return image
    if image.mode in ("I", "F"):
        hint = "scale the values to 0 to 255 and convert the image to mode L"
        raise UsageError(f"an image of mode {image.mode} has no fixed range of values", hint=hint)
    if image.mode.startswith("I;16"):
        return _to_8_bit(image).convert("RGB")
    if image.mode == "La":  # Pillow converts premultiplied grey to LA only
        image = image.convert("LA")
    return image.convert("RGB")


def _to_8_bit(image: Image) -> Image:
    import numpy
    from PIL import Image as Images

    values = numpy.asarray(image).astype(numpy.uint32)
    return Images.fromarray(((values + STEP_16_BIT // 2) // STEP_16_BIT).astype(numpy.uint8))

"""Reading images and the size of pictures."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tag2mask.artifacts.labels import PICTURE_DAMAGE
from tag2mask.artifacts.names import HEIC_SUFFIXES
from tag2mask.core import UserError

if TYPE_CHECKING:
    from torch import Tensor

AnyImage: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor"
"""What `to_rgb` takes."""

_ORIENTATION = 0x0112
_ORIENTATION_PLACES = {"exif", "xmp", "XML:com.adobe.xmp"}
"""Where Pillow notes what may hold the orientation; asking for it decodes a PNG that has none of them."""
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image of any mode to RGB uint8 (H, W, 3), upright by its EXIF orientation.

    Of animations and files of several pages it is the first picture.

    Raises:
        UserError: the file is missing, cannot be decoded, or has more than 8 bits for a value.
    """
    try:
        with _open(path) as image:
            return _upright(image, path)
    except PICTURE_DAMAGE as error:
        raise _unreadable(path, error) from None


def to_rgb(image: AnyImage) -> npt.NDArray[np.uint8]:
    """An image from a file or from memory as RGB uint8 (H, W, 3).

    Args:
        image: a path, a PIL image of any mode, a uint8 array (H, W, 3) or a uint8 tensor (3, H, W).
            Files and PIL images are turned upright by their EXIF orientation.

    Raises:
        UserError: a file is missing or cannot be decoded, or an image has more than 8 bits.
        ValueError: an array or tensor has another shape or type, or no pixels.
        TypeError: it is something else, such as several images.
    """
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        if path.is_dir() or not path.exists():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise UserError(f"{path} {what}: give the path of an image file")
        return read_rgb(path)
    if isinstance(image, Image.Image):
        return _upright(image, "the image")
    if isinstance(image, np.ndarray):
        _require_form("an array", image, (*image.shape[:2], 3), "(H, W, 3)")
        return image
    if not hasattr(image, "cpu"):
        raise TypeError(
            f"an image is a path, a PIL image, an array or a tensor, got {type(image).__name__}: give images "
            "one at a time, and open files in memory with PIL.Image.open"
        )
    _require_form("a tensor", image, (3, *image.shape[1:3]), "(3, H, W)")
    return np.ascontiguousarray(np.asarray(image.detach().cpu()).transpose(1, 2, 0))


def _require_form(what: str, image: npt.NDArray[Any] | Tensor, shape: tuple[int, ...], axes: str) -> None:
    """Refuse an array or tensor of another shape or type, in the words that NumPy and torch share."""
    kind = str(image.dtype).removeprefix("torch.")
    if kind != "uint8" or len(shape) != 3 or tuple(image.shape) != shape or 0 in shape:
        raise ValueError(f"{what} must be uint8 {axes} and not empty, got {kind} {tuple(image.shape)}")


def read_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture after its EXIF orientation, from the header; finds cut-off files too.

    Raises:
        UserError: the file is missing, is no picture, or ends too early.
    """
    return _read_header(path)[0]


def check_image(path: Path) -> tuple[int, int]:
    """`read_size` of an image; also refuses one whose values `read_rgb` cannot read."""
    size, mode = _read_header(path)
    _require_8_bits(path, mode)
    return size


def check_mask(path: Path) -> tuple[int, int]:
    """`read_size` of a mask; also refuses one whose values cannot be class ids.

    Raises:
        UserError: as `read_size`, or the mask has colours, one bit or more than eight bits.
    """
    size, mode = _read_header(path)
    if mode not in ("P", "L"):
        what = (
            "colours" if mode.startswith(("RGB", "CMYK", "YCbCr", "LA", "PA")) else f"values of type {mode}"
        )
        raise UserError(
            f"{path} has {what}, not class ids: a mask is a palette or 8-bit gray PNG whose values are ids "
            "(0 background, 1 the first class, ..., 255 not scored); convert the masks, or set masks: null"
        )
    return size


def require_same_size(
    path: Path, size: tuple[int, int], image: Path, image_size: tuple[int, int] | None = None
) -> None:
    """A `UserError` that names both files unless both (H, W) are equal."""
    wanted = image_size or read_size(image)
    if size != wanted:
        raise UserError(
            f"{path} is {size[1]}x{size[0]} but its image {image} is {wanted[1]}x{wanted[0]}: "
            "a mask must have its image's size; replace one of them"
        )


def _read_header(path: Path) -> tuple[tuple[int, int], str]:
    """(H, W) after the EXIF orientation, and Pillow's mode."""
    try:
        with _open(path) as image:
            mode = image.mode
            width, height = image.size
            if not _ends_well(path, image.format):
                image.load()
            told = image.info.keys() & _ORIENTATION_PLACES
            turned = bool(told) and image.getexif().get(_ORIENTATION, 1) >= 5
    except PICTURE_DAMAGE as error:
        raise _unreadable(path, error) from None
    return ((width, height) if turned else (height, width)), mode


def _open(path: Path) -> Image.Image:
    """Pillow's picture of a file.

    Raises:
        UserError: it is a HEIC image, and the package that reads them is not installed.
    """
    if path.suffix.lower() in HEIC_SUFFIXES and path.is_file() and not _reads_heic():
        raise UserError(
            f"{path} is a HEIC image: pip install 'tag2mask[heic]', which reads them, or save it as JPEG"
        )
    return Image.open(path)


@cache
def _reads_heic() -> bool:
    """Teach Pillow to read HEIC, where the package for it is installed."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _upright(image: Image.Image, name: Path | str) -> npt.NDArray[np.uint8]:
    _require_8_bits(name, image.mode)
    return np.array(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)


def _require_8_bits(name: Path | str, mode: str) -> None:
    """Nothing in a file says which of its 65,536 values (or which float) is white."""
    if mode == "F" or mode.startswith("I"):
        raise UserError(
            f"{name} has {'float' if mode == 'F' else '16-bit or 32-bit gray'} values, and it is not known "
            "which of them are black and white: convert the images to 8 bits"
        )


def _ends_well(path: Path, form: str | None) -> bool:
    """Whether the last bytes are those of a whole file (cheaper than decoding every image)."""
    end = _LAST_BYTES.get(form or "")
    if end is None:
        return True
    with path.open("rb") as stream:
        stream.seek(-min(len(end), path.stat().st_size), 2)
        return stream.read() == end


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist: check the data root and the list of the split")
    return UserError(f"{path} cannot be read as a picture ({error}): replace it or take it off the list")

"""A generated data set that has the problem of weak supervision: tags tell heads, bodies are shared."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from tag2mask.artifacts.drafts import draft_of
from tag2mask.artifacts.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from tag2mask.artifacts.labels import save_labels
from tag2mask.core import ClassList, UserError
from tag2mask.data.shapes_draw import NAMES, draw_scene
from tag2mask.data.voc import VOC

_MARKER = "shapes.json"
_VERSION = 1
_SPLITS = ("train", "val")


class Shapes(VOC):
    """Creatures on textured grounds, written in VOC's layout on first use and then read as VOC.

    Two kinds of fox share one body and two kinds of fish another; a small mark on the head tells the
    class. So class activation maps find heads, and refinement has bodies to grow into.

    Args:
        root: folder to write to and read from; made on first use.
        train: number of training images.
        val: number of validation images.
        size: (height, width) of the images in pixels, at least 48 each.
        seed: the same numbers give the same images.
        difficulty: 0..1, see `draw_scene`.
    """

    known: ClassVar[ClassList] = ClassList.from_names(NAMES)

    def __init__(
        self,
        root: str,
        train: int = 240,
        val: int = 60,
        size: tuple[int, int] = (96, 128),
        seed: int = 0,
        difficulty: float = 0.5,
    ) -> None:
        super().__init__(root, classes=NAMES)
        if train < 1 or val < 1 or min(size) < 48 or not 0 <= difficulty <= 1:
            raise UserError(
                f"shapes need train and val >= 1, both sides >= 48 pixels and difficulty in 0..1; got "
                f"train {train}, val {val}, size {tuple(size)}, difficulty {difficulty}"
            )
        self._counts = {"train": train, "val": val}
        self._args: dict[str, Any] = {
            "train": train, "val": val, "size": list(size), "seed": seed, "difficulty": difficulty
        }  # fmt: skip

    def _init_args(self) -> dict[str, Any]:
        return {"root": str(self.root.absolute()), **self._args}

    def make(self) -> bool:
        """Write the data set unless it lies there already.

        Returns:
            whether anything was written.

        Raises:
            UserError: the folder holds something else, or shapes made with other arguments.
        """
        if self._is_made():
            return False
        try:
            with draft_of(self.root) as draft:
                self._write(draft)
                draft.rename(self.root)
        except OSError:
            # Another process of the same run may have been first: its folder is as good.
            if not self._is_made():
                raise
            return False
        return True

    def _require_root(self) -> None:
        self.make()

    def _is_made(self) -> bool:
        """Whether the root holds just this data set; a `UserError` if it holds something else."""
        if not self.root.exists() or (self.root.is_dir() and not any(self.root.iterdir())):
            return False
        try:
            found = json.loads((self.root / _MARKER).read_text("utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{self.root} holds other files than the generated shapes (no {_MARKER}): give another folder"
            ) from None
        wanted = {"version": _VERSION, **self._args}
        if found != wanted:
            differ = {k: v for k, v in wanted.items() if not isinstance(found, dict) or found.get(k) != v}
            raise UserError(
                f"{self.root} holds shapes that were not made with {differ} (see {self.root / _MARKER}): "
                "give another folder or the same arguments, or remove it"
            )
        return True

    def _write(self, folder: Path) -> None:
        rows = ["image,labels"]
        for split_number, split in enumerate(_SPLITS):
            ids = [f"{split}_{number:05d}" for number in range(self._counts[split])]
            for number, image_id in enumerate(ids):
                # A generator per image: more images leave the earlier ones as they are.
                rng = np.random.default_rng([self._args["seed"], split_number, number])
                rows.append(f"{image_id}.jpg,{self._write_image(folder, image_id, number, rng)}")
            atomic_write_text(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(ids) + "\n")
        atomic_write_text(folder / "image_labels.csv", "\n".join(rows) + "\n")
        atomic_write_json(folder / _MARKER, {"version": _VERSION, **self._args})

    def _write_image(self, folder: Path, image_id: str, number: int, rng: np.random.Generator) -> str:
        """Write an image and its mask; return its tags."""
        kinds = _draw_kinds(number, rng)
        height, width = self._args["size"]
        image, mask = draw_scene(kinds, (height, width), self._args["difficulty"], rng)
        stream = BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=92)
        atomic_write_bytes(folder / "JPEGImages" / f"{image_id}.jpg", stream.getvalue())
        save_labels(folder / "SegmentationClass" / f"{image_id}.png", mask)
        return " ".join(NAMES[k] for k in sorted(kinds))


def _draw_kinds(number: int, rng: np.random.Generator) -> list[int]:
    """One to three different classes; the first goes round, so that all are equally frequent."""
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.37, 0.13]))
    first = number % len(NAMES)
    others = [int(k) for k in rng.permutation(len(NAMES)) if k != first]
    return [first, *others[: count - 1]]

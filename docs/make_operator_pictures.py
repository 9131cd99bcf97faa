"""One picture per operator for docs/operators.md, made of a run of the demo.

    python docs/make_operator_pictures.py runs/demo --image train_00020 --out docs/operators

Needs the run's data set, class activation maps and AffinityNet: `make demo` makes them all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from tag2mask import ops
from tag2mask.artifacts import load_maps, read_manifest
from tag2mask.core import ClassList, ScoreMaps
from tag2mask.data.command import dataset_from_config
from tag2mask.modules import load_checkpoint
from tag2mask.report.pictures import RGB, heat_picture, label_picture, resize_labels, resize_map

SIDE, GAP, TITLE = 200, 6, 16
Tiles = list[tuple[str, RGB]]


@dataclass
class Scene:
    """One image of a run, and what the run knows of it."""

    run: Path
    image_id: str

    @cached_property
    def image(self) -> RGB:
        """(H, W, 3) RGB."""
        plain = json.loads((self.run / "run.json").read_text(encoding="utf-8"))
        return dataset_from_config(plain["data"], plain["data_root"]).read_image(self.image_id)

    @cached_property
    def channels_first(self) -> RGB:
        """(3, H, W), as the operators take it."""
        return np.ascontiguousarray(self.image.transpose(2, 0, 1))

    @cached_property
    def classes(self) -> ClassList:
        """The classes of the run."""
        manifest = read_manifest(self.run / "cam")
        assert manifest is not None, f"no step in {self.run / 'cam'}"
        return manifest.class_list()

    @cached_property
    def stored(self) -> ScoreMaps:
        """The class activation maps."""
        return load_maps(self.run / "cam" / "out", self.image_id, self.classes)

    @cached_property
    def ids(self) -> npt.NDArray[np.uint8]:
        """Mask ids of background and of each map."""
        return self.classes.to_ids(np.array([0, *self.stored.classes], np.uint8))

    @cached_property
    def cams(self) -> npt.NDArray[np.float32]:
        """The maps at image size, (K, H, W) in 0..1."""
        return np.stack([resize_map(m, self.image.shape[:2]) for m in self.stored.maps])

    @cached_property
    def graph(self) -> ops.AffinityGraph:
        """The AffinityNet's graph of the image."""
        network = load_checkpoint(next((self.run / "affinity" / "checkpoints").glob("*.ckpt"))).eval()
        with torch.inference_mode():
            features = network(torch.from_numpy(self.channels_first)[None])[0]
        return ops.affinity_graph(features)

    def scores(self, level: float) -> npt.NDArray[np.float32]:
        """Background (CAM level) and class maps at image size."""
        cams = torch.from_numpy(self.cams)
        background = ops.background_score(cams, ops.alpha_for_level(level))
        return torch.cat([background[None], cams]).numpy()

    def heat(self, values: npt.NDArray[np.float32]) -> RGB:
        """A map of any size over the image."""
        return heat_picture(self.image, resize_map(np.asarray(values, np.float32), self.image.shape[:2]))

    def labels(self, scores: npt.NDArray[np.float32]) -> RGB:
        """The best class of each pixel over the image; scores have the background first."""
        return label_picture(self.image, resize_labels(self.ids[scores.argmax(0)], self.image.shape[:2]))


def multi_scale_cam(scene: Scene) -> Tiles:
    """The maps of the run's classifier."""
    return [("image", scene.image), *((f"CAM, class {i}", scene.heat(m)) for i, m in _maps(scene))]


def background_score(scene: Scene) -> Tiles:
    """Low and high backgrounds."""
    return [(f"background, level {v}", scene.heat(scene.scores(v)[0])) for v in (0.15, 0.3, 0.45)]


def affinity_graph(scene: Scene) -> Tiles:
    """A walk of growing length."""
    start = scene.scores(0.08)
    small = np.stack([resize_map(m, scene.graph.size) for m in start])
    maps = torch.from_numpy(small)
    walked = {t: ops.random_walk(scene.graph, maps, beta=8.0, steps=t).numpy() for t in (8, 32)}
    return [
        ("before", scene.heat(start[1])),
        *((f"walk, t = {t}", scene.heat(m[1] / m[1].max())) for t, m in walked.items()),
        ("labels, t = 32", scene.labels(walked[32])),
    ]


def dense_crf(scene: Scene) -> Tiles:
    """Labels before and after."""
    scores = scene.scores(0.3)
    return [
        ("labels before", scene.labels(scores)),
        ("CRF_CAM", scene.labels(ops.dense_crf(scene.channels_first, scores, ops.CRF_CAM))),
        ("CRF_DEEPLAB", scene.labels(ops.dense_crf(scene.channels_first, scores, ops.CRF_DEEPLAB))),
    ]


def affinity_labels(scene: Scene) -> Tiles:
    """Sure foreground, sure background, and what both make."""
    strict, loose = (scene.scores(level).argmax(0) for level in (0.45, 0.15))
    ids = scene.ids
    both = np.asarray(ops.affinity_labels(ids[strict], ids[loose]), np.uint8)
    names = ("sure foreground", "sure background", "affinity labels")
    return [
        (n, label_picture(scene.image, m))
        for n, m in zip(names, (ids[strict], ids[loose], both), strict=True)
    ]


def guided_filter(scene: Scene) -> Tiles:
    """A map before and after."""
    guide = scene.image.astype(np.float64).mean(2) / 255
    out = {n: ops.guided_filter(guide, scene.cams, window=35, iterations=n) for n in (1, 15)}
    after = ((f"{n} x filtered", scene.heat(np.clip(m[0], 0, 1))) for n, m in out.items())
    return [("CAM", scene.heat(scene.cams[0])), *after]


def otsu_threshold(scene: Scene) -> Tiles:
    """A map and what lies above its threshold."""
    cam = scene.cams[0]
    threshold = ops.otsu_threshold(cam)
    ids = np.where(cam > threshold, scene.ids[1], 0).astype(np.uint8)
    return [("CAM", scene.heat(cam)), (f"above {threshold:.2f}", label_picture(scene.image, ids))]


def felzenszwalb(scene: Scene) -> Tiles:
    """Superpixels in their mean colours."""
    tiles: Tiles = [("image", scene.image)]
    for scale in (50, 200):
        labels = ops.felzenszwalb(scene.channels_first, scale=scale, sigma=0.8, min_size=20)
        tiles.append((f"scale {scale}: {labels.max() + 1} regions", _mean_colours(scene.image, labels)))
    return tiles


def spatial_propagation(scene: Scene) -> Tiles:
    """What reaches each pixel from the left and from above, weakened at edges of the image."""
    height, width = scene.image.shape[:2]
    gray = torch.from_numpy(scene.image.astype(np.float32).mean(2) / 255)
    gates = _edge_gates(gray)
    with torch.inference_mode():
        x = torch.from_numpy(scene.cams[:1])[None]
        spread = ops.spatial_propagation(x, gates, floor=1.0)[0, :, 0].numpy()
    ways = ("left to right", "right to left", "top down", "bottom up")
    assert spread.shape == (4, height, width)
    return [
        ("CAM", scene.heat(scene.cams[0])),
        *((w, scene.heat(m)) for w, m in zip(ways, spread, strict=True)),
    ]


PICTURES: list[Callable[[Scene], Tiles]] = [
    multi_scale_cam, background_score, affinity_graph, dense_crf, affinity_labels,
    guided_filter, otsu_threshold, felzenszwalb, spatial_propagation,
]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Draw them all."""
    parser = argparse.ArgumentParser(description="One picture per operator, made of a run of the demo.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--image", default="train_00020", help="id of a train image of the run")
    parser.add_argument("--out", type=Path, default=Path("docs/operators"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    scene = Scene(args.run, args.image)
    for draw in PICTURES:
        _strip(draw(scene)).save(args.out / f"{draw.__name__}.png", optimize=True)
    print(f"{len(PICTURES)} pictures in {args.out}")
    return 0


def _maps(scene: Scene) -> list[tuple[int, npt.NDArray[np.float32]]]:
    return list(zip(scene.ids[1:].tolist(), scene.cams, strict=True))


def _edge_gates(gray: torch.Tensor) -> torch.Tensor:
    """(1, 4, 3, 1, H, W): three equal neighbours, the less the stronger the edge."""
    down = torch.nn.functional.pad((gray[1:] - gray[:-1]).abs(), (0, 0, 1, 0))
    right = torch.nn.functional.pad((gray[:, 1:] - gray[:, :-1]).abs(), (1, 0))
    weight = 0.3 * torch.exp(-12 * torch.maximum(down, right))
    return weight.expand(1, 4, 3, 1, *gray.shape).contiguous()


def _mean_colours(image: RGB, labels: npt.NDArray[np.integer]) -> RGB:
    count = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), image[..., c].ravel()) for c in range(3)]
    return (np.stack(sums, -1) / count[:, None])[labels].astype(np.uint8)


def _strip(tiles: Tiles) -> Image.Image:
    height = round(SIDE * tiles[0][1].shape[0] / tiles[0][1].shape[1])
    sheet = Image.new("RGB", (len(tiles) * (SIDE + GAP), height + TITLE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (caption, tile) in enumerate(tiles):
        pen.text((i * (SIDE + GAP), 0), caption, fill="black", font=font)
        picture = Image.fromarray(np.ascontiguousarray(tile)).resize((SIDE, height), Image.Resampling.LANCZOS)
        sheet.paste(picture, (i * (SIDE + GAP), TITLE))
    return sheet


if __name__ == "__main__":
    raise SystemExit(main())

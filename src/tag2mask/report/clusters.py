"""Contact sheets of sub-categories: what k-means has put together, class by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from PIL import Image, ImageOps

from tag2mask.artifacts import load_sub_labels, safe_join
from tag2mask.core import UserError
from tag2mask.data import ImageSet
from tag2mask.report.pictures import RGB, data_uri
from tag2mask.report.runs import Run, Step

KIND = "sub_labels"
SIDE, ACROSS = 72, 8
"""Side of an image in pixels, and images shown of each sub-category."""


def cluster_section(runs: Sequence[Run]) -> str:
    """HTML with one sheet per class of every round, the last one unfolded; "" where no run has any."""
    sheets = []
    for run in runs:
        steps = [step for step in run.steps if step.manifest.kind == KIND]
        title = f"{run.name}: " if len(runs) > 1 else ""
        sheets += [_round(title, step, last=step is steps[-1]) for step in steps]
    if not sheets:
        return ""
    text = f"One row for each sub-category, with its first {ACROSS} images at most."
    return f"<section><h2>Sub-categories</h2><p>{text}</p>{''.join(sheets)}</section>"


def _round(title: str, step: Step, last: bool) -> str:
    unfolded = " open" if last else ""
    return (
        f"<details{unfolded}><summary>{escape(title + step.name)}</summary>"
        f'<div class="sheets">{"".join(_figures(step))}</div></details>'
    )


def _figures(step: Step) -> Iterator[str]:
    try:
        dataset = ImageSet.from_description(step.manifest.data)
        groups = _groups(step)
        for mask_id, name in zip(dataset.classes.ids, dataset.classes.names, strict=True):
            if mask_id in groups:
                yield _figure(dataset, name, groups[mask_id])
    except UserError as error:
        yield f'<div class="problem">{escape(str(error))}</div>'


def _groups(step: Step) -> dict[int, dict[int, list[str]]]:
    """Mask id -> number of the sub-category -> its images, in the order of the split."""
    groups: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image_id in step.manifest.image_ids:
        clusters = load_sub_labels(safe_join(step.folder / "out", f"{image_id}.json"))
        for mask_id, number in clusters.items():
            groups[mask_id][number].append(image_id)
    return groups


def _figure(dataset: ImageSet, name: str, clusters: dict[int, list[str]]) -> str:
    ordered = [clusters[number] for number in sorted(clusters)]
    rows = [_row([dataset.read_image(i) for i in members[:ACROSS]]) for members in ordered]
    sizes = ", ".join(str(len(members)) for members in ordered)
    caption = escape(f"{name}: {len(ordered)} sub-categories of {sizes} images")
    return (
        f'<figure><img src="{data_uri(np.concatenate(rows))}" alt="{caption}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _row(images: Sequence[RGB]) -> RGB:
    row = np.full((SIDE + 2, ACROSS * (SIDE + 2), 3), 255, np.uint8)
    for at, image in enumerate(images):
        square = ImageOps.fit(Image.fromarray(image), (SIDE, SIDE))
        row[:SIDE, at * (SIDE + 2) : at * (SIDE + 2) + SIDE] = np.asarray(square)
    return row

"""What is exported: the network of a run, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask import __version__
from tag2mask.api.segmenter import checkpoint_file
from tag2mask.artifacts import Manifest, read_manifest, sha256_file, voc_palette
from tag2mask.artifacts.manifest import MANIFEST_NAME
from tag2mask.core import ClassList, UserError, unknown_name


@dataclass(frozen=True)
class Source:
    """A checkpoint, and the folders that it lies in.

    Attributes:
        checkpoint: the ``.ckpt`` file.
        run: the run folder; None for a checkpoint outside of one.
        manifest: of the step that trained the network; None outside a step's folder.
    """

    checkpoint: Path
    run: Path | None
    manifest: Manifest | None


def find_source(given: Path, step: str | None) -> Source:
    """The network to export.

    Args:
        given: a run folder, the folder of a step, or a ``.ckpt`` file.
        step: name of the step in a run folder; None takes the segmentation step.

    Raises:
        UserError: there is no such step, or it holds no trained segmentation network.
    """
    checkpoint = checkpoint_file(given if step is None else _step_folder(given, step))
    folder = checkpoint.resolve().parent.parent
    manifest = read_manifest(folder)
    return Source(checkpoint, None if manifest is None else folder.parent, manifest)


def _step_folder(run: Path, step: str) -> Path:
    steps = sorted(path.parent.name for path in run.glob(f"*/{MANIFEST_NAME}"))
    if not steps:
        raise UserError(f"{run} is not a run folder, so it has no step {step}: leave out --step")
    if step not in steps:
        raise unknown_name("step", step, steps)
    return run / step


def facts(source: Source, classes: ClassList) -> dict[str, Any]:
    """What travels with the files, in plain values.

    Args:
        source: the network.
        classes: its classes.

    Returns:
        the classes in the order of the scores, each with index, name, mask id and colour; which recipe and
        step made the network; its checkpoint's SHA-256; and what goes in and comes out.
    """
    palette = voc_palette()
    made = source.manifest
    pairs = enumerate(zip(classes.all_names, classes.all_ids, strict=True))
    return {
        "classes": [
            {"index": i, "name": name, "id": mask_id, "colour": palette[mask_id].tolist()}
            for i, (name, mask_id) in pairs
        ],
        "recipe": made.recipe if made else "",
        "step": made.step if made else "",
        "checkpoint_sha256": sha256_file(source.checkpoint),
        "tag2mask_version": __version__,
        "image": "uint8 (1, 3, height, width), RGB in 0..255, height and width of 32 or more",
        "scores": "float32 (1, classes, height, width), probabilities",
        "labels": "uint8 (1, height, width), index of the most probable class",
    }

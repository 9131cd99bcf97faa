# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From tags to masks, step by step
#
# The recipe `psa` on the generated data set, and then its refinements by hand: what the pipeline does
# between a class activation map (CAM) and a pseudo-label, and how to try another setting without a new run.
#
# Run it from the root of the repository. After `make demo` nothing is trained again; otherwise the first
# cell takes some minutes on two CPU cores.

# %%
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tag2mask import cli
from tag2mask.artifacts import load_labels, load_maps, read_manifest
from tag2mask.data import ImageSet
from tag2mask.metrics import Confusion
from tag2mask.modules import Background, DenseCRF
from tag2mask.modules.chain import label_map, refine
from tag2mask.modules.refinements import ImageView
from tag2mask.report.pictures import heat_picture, label_picture, resize_map

BUDGET = "demo"
RUN = Path("runs") / BUDGET

code = cli.main(["run", "psa", "--data", "shapes", "--budget", BUDGET, "--run-dir", str(RUN)])
assert code == 0

# %% [markdown]
# Every step is a folder with a `manifest.json` (what it was made of) and one small file per image.

# %%
manifest = read_manifest(RUN / "cam")
images = ImageSet.from_description(manifest.data)
image_id = next(i for i in manifest.image_ids if len(images.tag_names(i)) == 2)
image, mask = images.read_image(image_id), images.read_mask(image_id)
print(image_id, "shows", " and ".join(images.tag_names(image_id)))


# %%
def row(*pictures: np.ndarray) -> Image.Image:
    """Pictures of one height beside each other."""
    return Image.fromarray(np.concatenate([np.asarray(p) for p in pictures], axis=1))


cam = load_maps(RUN / "cam" / "out", image_id, images.classes)
row(image, *(heat_picture(image, resize_map(m, image.shape[:2])) for m in cam.maps))

# %% [markdown]
# ## From the map to labels
#
# A CAM has no background. `Background` adds one: where all maps are low, background wins. Its level is
# the score at which the two tie. A dense CRF then follows the colours of the image.

# %%
pixels = ImageView(torch.from_numpy(image).permute(2, 0, 1))
thresholded = refine(cam, pixels, [Background(level=0.15)])
after_crf = refine(thresholded, pixels, [DenseCRF(params="cam")])
row(*(label_picture(image, images.classes.to_ids(label_map(s))) for s in (thresholded, after_crf)))

# %% [markdown]
# The random walk does more: affinities that stage 2 has learned carry the scores of the telling part of an
# object over its body. These are the pipeline's own results: walk, pseudo-label, truth.

# %%
walk = load_maps(RUN / "walk" / "out", image_id, images.classes)
walked = images.classes.to_ids(label_map(walk))
pseudo_label = load_labels(RUN / "pseudo_label" / "out" / f"{image_id}.png")
truth = images.classes.to_ids(mask)
row(*(label_picture(image, labels) for labels in (walked, pseudo_label, truth)))

# %% [markdown]
# ## Which level?
#
# One confusion matrix over the data set gives one mIoU per setting. Masks only score here: nothing is trained
# with them, and a level that is chosen this way must be reported as chosen with masks.


# %%
def miou(level: float) -> float:
    """mIoU of the thresholded maps over all train images."""
    confusion = Confusion(len(images.classes.names) + 1)
    for name in manifest.image_ids:
        stored = load_maps(RUN / "cam" / "out", name, images.classes)
        view = ImageView(torch.zeros(3, *stored.image_size))
        labels = label_map(refine(stored, view, [Background(level=level)]))
        confusion.update(labels, images.read_mask(name))
    return float(confusion.compute())


for level in (0.1, 0.15, 0.2, 0.3):
    print(f"level {level}: mIoU {100 * miou(level):.1f}")

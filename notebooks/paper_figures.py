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
# # Figures for a paper
#
# Rows of image, CAM, walk, pseudo-label, prediction and truth, and the curve of background thresholds, as
# PDF (with TrueType fonts, as publishers want it) and as PNG with 300 dots per inch. Run it from the root
# of the repository, after `make demo`; with another `RUN` it draws yours.

# %%
from pathlib import Path

import tag2mask
from tag2mask.report import read_runs
from tag2mask.report.figures import COLUMN, as_picture, figure_row, rows_figure, save_figure, threshold_figure

RUN, OUT = Path("runs/demo"), Path("runs/figures")
if not RUN.exists():
    tag2mask.run("psa", RUN, data="shapes", budget="demo")
(run,) = read_runs([RUN])

# %% [markdown]
# ## Rows
#
# Maps and labels exist for the images of train, predictions for those of val. The network labels the chosen
# train images here, so say in the caption that these are images it was trained on. A CAM shows the highest
# map at each pixel. Choosing the images by hand is what a reader will not forgive: these are the first, the
# middle and the last of the images, in the order of their mIoU after the pseudo-label (without masks, in
# the order of their names).

# %%
scores = run.step("pseudo_label").image_scores
ranked = sorted(scores, key=scores.get) or run.step("pseudo_label").manifest.image_ids
chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
segment = tag2mask.load(RUN)
rows = rows_figure([figure_row(run, image_id, segment=segment) for image_id in chosen])
print(*save_figure(rows, OUT / "rows"))
as_picture(rows)

# %% [markdown]
# ## Threshold
#
# The dot is the threshold that was set beforehand. The highest point of the curve was found with the masks:
# a paper that gives it has to say so. Without masks there is no curve.

# %%
curve = threshold_figure([run], width=COLUMN) if scores else None
print(*(save_figure(curve, OUT / "thresholds") if curve else ["no masks"]))
as_picture(curve) if curve else None

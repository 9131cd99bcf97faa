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
# # Comparing recipes
#
# Two runs beside each other: `psa` on the generated data set, and its ablation without the random walk. Any
# two runs on the same images do, if there are masks to score them with; `tag2mask report RUN RUN` shows the
# same as a page, also without masks. Run it from the root of the repository, after `make demo`: the second
# run takes the classifier of the first one over and trains stage 3 anew, which takes some minutes.

# %%
from pathlib import Path

import tag2mask
from tag2mask.core.tables import NOTHING
from tag2mask.report import read_runs, score_table
from tag2mask.report.confusion import mistakes
from tag2mask.report.figures import PAGE, as_picture, class_figure, confusion_figure, figure_row, rows_figure
from tag2mask.report.settings import difference_table

FIRST, SECOND = Path("runs/demo"), Path("runs/demo-no-walk")
if not FIRST.exists():
    tag2mask.run("psa", FIRST, data="shapes", budget="demo")
if not SECOND.exists():
    tag2mask.run("psa:no_walk", SECOND, data="shapes", budget="demo", reuse=[FIRST])

# %% [markdown]
# ## Scores
#
# One confusion matrix over all images gives the mIoU of a step. With one seed, small differences mean
# nothing: make runs with `seed=1` and `seed=2` as well before you believe one.

# %%
first, second = runs = read_runs([FIRST, SECOND])
print(score_table(runs).text())

# %% [markdown]
# The steps of each, and settings in which steps that both have differ.

# %%
for run in runs:
    print(f"{run.name}: {', '.join(step.name for step in run.steps)}")
for name, mine, other in difference_table(runs).rows:
    if NOTHING not in (mine, other):
        print(f"{name}: {mine} | {other}")

# %% [markdown]
# ## Classes

# %%
as_picture(class_figure(runs, "segmentation", width=5))

# %% [markdown]
# ## Confusion
#
# Of the pixels of a true class (rows), the percentage that was given each class (columns).

# %%
as_picture(confusion_figure(first, "segmentation"))

# %%
for run in runs:
    for mistake in mistakes(run.step("segmentation"))[:3]:
        print(
            f"{run.name}: {mistake.true} taken for {mistake.given}: {100 * mistake.share:.1f} % of its pixels"
        )

# %% [markdown]
# ## Worst images
#
# The images of val with the lowest mIoU in the first run, and what the second one makes of them. A mean
# hides that two runs may fail on different images.

# %%
scores, others = (run.step("segmentation").image_scores for run in runs)
worst = sorted(scores, key=scores.get)[:4]
for image_id in worst:
    print(f"{image_id}: {100 * scores[image_id]:.1f} and {100 * others[image_id]:.1f}")
rows = []
for image_id in worst:
    image, mine, truth = figure_row(first, image_id, {"segmentation": first.name})
    rows.append([image, mine, figure_row(second, image_id, {"segmentation": second.name})[1], truth])
as_picture(rows_figure(rows, width=0.6 * PAGE))

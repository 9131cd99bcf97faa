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
# # Your own images, from a table of tags to a model elsewhere
#
# Images in a folder and a table of what they show are all that is needed. This notebook takes `my_photos`
# if it is there, and else makes 40 images of coloured shapes, so that it can be tried at once. Run it from
# the root of the repository. Training takes some minutes on two CPU cores, the first time only.

# %%
import json
import shutil
from pathlib import Path

import onnxruntime

import tag2mask
from tag2mask import cli
from tag2mask.artifacts.names import IMAGE_SUFFIXES
from tag2mask.data import Shapes
from tag2mask.data.images import to_rgb
from tag2mask.report import alarm_table, read_runs
from tag2mask.report.figures import as_picture, figure_row, rows_figure
from tag2mask.report.panels import Panel, label_panel

PHOTOS, RUN, BUDGET = Path("my_photos"), Path("runs/mine"), "demo"

if not PHOTOS.exists():
    shapes = Shapes(str(PHOTOS / "made"), train=40, val=1, size=(112, 112))
    shapes.make()
    (PHOTOS / "images").mkdir()
    rows = ["image,labels"]
    for image_id in shapes.ids("train"):
        file = shapes.image_path(image_id)
        file.rename(PHOTOS / "images" / file.name)
        rows.append(f"{file.name},{';'.join(shapes.tag_names(image_id))}")
    (PHOTOS / "labels.csv").write_text("\n".join(rows) + "\n")
    shutil.rmtree(PHOTOS / "made")
print(*(PHOTOS / "labels.csv").read_text().splitlines()[:4], sep="\n")

# %% [markdown]
# The check reads every image and lists everything that is wrong or doubtful at once.

# %%
assert cli.main(["data", "check", "--data", "table", "--data-root", str(PHOTOS)]) == 0

# %% [markdown]
# ## Maps and labels
#
# Stage 1 trains a classifier and keeps its class activation maps, stage 2 makes pseudo-labels of them. For
# real images take `budget="small"`, which starts from ImageNet weights.

# %%
options = {"data": "table", "data_root": PHOTOS}
if not (RUN / "run.json").exists():
    options["budget"] = BUDGET  # a run that is there, such as that of README, keeps its own
chosen = RUN / "tune" / "settings.yaml"
if not chosen.exists():
    tag2mask.run("psa", RUN, stage=[1, 2], **options)

# %% [markdown]
# ## Settings without masks
#
# Nobody has drawn a mask of these images, so no score says which background level is best. `tag2mask tune`
# compares settings by what can be seen without: whether the classifier still finds the tag inside the label
# and no longer outside, and whether outlines follow edges. `runs/mine/tune/tune.html` shows the pictures:
# look at them, and keep the settings of the run if you like those better.

# %%
if not chosen.exists():
    assert cli.main(["tune", str(RUN), "--images", "8"]) == 0
tuned = json.loads((RUN / "tune" / "tune.json").read_text())
for trial in tuned["trials"]:
    signals = ", ".join(f"{name} {100 * value:.0f}" for name, value in trial["signals"].items())
    print(f"{trial['name']:<31} {signals}")
print("chosen:", tuned["chosen"])

# %% [markdown]
# ## The network
#
# The labels are made again with the chosen settings, and stage 3 learns from them. Alarms in what it prints
# say where a result is of little use.

# %%
done = tag2mask.run("psa", RUN, settings=chosen, **options)

# %%
(run,) = read_runs([RUN])
for alarm in alarm_table([run]).rows:
    print(*alarm, sep=": ")
as_picture(rows_figure([figure_row(run, image_id) for image_id in run.step("cam").manifest.image_ids[:3]]))

# %% [markdown]
# Look at them before you go on. 40 images are few for a network without pretrained weights: where a map is
# flat, its label covers the ground as well, and neither signals nor alarms see every such label.

# %%
segment = tag2mask.load(RUN)
files = [f for f in sorted((PHOTOS / "images").rglob("*")) if f.suffix.lower() in IMAGE_SUFFIXES][:3]


def prediction(file: Path) -> list[Panel]:
    """An image and what the network sees in it; it does not know the tags."""
    image = to_rgb(file)
    return [Panel("photo", image), label_panel("prediction", image, segment.classes.to_ids(segment(image)))]


as_picture(rows_figure([prediction(file) for file in files], width=2.4))

# %% [markdown]
# ## Elsewhere
#
# `tag2mask export` writes ONNX with the preprocessing inside, so that a program needs nothing but
# onnxruntime. It compares the file with the checkpoint before it keeps it.

# %%
assert cli.main(["export", str(RUN), "--format", "onnx", "--out", str(RUN / "export")]) == 0

# %%
session = onnxruntime.InferenceSession(RUN / "export" / "model.onnx")
facts = json.loads(session.get_modelmeta().custom_metadata_map["tag2mask"])
image = to_rgb(files[0])
scores, labels = session.run(["scores", "labels"], {"image": image.transpose(2, 0, 1)[None]})
for entry in facts["classes"]:
    print(f"{entry['name']}: {100 * (labels == entry['index']).mean():.1f} % of the image")
same = (labels[0] == segment(image)).mean()
print(f"the same label as in PyTorch: {100 * same:.2f} % of the pixels")

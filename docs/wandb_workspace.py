"""Saves a view for the runs of tag2mask in a project of Weights & Biases (docs/wandb.md).

    pip install wandb-workspaces
    python docs/wandb_workspace.py ENTITY [PROJECT]

It shows losses and validation of every training, scores of every step, IoU per class, images with masks,
time and memory. Saving needs an account; the view stays in the project, for the runs that come later, too.
"""

import argparse

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

SCORES = ["score/miou", "score/best_miou", "score/precision", "score/coverage"]
SECONDS = ["cost/fit_seconds", "cost/predict_seconds"]
MEMORY = ["cost/fit_peak_memory_mb", "cost/predict_peak_memory_mb"]


def workspace(entity: str, project: str) -> ws.Workspace:
    """The view, not saved yet.

    Args:
        entity: user or team that the project belongs to.
        project: the project of the runs.
    """
    sections = {
        "Scores": [
            *(wr.BarPlot(title=name, metrics=[name]) for name in SCORES),
            wr.WeavePanelSummaryTable(table_name="classes"),
        ],
        "Images": [wr.MediaBrowser(title="labels and truth", media_keys=["images"], num_columns=4)],
        "Training": [
            wr.LinePlot(title="loss", y=["train/loss"]),
            wr.LinePlot(title="classifier", y=["val/mAP"]),
            wr.LinePlot(title="segmentation", y=["val/miou"]),
            wr.LinePlot(title="images per second", y=["speed/images_per_s"]),
        ],
        "Costs": [
            wr.BarPlot(title="seconds", metrics=SECONDS),
            wr.BarPlot(title="peak memory (MB)", metrics=MEMORY),
        ],
    }
    found = [ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()]
    return ws.Workspace(entity=entity, project=project, name="tag2mask", sections=found)


def main() -> None:
    """Save the view, and print its address."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("entity", help="user or team that the project belongs to")
    parser.add_argument("project", nargs="?", default="tag2mask")
    options = parser.parse_args()
    print(workspace(options.entity, options.project).save().url)


if __name__ == "__main__":
    main()

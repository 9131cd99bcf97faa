"""The page of a comparison: the signals of each trial, and labels side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tag2mask.core.html_pages import page_templates
from tag2mask.core.tables import Table, percent
from tag2mask.data import ImageSet
from tag2mask.report.pictures import RGB, data_uri, label_picture, legend, resize_labels, shrink
from tag2mask.tune.chain import Chain, Trial
from tag2mask.tune.choice import CLEAR, DECIDING, Gain
from tag2mask.tune.compare import SIGNALS, Comparison
from tag2mask.tune.signals import Labels

SHOWN, SIDE = 8, 240
"""Images on the page, and the longer side of a picture in pixels."""


@dataclass
class Pictures:
    """The labels of the first images that every trial has made."""

    labels: dict[str, dict[str, Labels]] = field(default_factory=dict)

    def keep(self, trial: Trial, image_id: str, labels: Labels) -> None:
        """Keep the labels of an image, if the page shows it."""
        if image_id in self.labels or len(self.labels) < SHOWN:
            self.labels.setdefault(image_id, {})[trial.name] = labels


@dataclass(frozen=True)
class Row:
    """The pictures of an image: caption and ``data:`` address."""

    image_id: str
    tags: str
    pictures: list[tuple[str, str]]


def signal_table(found: Comparison, what: str = "settings") -> Table:
    """The signals of each trial and what it gains; a mark at what was chosen.

    Args:
        found: the trials and their signals.
        what: what differs between them.
    """
    rows = [
        [
            f"{'> ' if number == found.chosen else ''}{trial.name}",
            *(percent(signals[name]) for name in SIGNALS),
            _gain_text(gained),
        ]
        for number, (trial, signals, gained) in enumerate(
            zip(found.trials, found.signals, found.gains, strict=True)
        )
    ]
    note = (
        f"Means over {len(found.images)} images, in percent. > is chosen. gain: of the mean of "
        f"{' and '.join(DECIDING)} over what was there before, ± its standard error. The smallest change is "
        f"chosen that no other setting is better than by more than {CLEAR:g} standard errors."
    )
    return Table([what, *SIGNALS, "gain"], rows, what.capitalize(), note)


def _gain_text(gained: Gain | None) -> str:
    if gained is None:
        return ""
    error = f"{100 * gained.error:.1f}" if math.isfinite(gained.error) else "?"
    return f"{100 * gained.mean:+.1f} ± {error}"


def build_page(
    chain: Chain, found: Comparison, pictures: Pictures, command: str, what: str = "settings"
) -> str:
    """One self-contained HTML page without scripts; every text in it is escaped.

    Args:
        chain: what was tried on.
        found: the trials and their signals.
        pictures: labels to show.
        command: what the reader types to go on with what was chosen.
        what: what differs between the trials.
    """
    run = chain.labels.folder.parent.resolve().name
    return (
        page_templates("tag2mask.tune")
        .get_template("tune.html")
        .render(
            title=f"{what.capitalize()} of {run}, chosen without masks",
            next=command,
            legend=legend([chain.maps.manifest.class_list()]),
            signals=signal_table(found, what),
            chosen=found.trials[found.chosen].name,
            rows=list(_rows(chain, found, pictures)),
        )
    )


def _rows(chain: Chain, found: Comparison, pictures: Pictures) -> Iterator[Row]:
    dataset = ImageSet.from_description(chain.maps.manifest.data, origin=chain.maps.folder)
    for image_id, labels in pictures.labels.items():
        image = shrink(dataset.read_image(image_id), SIDE)
        shown = [(name, _picture(image, dataset.classes.to_ids(labels[name]))) for name in _names(found)]
        yield Row(image_id, ", ".join(dataset.tag_names(image_id)), [("image", data_uri(image)), *shown])


def _names(found: Comparison) -> list[str]:
    """What the run has, what is chosen, and the other trials of the first stage, which differ most."""
    numbers = [0, found.chosen, *found.stages[0]] if found.stages else [0]
    return [found.trials[number].name for number in dict.fromkeys(numbers)]


def _picture(image: RGB, ids: Labels) -> str:
    return data_uri(label_picture(image, resize_labels(np.asarray(ids), (image.shape[0], image.shape[1]))))

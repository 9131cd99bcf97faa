"""How a run made its labels: the refinements between its maps and its labels; and who may change them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.artifacts.manifest import Manifest
from tag2mask.artifacts.run_folder import read_configuration, read_manifests
from tag2mask.core.errors import UserError
from tag2mask.core.layers import value_at
from tag2mask.core.plugins import is_trusted

Links = dict[str, list[dict[str, Any]]]
"""Step -> its refinements, as in its settings."""

_GENERATOR = "PseudoLabelGenerator"


@dataclass(frozen=True)
class LabelChain:
    """How a run makes its labels.

    Attributes:
        links: the refinements of each step, in order.
        maps: the step whose maps the chain begins with; a classifier in most recipes.
        labels: the step that leaves the labels.
        affinity: name of the step that trained the AffinityNet, "" without a walk.
        network: class of the network that the step `maps` trained, which can judge labels; "" for none.
    """

    links: Links
    maps: Path
    labels: Path
    affinity: str
    network: str

    def require_tunable(self) -> None:
        """Refuse a chain whose settings `tag2mask tune` cannot compare.

        Raises:
            UserError: no classifier made the maps, or it or a refinement is of no registered package.
        """
        if not self.network:
            raise UserError(
                f"the labels in {self.labels} come from {self.maps}, no classifier: settings are compared "
                "for recipes that make labels from class activation maps, as psa and sc_cam do"
            )
        links = [link for links in self.links.values() for link in links]
        for class_path in (self.network, *(str(link["class_path"]) for link in links)):
            require_registered(class_path)


def require_registered(class_path: str) -> None:
    """Refuse to build an object of a class that a file names, unless its package registered itself.

    Raises:
        UserError: it did not.
    """
    if not is_trusted(class_path.rpartition(".")[0]):
        raise UserError(f"{class_path} belongs to no package that registered itself: it is not imported")


def is_tunable(run_dir: str | Path) -> bool:
    """Whether `tag2mask tune` works on a run as far as it has come."""
    try:
        read_label_chain(run_dir).require_tunable()
    except UserError:
        return False
    return True


def read_label_chain(run_dir: str | Path) -> LabelChain:
    """The chain of a finished run, from the configurations that its steps have left.

    Raises:
        UserError: the run has no labels that were made from maps by refinements.
    """
    run, manifests = Path(run_dir), read_manifests(run_dir)
    name = _last_labels(run, manifests)
    if name is None:
        raise UserError(
            f"{run_dir} has no finished labels made by refinements of maps, as psa's pseudo_label: run "
            "stage 2 of such a recipe first"
        )
    labels, links, affinity = run / name, Links(), ""
    while _is_generated(run / name):
        arguments = _arguments(run / name, "model")
        links = {name: arguments.get("refinements") or [], **links}
        affinity = affinity or Path(arguments.get("affinity_from") or "").name
        name = _input(run / name, manifests)
    network = _class(run / name) if "fit" in manifests[name].commands else ""
    return LabelChain(links, run / name, labels, affinity, network)


def _last_labels(run: Path, manifests: Mapping[str, Manifest]) -> str | None:
    made = [name for name, manifest in manifests.items() if manifest.kind == "labels" and manifest.complete]
    # the first labels are those to train on; there may be others, of val, that are only scored
    of_split: Iterator[str] = (n for n in reversed(made) if manifests[n].split == manifests[made[0]].split)
    return next((name for name in of_split if _is_generated(run / name)), None)


def _is_generated(step: Path) -> bool:
    return _class(step).endswith(f".{_GENERATOR}")


def _class(step: Path) -> str:
    return str(value_at(read_configuration(step), "model.class_path", ""))


def _arguments(step: Path, part: str) -> dict[str, Any]:
    arguments = value_at(read_configuration(step), f"{part}.init_args")
    return arguments if isinstance(arguments, dict) else {}


def _input(step: Path, manifests: Mapping[str, Manifest]) -> str:
    name = Path(str(_arguments(step, "data").get("maps_dir") or "")).name
    if name not in manifests or not manifests[name].complete:
        raise UserError(f"{step} was made from {name or 'maps'}, which {step.parent} does not have")
    return name

"""Compares the labels of runs that were trained with other schedules, on the same images."""

from __future__ import annotations

from collections.abc import Mapping

from tag2mask.core import UserError, spread
from tag2mask.modules import Classifier
from tag2mask.tune.bench import Bench, Seen, tagged_images
from tag2mask.tune.chain import Chain
from tag2mask.tune.choice import choose
from tag2mask.tune.compare import Comparison


def compare_runs(chains: Mapping[str, Chain], images: int, seen: Seen = lambda *_: None) -> Comparison:
    """Judge the labels of some runs, and choose; the first run's stay unless others are clearly better.

    The first run's classifier is asked about all labels: probabilities of two networks cannot be compared.

    Args:
        chains: how each run makes its labels, by the name to show.
        images: how many of the tagged images that all of them have to look at.
        seen: gets all labels.

    Raises:
        UserError: the runs have other classes or no image in common, or one lacks a network or a map.
    """
    ids = spread(_common_images(chains), images)
    found = Comparison(images=ids)
    witness: Classifier | None = None
    for name, chain in chains.items():
        bench = Bench(chain, ids, seen, witness)
        witness = bench.witness
        trial = chain.trial(name)
        found.add(trial, bench.judge(trial))
    found.stages = [list(range(len(chains)))]
    found.chosen = choose(found.rows, [min(number, 1) for number in found.stages[0]])
    return found


def _common_images(chains: Mapping[str, Chain]) -> list[str]:
    (name, first), *others = chains.items()
    ids = tagged_images(first)
    for other, chain in others:
        if chain.maps.manifest.class_list() != first.maps.manifest.class_list():
            raise UserError(f"{other} has other classes than {name}: compare runs on the same data set")
        known = set(chain.maps.manifest.image_ids)
        ids = [image_id for image_id in ids if image_id in known]
        if not ids:
            raise UserError(f"{other} has none of the images of {name}: compare runs on the same data set")
    return ids

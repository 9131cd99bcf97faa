"""What is broken, how, and which commands meet it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fuzz import damage
from tests.fuzz.damage import ANY, Damage
from tests.fuzz.world import World

Words = Callable[[World, Path], list[str]]


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        kind: its name in the tally.
        files: pattern below the world's root.
        ways: how it may be broken.
        commands: the commands that read it; ``OUT`` in their words is a fresh folder.
        share: how often it is drawn.
        also: words of a message that tell the cause as well as the file's name does.
    """

    kind: str
    files: str
    ways: tuple[Damage, ...]
    commands: tuple[str, ...]
    share: int = 1
    also: tuple[str, ...] = ()


CHECK_XML = "data check --data ROOT/voc.yaml"
CHECK_CSV = "data check --data ROOT/table.yaml"
DRY = "run psa --run-dir ROOT/run --dry-run"
REPORT = "report ROOT/run --out OUT/report.html"
PREDICT = "predict ROOT/voc/JPEGImages --checkpoint ROOT/run --out OUT/predicted --device cpu"
SCORE = "score ROOT/run/pseudo_label/out ROOT/voc/SegmentationClass --missing skip"
IMPORT = "data import ROOT/voc --out OUT/imported --mask-value 8=cat --mask-value 12=dog --annotations"
DRAW = "data import ROOT/voc --out OUT/imported --annotations ROOT/voc/coco.json --draw-masks"
SHOW = "recipes show psa --budget tiny"
NEW = "run psa --data ROOT/table.yaml --run-dir OUT/new --dry-run --budget tiny"


def step(name: str) -> str:
    """Scores a step."""
    return f"score-step ROOT/run/{name}"


CLASS_GONE = ("--mask-value",)
"""The option that names the class of a mask's value is wrong where the tags have lost the class."""
PAGES = (damage.yaml_value,) * 5 + (damage.yaml_text,) * 3 + (damage.latin, *ANY)
JSONS = (damage.json_value,) * 6 + (damage.json_deep, damage.latin, *ANY)

TARGETS = (
    Target("images", "voc/JPEGImages/p*.jpg", (damage.picture, damage.bomb, *ANY),
           (f"{CHECK_XML} --decode", PREDICT, CHECK_CSV, REPORT), 3),
    Target("masks", "voc/SegmentationClass/p*.png", (damage.picture, damage.picture, damage.bomb, *ANY),
           (CHECK_XML, SCORE, step("cam"), step("pseudo_label"), f"{IMPORT} ROOT/voc/coco.json"), 2),
    Target("CSV", "voc/labels.csv", (*(damage.csv_cells,) * 6, damage.latin, *ANY),
           (CHECK_CSV, f"{IMPORT} ROOT/voc/labels.csv"), 3, CLASS_GONE),
    Target("JSON", "voc/tags.json", JSONS, (f"{IMPORT} ROOT/voc/tags.json",), 2, CLASS_GONE),
    Target("JSON of COCO", "voc/coco.json", JSONS,
           (f"{IMPORT} ROOT/voc/coco.json", DRAW), 2, CLASS_GONE),
    Target("XML", "voc/Annotations/p*.xml", (*(damage.xml_text,) * 4, damage.latin, *ANY),
           (CHECK_XML, f"{IMPORT} ROOT/voc/Annotations"), 2, CLASS_GONE),
    Target("cls_labels.npy", "voc/cls_labels.npy", (*(damage.tag_dictionary,) * 5, *ANY),
           (f"{CHECK_XML} --tags ROOT/voc/cls_labels.npy",), 1),
    Target("lists", "voc/ImageSets/Segmentation/*.txt", (*(damage.list_lines,) * 5, damage.latin, *ANY),
           (CHECK_XML, f"{SCORE} --split ROOT/voc/ImageSets/Segmentation/train.txt", step("cam")), 2,
           ("run/pseudo_label/out/",)),
    Target("data configurations", "table.yaml", PAGES, (CHECK_CSV, NEW), 2,
           ("ROOT/voc/", "ROOT/../", "ROOT/'")),
    Target("pages", "conf/recipes/psa.yaml", PAGES, (SHOW, NEW), 3),
    Target("pages", "conf/steps/*.yaml", PAGES, (SHOW, NEW), 2),
    Target("pages", "conf/budgets/tiny.yaml", PAGES, (SHOW, NEW), 1),
    Target("pages", "conf/backbones/test_resnet.yaml", PAGES, (SHOW, NEW), 1),
    Target("manifests", "run/cam/manifest.json", JSONS, (DRY, REPORT, step("cam")), 2),
    Target("manifests", "run/segmentation/manifest.json", JSONS,
           (DRY, REPORT, step("segmentation"), PREDICT), 2),
    Target("run.json", "run/run.json", JSONS, (DRY, REPORT), 2),
    Target("notes of steps", "run/*/inputs.json", JSONS, (DRY,), 2),
    Target("notes of steps", "run/*/sources.json", JSONS, (DRY,), 1),
    Target("scores", "run/*/score.json", JSONS, (REPORT,), 2),
    Target("scores", "run/*/image_scores.json", JSONS, (REPORT,), 1),
    Target("scorecards", "run/scorecard.json", JSONS, (REPORT,), 1),
    Target("metrics", "run/cam/metrics.json", JSONS, (REPORT, step("cam")), 1),
    Target("saved configurations", "run/cam/fit.yaml", PAGES, (REPORT,), 1),
    Target("checkpoints", "run/segmentation/checkpoints/last.ckpt", (*(damage.checkpoint,) * 6, *ANY),
           (PREDICT,), 3),
    Target("label files", "run/pseudo_label/out/p*.png", (*(damage.picture,) * 3, damage.bomb, *ANY),
           (step("pseudo_label"), SCORE, REPORT), 2),
    Target("label files", "run/affinity_labels/out/*/p*.png", (*(damage.picture,) * 3, damage.bomb, *ANY),
           (step("affinity_labels"), REPORT), 1),
    Target("maps", "run/cam/out/p*.npz", (*(damage.arrays,) * 6, damage.zipped, *ANY), (step("cam"), REPORT),
    3),
    Target("features", "run/features/out/p*.npy", (*(damage.vector,) * 3, *ANY), ("features",), 1),
    Target("sub-labels", "run/sub_labels/out/p*.json", JSONS, ("sub-labels", REPORT), 1),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One broken file and the command that reads it.

    Attributes:
        number: its place in the series.
        target: the kind of input.
        way: how it is broken.
        pick: draws the file.
        command: what is started.
    """

    number: int
    target: Target
    way: Damage
    pick: int
    command: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.number}: {self.target.kind}, {self.way.__name__}: {self.command}"


def chosen_targets(kinds: Sequence[str] = ()) -> list[Target]:
    """The targets of some kinds; of all if none is named."""
    return [target for target in TARGETS if not kinds or target.kind in kinds]


def draw_cases(seed: int, count: int, kinds: Sequence[str] = ()) -> Iterator[Case]:
    """A series of cases that a seed determines; every kind comes in turn, as often as its share."""
    rng = np.random.default_rng(seed)
    deck = [target for target in chosen_targets(kinds) for _ in range(target.share)]
    for number in range(count):
        target = deck[number % len(deck)]
        way = target.ways[int(rng.integers(len(target.ways)))]
        command = target.commands[int(rng.integers(len(target.commands)))]
        yield Case(number, target, way, int(rng.integers(1 << 30)), command)

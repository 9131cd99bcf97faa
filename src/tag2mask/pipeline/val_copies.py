"""The steps of a recipe once more on val: the same networks and settings, nothing is trained."""

from __future__ import annotations

from dataclasses import replace

from tag2mask.artifacts import find_kind
from tag2mask.core.errors import UserError
from tag2mask.core.layers import Setting
from tag2mask.core.library import Library
from tag2mask.core.python_source import split_path
from tag2mask.core.signatures import signature_of
from tag2mask.pipeline.resolve import Choice, resolve
from tag2mask.pipeline.steps import NETWORK_FROM, Recipe, Section, Step

SPLIT = "val"
SUFFIX = f"_{SPLIT}"
"""Behind the name of a step, that of its copy."""
_RESULTS = "_dir"
"""At the end of an option whose folder holds something for each image."""
_SETTINGS = ("predict_split", "split")
"""What data modules call the split that they predict."""


def with_val_copies(library: Library, recipe: Recipe) -> Recipe:
    """A recipe and, behind its steps, copies of those that leave maps or labels, for val.

    A copy predicts with the network that its step has trained, and reads the copies of what its step reads
    where there are some. Its maps and labels know the tags of the images, as those of train do.

    Args:
        library: the configurations.
        recipe: the recipe or a variant.

    Raises:
        UserError: a copy would have the name of another step, or its data module predicts one split only.
    """
    copied = {step.name: step.name + SUFFIX for step in recipe.steps if _is_copied(step)}
    copies = [_copy(library, recipe, step, copied) for step in recipe.steps if step.name in copied]
    printed = {f"{name}{SUFFIX}": miou for name, miou in (recipe.paper.get("val") or {}).items()}
    targets = {**(recipe.paper.get("targets") or {}), **printed}
    return replace(recipe, steps=(*recipe.steps, *copies), paper={**recipe.paper, "targets": targets})


def _is_copied(step: Step) -> bool:
    kind = find_kind(step.kind)
    return "predict" in step.commands and (kind.scored_as in ("maps", "labels") or kind.name == "superpixels")


def _copy(library: Library, recipe: Recipe, step: Step, copied: dict[str, str]) -> Step:
    name = copied[step.name]
    if name in {other.name for other in recipe.steps}:
        raise UserError(f"{recipe.label} has a step {name} of its own: leave --val-labels out")
    inputs = {
        option: copied.get(source, source) if option.endswith(_RESULTS) else source
        for option, source in step.inputs.items()
    }
    network = {NETWORK_FROM: step.name} if step.trains else {}
    setting = f"data.init_args.{_split_setting(library, step)}"
    split = {setting: Setting(SPLIT, "--val-labels")}
    return replace(
        step,
        name=name,
        commands=("predict",),
        inputs=inputs | network,
        sections=(*step.sections, Section("variant", "", split)),
        copy_of=step.name,
        split_setting=setting,
    )


def _split_setting(library: Library, step: Step) -> str:
    class_path = str(resolve(library, step, Choice()).get("data.class_path", Setting("", "")).value)
    signature = signature_of(*split_path(class_path))
    found = [name for name in _SETTINGS if signature is not None and name in signature.arguments]
    if not found:
        raise UserError(
            f"--val-labels: the data module {class_path} of step {step.name} has no argument "
            f"{' or '.join(_SETTINGS)}, so it cannot be asked for val; leave --val-labels out"
        )
    return found[0]

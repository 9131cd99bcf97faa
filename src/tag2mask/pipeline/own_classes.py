"""Classes of other packages are imported before anything starts, in a process of their own."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

from tag2mask.core.errors import UserError
from tag2mask.core.layers import Setting, flatten
from tag2mask.core.python_source import split_path
from tag2mask.pipeline.arguments import with_items
from tag2mask.pipeline.options import class_names, option_settings
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.prepared import Prepared
from tag2mask.pipeline.process import require_ends_well
from tag2mask.pipeline.tasks import list_tasks

COMMAND = "import-classes"
_IMPORTED_ANYWAY = ("tag2mask", "pytorch_lightning", "torch", "")
"""Packages without which no step would start; "" is that of a short name, which the step completes."""


def require_imports(prepared: Prepared, program: Sequence[str]) -> None:
    """Refuse a run in which a step that is to be made names a class that cannot be imported.

    The source of a class tells its settings, not whether what it imports is there. Classes of tag2mask are
    not looked at: the runner need not wait for torch.

    Args:
        prepared: the run.
        program: how ``tag2mask`` is called.

    Raises:
        UserError: with the file that names the class, and where its import fails.
    """
    if not any(_own_classes(plan) for plan in prepared.plans.values()):
        return
    plans = [task.plan for task in list_tasks(prepared) if task.commands]
    found = {name: origin for plan in plans for name, origin in _own_classes(plan).items()}
    if not found:
        return
    words = [word for named in found.items() for word in named]
    # behind --, because an origin may be an option: --cam.data.class_path
    require_ends_well(program, COMMAND, ["--", *words])


def _own_classes(plan: StepPlan) -> dict[str, str]:
    """Class -> where it is named, of those of other packages: in settings, options, and files of options."""
    settings = {path: Setting(v, plan.origins.get(path, "")) for path, v in flatten(plan.settings)}
    return {
        class_path: setting.origin or path
        for named, given in [*settings.items(), *option_settings(plan.options)]
        for path, setting in with_items({named: given})
        for class_path in class_names(path, setting.value)
        if class_path.partition(".")[0] not in _IMPORTED_ANYWAY
    }


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import-classes``, which the runner starts."""
    parser = commands.add_parser(COMMAND)
    parser.add_argument("words", nargs="+", metavar="CLASS ORIGIN")
    parser.set_defaults(handler=_import_classes)


def _import_classes(args: argparse.Namespace) -> int:
    for class_path, origin in zip(args.words[::2], args.words[1::2], strict=True):
        try:
            _import_class(class_path)
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{origin}: {class_path} cannot be imported: {type(error).__name__}: {error}"
                f"{_place(error)}; mend the module or install what it needs"
            ) from error
    return 0


def _import_class(class_path: str) -> None:
    module, name = split_path(class_path)
    if not module:
        return  # a short name, which the step completes
    try:
        getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        resolve_name(class_path)  # a class within a class


def _place(error: BaseException) -> str:
    """The line of the module on which an import ended; "" for what Python says itself."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_file()]
    own = [frame for frame in frames if frame.filename not in (__file__, sys.modules["importlib"].__file__)]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""

"""Where configuration files lie: the folder ``conf``, and those of packages that bring recipes."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tag2mask
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.layers import Layer, nest, overlay, value_at
from tag2mask.core.pages import Page, read_page
from tag2mask.core.plugins import import_plugins

FULL = "full"
"""The budget that every recipe has: the paper's own schedule."""

_YAML = (".yaml", ".yml")
_SHOWN = 40
"""Letters of a name that no file can have."""
_DATA_KEYS = ("base", "data", "model", "trainer")
_WHAT = {
    "recipes": "recipe",
    "steps": "kind of step",
    "budgets": "budget",
    "backbones": "backbone",
    "data": "data configuration",
    "logger": "logger configuration",
    "cluster": "cluster",
}
_HINTS = {
    "recipes": "List them with: tag2mask recipes",
    "data": "Or give the path of your own .yaml file.",
    "cluster": "Or give the path of your own .yaml file, made after conf/cluster/slurm.yaml.",
    "backbones": "For another one write NAME.yaml with `base: light` or own settings, and give its path.",
}


@dataclass(frozen=True)
class Library:
    """Folders of configurations, and the files in them by name.

    Attributes:
        folders: our own, then those of other packages.
    """

    folders: tuple[Path, ...]
    _pages: dict[Path, Page] = field(default_factory=dict, compare=False, repr=False)

    def names(self, part: str) -> list[str]:
        """Names of the files of a part: recipes, steps, budgets, backbones, data, logger or cluster."""
        return sorted({p.stem for folder in self.folders for p in (folder / part).glob("*.yaml")})

    def find(self, part: str, name: str, origin: str = "") -> Path:
        """The file of that name, or the file that `name` is the path of.

        Args:
            part: see `names`.
            name: a name, or a path that ends in ``.yaml``.
            origin: file and line that name it, for the message.

        Raises:
            UserError: there is none, or two packages bring one.
        """
        asked_by = f"{origin}: " if origin else ""
        try:
            return self._find(part, name, asked_by)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise UserError(
                f"{asked_by}no {_WHAT[part]} has a name as long as {name[:_SHOWN]}...: a file cannot"
            ) from error

    def _find(self, part: str, name: str, asked_by: str) -> Path:
        if name.endswith(_YAML):
            if not Path(name).is_file():
                raise UserError(f"{asked_by}no file {name}: give the path of a {_WHAT[part]}, or a name")
            return Path(name).resolve()
        found = [p for folder in self.folders if (p := folder / part / f"{name}.yaml").is_file()]
        if not found:
            if part == "data" and (hint := _own_data_hint(name)):
                raise UserError(f"{asked_by}{hint}")
            error = unknown_name(_WHAT[part], name, self.names(part), _HINTS.get(part, ""))
            raise UserError(f"{asked_by}{error}")
        if len(found) > 1:
            raise UserError(f"two files are {part}/{name}: {found[0]} and {found[1]}; rename one")
        return found[0]

    def page(self, path: Path) -> Page:
        """The content of a file, read once."""
        if path not in self._pages:
            self._pages[path] = read_page(path)
        return self._pages[path]

    def chain(self, part: str, name: str, origin: str = "") -> list[Page]:
        """A file and the files that it is based on, the most general first.

        Raises:
            UserError: a base does not exist, or the bases form a circle.
        """
        pages: list[Page] = []
        while True:
            page = self.page(self.find(part, name, origin))
            if page in pages:
                names = " -> ".join(p.path.stem for p in [*reversed(pages), page])
                raise UserError(f"{origin}: the bases form a circle: {names}; remove one")
            pages.insert(0, page)
            base = page.plain.get("base")
            if base is None:
                return pages
            if not isinstance(base, str):
                raise UserError(f"{page.where('base')}: base must be the name of a {_WHAT[part]}")
            name = str(page.path.parent / base) if base.endswith(_YAML) else base
            origin = page.where("base")


def _own_data_hint(name: str) -> str:
    """What to write instead of a folder or a file of tags as the data set; "" for other names."""
    path = Path(name)
    if not name:
        return ""
    if path.is_dir() or path.suffix.lower() in (".csv", ".tsv", ".json"):
        folder = path if path.is_dir() else path.parent
        return (
            f"--data takes the name of a data set or a YAML file, not {name}: for your own images write "
            f"--data table --data-root {folder}, or let tag2mask data import {folder} write the YAML file"
        )
    return ""


def open_library() -> Library:
    """Our own configurations and those of the registered packages.

    Raises:
        UserError: there is no folder of configurations, or a registered package cannot be imported.
    """
    return Library((find_conf(), *_plugin_folders()))


def find_conf() -> Path:
    """The ``conf`` folder: ``$TAG2MASK_CONF``, the installed package's own, or the checkout's.

    Raises:
        UserError: there is none.
    """
    if given := os.environ.get("TAG2MASK_CONF"):
        if not (Path(given) / "recipes").is_dir():
            raise UserError(f"TAG2MASK_CONF is {given}, which has no folder 'recipes'; unset or correct it")
        return Path(given).resolve()
    package = Path(tag2mask.__file__).resolve().parent
    for folder in (package / "_conf", package.parent.parent / "conf"):
        if (folder / "recipes").is_dir():
            return folder
    raise UserError("no folder of configurations found; set TAG2MASK_CONF to the 'conf' folder of a checkout")


def _plugin_folders() -> list[Path]:
    packages = import_plugins().values()
    folders = [Path(str(package.__file__)).resolve().parent / "conf" for package in packages]
    return [folder for folder in folders if folder.is_dir()]


def data_settings(library: Library, data: str) -> Layer:
    """The settings of a data configuration and of those that it is based on.

    Args:
        library: where it is looked up.
        data: its name or path.

    Raises:
        UserError: there is none, or it has a key of another name than a part of the settings.
    """
    layers: list[Layer] = []
    for page in library.chain("data", data):
        for key in page.plain:
            if str(key).split(".")[0] not in _DATA_KEYS:
                raise UserError(f"{page.where(key)}: {unknown_name('key', key, _DATA_KEYS)}")
        layers.append(page.settings({key: part for key, part in page.plain.items() if key != "base"}, ""))
    return overlay(*layers)


def dataset_config(library: Library, data: str) -> dict[str, Any]:
    """``class_path`` and ``init_args`` of the data set that a data configuration names.

    Args:
        library: where it is looked up.
        data: its name or path.

    Raises:
        UserError: the file names none.
    """
    path = library.find("data", data)
    plain = value_at(nest(data_settings(library, data)), "data.init_args.dataset")
    if not isinstance(plain, Mapping) or not isinstance(plain.get("class_path"), str):
        raise UserError(f"{path} must set data.init_args.dataset.class_path; see conf/data for examples")
    arguments = plain.get("init_args") or {}
    if not isinstance(arguments, Mapping):
        raise UserError(f"{path}: data.init_args.dataset.init_args must be a mapping, got {arguments!r}")
    return {"class_path": plain["class_path"], "init_args": dict(arguments)}

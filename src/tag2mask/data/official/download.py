"""Downloads of the data sets of the papers, by torchvision's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.core import UserError

_COCO = "http://images.cocodataset.org"


@dataclass(frozen=True)
class Archive:
    """One file to download and unpack.

    Attributes:
        url: where it lies.
        md5: its checksum; None where nobody has published one (a zip has checksums inside).
    """

    url: str
    md5: str | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    def marker(self, root: Path) -> Path:
        """A file in the folder that says that the archive was unpacked."""
        return root / f".{self.name}.unpacked"


def archives(name: str) -> list[Archive]:
    """The archives of a data set: voc, sbd or coco."""
    from torchvision.datasets.sbd import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    voc = DATASET_YEAR_DICT["2012"]
    return {
        "voc": [Archive(voc["url"], voc["md5"])],
        "sbd": [Archive(SBDataset.url, SBDataset.md5)],
        "coco": [
            Archive(f"{_COCO}/{part}.zip")
            for part in ("annotations/annotations_trainval2014", "zips/train2014", "zips/val2014")
        ],
    }[name]


def plan(wanted: Sequence[Archive], root: Path) -> list[str]:
    """A line for each archive: what is done about it."""
    lines = []
    for archive in wanted:
        done = (
            "unpacked already"
            if archive.marker(root).is_file()
            else f"to {root / archive.name}, unpacked there"
        )
        lines.append(f"{archive.url} (md5 {archive.md5 or 'not published'}): {done}")
    return lines


def download(wanted: Sequence[Archive], root: Path) -> None:
    """Download and unpack what is not there yet.

    An archive that lies in the folder already, with the right checksum, is not downloaded again.

    Raises:
        UserError: an archive cannot be downloaded, is damaged, or does not fit on the disk.
    """
    from torchvision.datasets.utils import download_and_extract_archive

    for archive in wanted:
        if archive.marker(root).is_file():
            continue
        try:
            download_and_extract_archive(archive.url, str(root), filename=archive.name, md5=archive.md5)
        except Exception as error:  # of the network, the disk and the archive, each with its own classes
            raise UserError(
                f"{archive.url} could not be downloaded to {root} ({error}): give the command again, or put "
                f"the file there by other means; an archive that is there is only unpacked"
            ) from error
        atomic_write_text(archive.marker(root), f"{archive.url}\n")

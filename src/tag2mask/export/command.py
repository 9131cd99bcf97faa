"""``tag2mask export``: the network of a run as files for other programs."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.artifacts import atomic_write_json, atomic_write_text, disk_trouble, read_json
from tag2mask.artifacts.drafts import draft_of
from tag2mask.artifacts.names import EXPORT_NAME
from tag2mask.core import UserError
from tag2mask.core.commands import add_command
from tag2mask.core.tables import Table

if TYPE_CHECKING:
    from tag2mask.export.source import Source
    from tag2mask.modules import SegmentationModel

TEXT = (
    "Write the segmentation network of a run as files for other programs, check that they give the same as\n"
    "the checkpoint, and write a model card. ONNX needs: pip install 'tag2mask[export]'"
)
EXAMPLES = """examples:
  tag2mask export runs/psa
  tag2mask export runs/psa --format onnx --out web/model
  tag2mask export runs/ial --step unary_1 --format safetensors"""

FORMATS = {
    "onnx": ("model.onnx", "ONNX, for onnxruntime and others; metadata names the classes and their colours"),
    "torch": ("model.pt2", "a program for torch.export.load, without code of tag2mask"),
    "safetensors": (
        EXPORT_NAME,
        "the weights; tag2mask.load and tag2mask predict --checkpoint read it",
    ),
}
RECORD_NAME, CARD_NAME = "export.json", "README.md"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export`` to the command line."""
    parser = add_command(commands, "export", "write a trained model as ONNX and other files", TEXT, EXAMPLES)
    parser.add_argument("run", type=Path, help="a run folder, the folder of a step, or a .ckpt file")
    parser.add_argument("--step", help="step of the run whose network is meant (default: the segmentation)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: export in the run folder)")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=list(FORMATS),
        dest="formats",
        help="files to write (default: all); other files of an earlier export are removed",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Export, check, and write the card.

    Raises:
        UserError: there is no such network, ONNX is not installed, the folder holds files of others, or a
            file differs from the checkpoint.
    """
    from tag2mask.api.segmenter import load
    from tag2mask.export.source import facts, find_source

    if "onnx" in args.formats:
        from tag2mask.export.onnx_file import require_onnx

        require_onnx()
    source = find_source(args.run, args.step)
    out = _out_folder(args.out, source)
    segment = load(source.checkpoint, device="cpu", max_side=None)
    known = facts(source, segment.classes)
    formats = [name for name in FORMATS if name in args.formats]
    with draft_of(out / "export") as aside:
        checks = _write(segment.model, formats, aside, known)
        _publish(out, aside, source, known, checks)
    print(checks.text())
    print(f"{', '.join(FORMATS[name][0] for name in formats)} and {CARD_NAME} (the model card) in {out}")
    return 0


def _out_folder(given: Path | None, source: Source) -> Path:
    """The folder to write to; what is there must be an earlier export."""
    if given is None and source.run is None:
        raise UserError(f"{source.checkpoint} lies in no run folder: say where to write to with --out")
    out = given if given is not None else Path(str(source.run)) / "export"
    own = read_json(out / RECORD_NAME) is not None
    for name in (CARD_NAME, *(file for file, _ in FORMATS.values())):
        if (out / name).exists() and not own:
            raise UserError(f"{out / name} is there already and is no earlier export: choose another --out")
    return out


def _write(model: SegmentationModel, formats: list[str], folder: Path, known: Mapping[str, Any]) -> Table:
    """Write the files into a folder, and compare each with the checkpoint."""
    from tag2mask.export import formats as writers
    from tag2mask.export.check import compare

    texts = {"tag2mask": json.dumps(known, ensure_ascii=False)}
    save = writers.savers(model, texts)
    rows = []
    for name in formats:
        file = FORMATS[name][0]
        print(f"writing {file} ...", flush=True)
        with _exporting(file, [other for other in FORMATS if other != name]):
            save[name](folder / file)
            agreements = compare(model, writers.RUNNERS[name](folder / file), file)
        for found in agreements:
            size = f"{found.size[0]} x {found.size[1]}"
            rows.append([file, size, f"{found.error:.1e}", f"{100 * found.equal:.2f} %"])
    note = "Beside the checkpoint, on made-up images: largest difference of a probability, equal labels."
    return Table(["file", "image", "scores differ by", "labels equal"], rows, note=note)


@contextlib.contextmanager
def _exporting(file: str, others: list[str]) -> Iterator[None]:
    """Turn what torch cannot trace into one message: its exporters raise errors of many kinds."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot write {file}: {disk_trouble(error)}") from error
    except Exception as error:
        why = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"{file} cannot be made of this network ({type(error).__name__}: {why}): leave this format out "
            f"with --format {' '.join(others)}; safetensors takes every network"
        ) from error


def _publish(out: Path, aside: Path, source: Source, known: Mapping[str, Any], checks: Table) -> None:
    """Move whole files to their places; those of an earlier export that are not made again go."""
    from tag2mask.export.card import model_card

    made = {file: what for file, what in FORMATS.values() if (aside / file).is_file()}
    card = model_card(source, known, made, checks)
    # before the files: without a record, the call after one that was stopped here would refuse them
    atomic_write_json(out / RECORD_NAME, {**known, "files": [], "checks": []})
    for file, _ in FORMATS.values():
        if file in made:
            shutil.move(aside / file, out / file)
        else:
            (out / file).unlink(missing_ok=True)
    atomic_write_json(
        out / RECORD_NAME, {**known, "files": list(made), "checks": [list(r) for r in checks.rows]}
    )
    atomic_write_text(out / CARD_NAME, card)

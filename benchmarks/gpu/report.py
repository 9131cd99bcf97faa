"""The results of all parts as one JSON file and one page of Markdown tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.record import Row
from tag2mask.core.tables import NOTHING, Table

Found = Mapping[str, Sequence[Row]]


def write(path: Path, about: Row, found: Found) -> None:
    """Write PATH.json and PATH.md anew; both are whole at every moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path.with_suffix(".json"), json.dumps({"machine": about, **found}, indent=1) + "\n")
    _replace(path.with_suffix(".md"), page(about, found))


def page(about: Row, found: Found) -> str:
    """The page."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{about['card']}, {about['processor']}, {about['cores']} cores, {versions}. Made by `make gpu`.",
        *_section("Tests on the card", _tests(found.get("tests", []))),
        *_section("Operators and losses", _operators(found.get("operators", []))),
        *_section("Images of a new size", _sizes(found.get("sizes", []))),
        *_section("Passes over whole images", _passes(found.get("sizes", []))),
        *_section("Steps of psa with ResNet38", _steps(found.get("throughput", []))),
        *_section("psa, small budget, 12 epochs of segmentation", _small(found.get("small_run", []))),
        *_section("Steps of the small budget", _steps(found.get("small_meter", []))),
        *_section("Parts", _parts(found)),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, text: str) -> list[str]:
    return ["", f"## {title}", "", text] if text else []


def _tests(rows: Sequence[Row]) -> str:
    tests = [row for row in rows if "test" in row]
    if not tests:
        return ""
    counts = Counter(row["outcome"] for row in tests)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    bad = [f"- {row['outcome']}: `{row['test']}`" for row in tests if row["outcome"] in ("failed", "error")]
    return "\n".join([summary, *(["", *bad] if bad else [])])


def _operators(rows: Sequence[Row]) -> str:
    copies = [row for row in rows if row.get("piece") == "copy"]
    pieces = [row for row in rows if "seconds" in row]
    failed = [f"- failed: {row['piece']}: {row['failed']}" for row in rows if "failed" in row]
    if not copies:
        return ""
    head = (
        "piece",
        "reference",
        "reference ms",
        "ours ms",
        "ratio",
        "MB moved",
        "of copy",
        "peak MB",
        "agreement",
    )
    body = [
        (
            row["piece"],
            row["reference"],
            f"{1e3 * row['reference_seconds']:.3g}",
            f"{1e3 * row['seconds']:.3g}",
            f"{row['ratio']:.3g}x",
            _number(row["moved_mb"], "{:.1f}"),
            _number(row["share_of_copy"], "{:.1%}"),
            f"{_number(row['reference_peak_mb'], '{:.0f}')} / {_number(row['peak_mb'], '{:.0f}')}",
            row["agreement"] + ("" if row["agrees"] else " **differs**"),
        )
        for row in pieces
    ]
    copy = f"Copying on the device moves {copies[0]['gb_per_second']:.0f} GB/s, read and written."
    return "\n".join([copy, "", Table(head, body).markdown(), *failed])


def _sizes(rows: Sequence[Row]) -> str:
    body = [
        (
            row["network"],
            row["precision"],
            "on" if row["cudnn"] else "off",
            f"{1e3 * row['first_seconds']:.0f}",
            f"{1e3 * row['seconds']:.0f}",
        )
        for row in rows
        if "network" in row
    ]
    head = "network", "precision", "cuDNN", "first image of a size, ms", "next one, ms"
    return Table(head, body).markdown() if body else ""


def _passes(rows: Sequence[Row]) -> str:
    body = [
        (
            row["pass"],
            "on" if row["cudnn"] else "off",
            f"{row['images']} of {row['of']}",
            str(row["sizes"]),
            f"{row['seconds']:.1f}",
            f"{1e3 * row['seconds'] / row['images']:.0f}",
        )
        for row in rows
        if "pass" in row
    ]
    head = "network, bfloat16", "cuDNN", "images", "sizes", "seconds", "ms an image"
    return Table(head, body).markdown() if body else ""


def _steps(rows: Sequence[Row]) -> str:
    if not [row for row in rows if "step" in row]:
        return ""
    head = "step", "precision", "images/s", "GPU busy", "cores busy", "waited for data", "peak MB", "bound by"
    body = [
        (
            f"{row['step']} {row['command']}",
            row["precision"],
            f"{row['images_per_second']:.1f}",
            _number(row["gpu"], "{:.0%}"),
            f"{row['busy_cores']:.1f} of {row['cores']}",
            f"{row['waited']:.0%}",
            _number(row["peak_mb"], "{:.0f}"),
            row["bound"],
        )
        for row in rows
        if "images_per_second" in row
    ]
    failed = [f"- failed: {row['step']} {row['command']}: {row['failed']}" for row in rows if "failed" in row]
    return "\n".join([Table(head, body).markdown(), *failed])


def _small(rows: Sequence[Row]) -> str:
    steps = [row for row in rows if "run" in row and "step" in row]
    failed = [f"- failed: {row['run']}: {row['failed']}" for row in rows if "run" in row and "failed" in row]
    if not steps and not failed:
        return ""
    body = [
        (
            row["run"],
            row["step"],
            f"{row['seconds']:.1f}",
            ", ".join(f"{name} {100 * value:.1f}" for name, value in row["scores"].items()),
        )
        for row in steps
    ]
    return "\n".join([Table(("run", "step", "seconds", "scores in percent"), body).markdown(), *failed])


def _parts(found: Found) -> str:
    ends = [row for rows in found.values() for row in rows if "part" in row]
    rows = [(r["part"], r["how"], str(r["part_seconds"])) for r in ends]
    return Table(("part", "how", "seconds"), rows).markdown()


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _replace(path: Path, text: str) -> None:
    aside = path.with_suffix(path.suffix + ".new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)

"""Ways to break a file, by what it holds; each draws from a generator, so that a seed names the case."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

Rng = np.random.Generator
Damage = Callable[[Path, Rng], None]

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**30, "", "x", "../../etc", "/dev/zero", "\0", "nan", [], [1, "a"], {},
    {"a": {"b": 1}},
    [[]], "é" * 300, float("nan"), float("inf"),
)  # fmt: skip


def empty(path: Path, rng: Rng) -> None:
    """No byte is left."""
    path.write_bytes(b"")


def cut(path: Path, rng: Rng) -> None:
    """Only the beginning is left."""
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(1, max(2, len(data))))])


def flip(path: Path, rng: Rng) -> None:
    """Some bytes are other ones."""
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), size=int(rng.integers(1, 20))):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)


def noise(path: Path, rng: Rng) -> None:
    """Random bytes."""
    path.write_bytes(rng.bytes(int(rng.integers(1, 3000))))


def nulls(path: Path, rng: Rng) -> None:
    """Zeros, as after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


def gone(path: Path, rng: Rng) -> None:
    """The file is not there."""
    path.unlink()


def folder(path: Path, rng: Rng) -> None:
    """A folder has its name."""
    path.unlink()
    path.mkdir()


def loop(path: Path, rng: Rng) -> None:
    """A link that leads to itself."""
    path.unlink()
    path.symlink_to(path)


def latin(path: Path, rng: Rng) -> None:
    """Another encoding."""
    path.write_bytes("Größe\n".encode("latin-1") + path.read_bytes())


def swap(path: Path, rng: Rng) -> None:
    """The content of some other file of the world."""
    others = sorted(p for p in path.parents[1].rglob("*") if p.is_file() and p.suffix != path.suffix)
    if others:
        shutil.copy(others[int(rng.integers(len(others)))], path)


ANY: tuple[Damage, ...] = (empty, cut, cut, flip, flip, noise, nulls, gone, folder, loop, swap)


def _places(plain: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in nested lists and dictionaries."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in items:
        yield (*way, key)
        yield from _places(value, (*way, key))


def broken_value(plain: Any, rng: Rng) -> Any:
    """A copy with one value replaced or taken away, or one key added."""
    places = list(_places(plain))
    if not places or rng.random() < 0.05:
        return STRANGE[int(rng.integers(len(STRANGE)))]
    changed = copy.deepcopy(plain)
    *way, last = places[int(rng.integers(len(places)))]
    node = changed
    for key in way:
        node = node[key]
    choice = rng.random()
    if choice < 0.2:
        del node[last]
    elif choice < 0.3 and isinstance(node, dict):
        node["unknown"] = node.pop(last)
    else:
        node[last] = STRANGE[int(rng.integers(len(STRANGE)))]
    return changed


def json_value(path: Path, rng: Rng) -> None:
    """JSON in which something has another type, is missing or has another name."""
    path.write_text(json.dumps(broken_value(json.loads(path.read_text()), rng)))


def json_deep(path: Path, rng: Rng) -> None:
    """Lists in lists, deeper than a reader can go."""
    path.write_text("[" * 100_000 + "]" * 100_000)


def yaml_value(path: Path, rng: Rng) -> None:
    """The same in YAML."""
    path.write_text(yaml.safe_dump(broken_value(yaml.safe_load(path.read_text()), rng)))


def yaml_text(path: Path, rng: Rng) -> None:
    """YAML that is none, or that asks for objects, or that is large when read."""
    texts = (
        "a: [1, 2\n", "- a\n- b\n", "? [a, b]\n: 1\n", "!!python/object/apply:os.system ['true']\n",
        "\tx: 1\n",
        "a: &a [x, x]\nb: &b [*a, *a]\n", "&a a: *a\n", "x: *nowhere\n", "a: 1\na: 2\n", "1: {2: 3}\n",
        "null: 1\n",
        "a: 2026-99-99\n", "%YAML 9\n---\na: 1\n", "---\na: 1\n---\nb: 2\n", "[" * 2000 + "]" * 2000,
    )  # fmt: skip
    path.write_text(texts[int(rng.integers(len(texts)))])


def csv_cells(path: Path, rng: Rng) -> None:
    """A table with one odd line, heading or cell."""
    lines = path.read_text().splitlines()
    odd = (
        "", ",,,", '"open', "../../x.jpg,cat,train", "/etc/passwd,cat,train", "p0.jpg,,train",
        "p0.jpg,unicorn",
        "p0.jpg,cat,nowhere", "p0.jpg", "a" * 200_000 + ",cat,train", "p\0.jpg,cat,train", ",cat,train",
        "..,cat,train",
        "p0.jpg,cat,train,more,and,more", "p9.jpg,cat,train", "\\\\host\\p0.jpg,cat,train",
        "p0.jpg,[cat,train",
    )  # fmt: skip
    number = int(rng.integers(len(lines)))
    choice = odd[int(rng.integers(len(odd)))]
    lines[number : number + int(rng.integers(2))] = [choice]
    path.write_text("\n".join(lines) + "\n")


def list_lines(path: Path, rng: Rng) -> None:
    """A list of ids with one odd line."""
    odd = (
        "",
        "p0 p1",
        "../p0",
        "/etc/passwd",
        "nobody",
        "p\0",
        "p0\np0",
        " ",
        "a" * 5000,
        "..",
        "p0.jpg.jpg",
        ".",
    )
    lines = path.read_text().splitlines()
    lines[int(rng.integers(len(lines)))] = odd[int(rng.integers(len(odd)))]
    path.write_text("\n".join(lines) + "\n")


def xml_text(path: Path, rng: Rng) -> None:
    """Annotations that are none, or that would grow."""
    texts = (
        "<annotation>", "<annotation></annotation>", "<annotation><object/></annotation>", "<a/>", "",
        "<annotation><object><name>unicorn</name></object></annotation>",
        '<!DOCTYPE a [<!ENTITY b "c">]><annotation><object><name>&b;</name></object></annotation>',
        '<?xml version="1.0" encoding="utf-16"?><annotation/>', "<annotation>" * 5000,
    )  # fmt: skip
    path.write_text(texts[int(rng.integers(len(texts)))])


def picture(path: Path, rng: Rng) -> None:
    """A whole picture that is not what its place asks for."""
    small = rng.integers(0, 256, (5, 7), np.uint8)
    kinds = (
        ("RGB", Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))),
        ("I;16", Image.fromarray(small.astype(np.uint16) * 200)), ("F",
        Image.fromarray(small.astype(np.float32))),
        ("1", Image.fromarray(small > 99)), ("LA", Image.fromarray(small).convert("LA")), ("L",
        Image.fromarray(small)),
        ("tiny", Image.new("P", (1, 1))), ("wide", Image.new("L", (60_000, 1))), ("CMYK", Image.new("CMYK",
        (7, 5))),
        ("ids", Image.fromarray(np.full((24, 32), 77, np.uint8))), ("I", Image.new("I", (7, 5))),
    )  # fmt: skip
    stream = io.BytesIO()
    name, image = kinds[int(rng.integers(len(kinds)))]
    image.save(stream, "TIFF" if name in ("F", "CMYK", "I") else "PNG")
    path.write_bytes(stream.getvalue())


def bomb(path: Path, rng: Rng) -> None:
    """A header that asks for more pixels than memory holds."""
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = b"\x00\x0f\x00\x00\x00\x0f\x00\x00"
    path.write_bytes(data)


def arrays(path: Path, rng: Rng) -> None:
    """A file of maps with another key, type, shape or number."""
    with np.load(path) as stored:
        content = dict(stored)
    changes: tuple[dict[str, Any], ...] = (
        {"maps": None}, {"class_ids": None}, {"image_size": None}, {"maps": np.zeros((2, 3))},
        {"maps": np.array("x")},
        {"class_ids": np.array([8, 8], np.uint8)}, {"class_ids": np.array([1, 2], np.uint8)},
        {"class_ids": np.array([8.5, 12.0])}, {"image_size": np.array([-1, 5])}, {"image_size": np.array([0,
        0])},
        {"image_size": np.array([10**9, 10**9])}, {"maps": np.full((2, 3, 4), np.nan, np.float16)},
        {"maps": np.full((2, 3, 4), np.inf, np.float16)}, {"maps": np.zeros((2, 0, 4), np.float16)},
        {"maps": np.zeros((2, 3, 4), np.complex64)}, {"maps": np.array([[["a"]], [["b"]]])},
        {"image_size": np.array(["a", "b"])}, {"class_ids": np.array([300, 8], np.int64)},
        {"class_ids": np.array([-1, 8], np.int64)}, {"maps": np.array([None], dtype=object)},
    )  # fmt: skip
    content |= changes[int(rng.integers(len(changes)))]
    np.savez(path, **{key: value for key, value in content.items() if value is not None})


def zipped(path: Path, rng: Rng) -> None:
    """An archive of other things."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("maps.npy", "../../maps.npy", "data.pkl")[: int(rng.integers(1, 4))]:
            archive.writestr(name, rng.bytes(50))


def vector(path: Path, rng: Rng) -> None:
    """A file of features of another type or shape."""
    changes = (
        np.zeros((2, 2), np.float32), np.zeros(8), np.zeros(0, np.float32), np.full(8, np.nan, np.float32),
        np.array("x"), np.zeros(5, np.float32), np.array([None], dtype=object),
    )  # fmt: skip
    np.save(path, changes[int(rng.integers(len(changes)))], allow_pickle=True)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def tag_dictionary(path: Path, rng: Rng) -> None:
    """``cls_labels.npy`` that holds something else, or code."""
    hot = np.zeros(20, np.float32)
    changes: tuple[Any, ...] = (
        {"p0": np.zeros(3, np.float32)}, {"p0": "cat"}, {}, {1: hot}, {"p0": hot}, [hot], _Evil(),
        {"p0": _Evil()},
        {"p0": np.full(20, np.nan)}, {f"p{n}": hot for n in range(6)},
    )  # fmt: skip
    np.save(path, np.array(changes[int(rng.integers(len(changes)))], dtype=object), allow_pickle=True)


def checkpoint(path: Path, rng: Rng) -> None:
    """A checkpoint with other facts, other weights or code."""
    import torch  # seconds, which the other kinds do without

    plain = torch.load(path, weights_only=True)
    facts = next(key for key in plain if key not in ("state_dict", "hyper_parameters"))
    names = list(plain["state_dict"])
    name = names[int(rng.integers(len(names)))]
    choice = int(rng.integers(8))
    if choice < 3:
        key = [key for key in plain if key != "state_dict"][int(rng.integers(len(plain) - 1))]
        plain[key] = broken_value(plain[key], rng)
    elif choice == 3:
        del plain["state_dict"][name]
    elif choice == 4:
        plain["state_dict"][name] = torch.zeros(1, 2, 3)
    elif choice == 5:
        plain["state_dict"][name] = "x"
    elif choice == 6:
        plain[facts] = _Evil()
    else:
        plain = [plain, {}, None, torch.zeros(3)][int(rng.integers(4))]
    torch.save(plain, path)

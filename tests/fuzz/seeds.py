"""Valid inputs, and the strategies of hypothesis that damage them."""

from __future__ import annotations

import copy
import io
import json
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image
from safetensors.torch import save

ROOT = Path(__file__).resolve().parents[2]
Seeds = Callable[[], list[bytes]]
Inputs = SearchStrategy[bytes]
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(10**400), 1e308, 5e-324, -0.0,
    float("nan"), float("inf"), "", "\0", "\x1b[2J", "a\nb", "\u202e", "../outside",
    "/etc/passwd", "~", "C:\\x", "a" * 5000, "pgd[steps=", "8/255", "1e999", "${HOME}", "{{ 7 }}",
    "<script>", [], [[]], {}, {"": {}}, {"__class__": 1}, [0] * 3000, date(1, 1, 1),
]  # fmt: skip
TEXTS = [value for value in VALUES if isinstance(value, str)]
DEEP = ["[" * 3000 + "]" * 3000, "[" * 100_000, "{a=" * 3000, "9" * 4301, "-" * 500, "\ufeff", "\r"]
BYTES = [text.encode("utf-8", "surrogatepass") for text in (*TEXTS, *DEEP)] + [
    b"\xff\xfe", b"\xed\xa0\x80", b"\xf8" * 9, b"\0" * 64, b"\xff" * 8, b"\x7f" * 8, b"PAR1",
    (2**31 - 1).to_bytes(4, "little"), (2**63 - 1).to_bytes(8, "little"),
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, seeds: Seeds) -> bytes:
    """A seed with bytes that are flipped, cut, doubled, replaced and joined with another's."""
    known = seeds()
    data = bytearray(draw(st.sampled_from(known)))
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(data)))
        last = min(len(data), first + draw(st.sampled_from([1, 2, 4, 8, 64, 2**20])))
        match draw(st.sampled_from(["flip", "cut", "insert", "replace", "double", "join"])):
            case "flip" if first < len(data):
                data[first] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[first:last]
            case "insert":
                data[first:first] = draw(st.sampled_from(BYTES) | st.binary(max_size=16))
            case "replace":
                data[first:last] = draw(st.sampled_from(BYTES) | st.binary(max_size=16))
            case "double":
                data[first:first] = data[first:last] * draw(st.sampled_from([1, 2, 50]))
            case "join":
                other = draw(st.sampled_from(known))
                data[first:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@st.composite
def restructured(
    draw: st.DrawFn, seeds: Seeds, read: Callable[[str], Any], write: Callable[[Any], str]
) -> bytes:
    """A seed whose keys and values are replaced, moved, repeated and removed."""
    value = copy.deepcopy(read(draw(st.sampled_from(seeds())).decode()))
    for _ in range(draw(st.integers(1, 3))):
        where, key = draw(st.sampled_from(list(_places(value)) or [({"": value}, "")]))
        new = draw(
            st.sampled_from(VALUES)
            | st.sampled_from([place[k] for place, k in _places(value)] or [0])
        )
        match draw(st.sampled_from(["replace", "replace", "remove", "add", "nest"])):
            case "replace":
                where[key] = copy.deepcopy(new)
            case "remove":
                del where[key]
            case "nest":
                where[key] = [where[key]] if draw(st.booleans()) else {"x": where[key]}
            case "add" if isinstance(where, dict):
                where[draw(st.sampled_from([*TEXTS, "model", "classes"]))] = copy.deepcopy(new)
    try:
        return write(value).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):  # TOML has no null
        return b""


def _places(value: Any) -> Any:
    """Every container of a value with each of its keys."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in list(inner):
        yield value, key
        yield from _places(item)


def toml(seeds: Seeds) -> Inputs:
    """Hostile TOML."""
    return restructured(seeds, tomllib.loads, tomli_w.dumps) | damaged(seeds)


def jsons(seeds: Seeds) -> Inputs:
    """Hostile JSON."""
    return restructured(seeds, json.loads, lambda value: json.dumps(value, default=str)) | damaged(
        seeds
    )


def texts(seeds: Seeds) -> Inputs:
    """Hostile text, as bytes that need not be UTF-8."""
    signs = st.text("[](){}=,.:/*?~\\\"' 0189eE+-aπ\0\x1b\n", max_size=60)
    return signs.map(str.encode) | st.text(max_size=40).map(str.encode) | damaged(seeds)


def image(kind: str = "PNG", size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    pixels = np.arange(size[0] * size[1] * len(Image.new(mode, (1, 1)).getbands()), dtype=np.uint8)
    Image.frombytes(mode, size, pixels.tobytes()).save(buffer, kind)
    return buffer.getvalue()


def table(**columns: Any) -> bytes:
    """A Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def tensors(metadata: dict[str, str] | None = None, **named: torch.Tensor) -> bytes:
    """A safetensors file."""
    return bytes(save(named, metadata))


def parts(*files: bytes) -> bytes:
    """Several files as one input, see :func:`split`."""
    return b"".join(len(file).to_bytes(4, "big") + file for file in files)


def split(data: bytes, count: int) -> list[bytes]:
    """The files of an input; what is missing is empty."""
    found = []
    for _ in range(count):
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def published(*names: str) -> Seeds:
    """Files of the repository."""
    return lambda: [(ROOT / name).read_bytes() for name in names]


CELLS = ROOT / "results/digits/vgg16-ann"
CARDS = published(
    *(f"models/{name}/model.toml" for name in ("digits/flex-stbp", "cifar10/vgg16-hybrid"))
)
NAMES = ("pgd", "spgd", "apgd-t", "autoattack", "surrogate-ensemble")
ATTACKS = published(*(f"attacks/{name}.toml" for name in NAMES))
RECIPES = published(
    *(f"models/{name}/recipe.toml" for name in ("digits/flex-stbp", "cifar10/vgg16-stbp-at"))
)
LOGS = published(
    *(f"models/{name}/training.csv" for name in ("digits/flex-stbp", "cifar10/flex-ann"))
)


def records() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CELLS.glob("*/*.json"))]


def rows() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CELLS.glob("*/*.parquet"))]


def tables() -> list[bytes]:
    column = [{"bytes": image(), "path": None}] * 3
    return [
        table(img=column, label=[0, 1, 2]),
        table(image=column, label=pa.array([1, 2, 3], pa.int8())),
    ]


def idx(*shape: int) -> bytes:
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return header + bytes(int(np.prod(shape)))


def attack_texts() -> list[bytes]:
    return [
        b"fgsm,pgd,spgd",
        b"pgd[steps=9,restarts=5]",
        b"surrogate-ensemble[surrogates=[atan(2),triangle(1)]]",
        b"foolbox:LinfPGD[steps=3]",
        b"apgd-t[targets=3]",
        b"pgd[frames=shared]",
    ]


def patterns() -> list[bytes]:
    known = [b"all", b"digits/*", b"digits/vgg16-ann,mnist/[vf]*", b"models/digits/vgg16-ann"]
    return [*known, b"net.py:make", b"package.module:make"]


METADATA = b"Metadata-Version: 2.1\nName: fuzzed\nVersion: 1.0\n"
ENTRIES = b"""[robench.models]
digits/net = fuzzed_plugin:net
[robench.attacks]
mine = fuzzed_plugin:Mine
[robench.datasets]
own = fuzzed_plugin:OWN
[robench.checks]
one = fuzzed_plugin:check
"""

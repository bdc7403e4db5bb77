"""The readers of robench, one target for each kind of input."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from robench import plugins
from robench.analysis.training_logs import read_log
from robench.cli.inventory import plugin_rows
from robench.cli.options import split_epsilons, split_patterns
from robench.datasets import cifar10, files, mnist
from robench.datasets.layout import Layout
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation.grids import find_grid
from robench.model_id import ModelId
from robench.registry import attacks, find_attacks, locations, model_entries, select_models
from robench.registry.loading import load_folder
from robench.registry.weights import file_sha256, load_weights
from robench.reporting import build_report, render
from robench.results import ResultStore
from robench.training.checkpoint import read_progress, restore
from robench.training.log import Row
from robench.training.recipe import find_recipe
from tests.fuzz import seeds
from tests.fuzz.seeds import Inputs, Seeds, image, parts, split, table, tensors

Read = Callable[[bytes, Path], object]


@dataclass(frozen=True)
class Target:
    """A reader: it returns, or raises a RobenchError."""

    name: str
    read: Read
    seeds: Seeds
    inputs: Inputs


TARGETS: list[Target] = []


def target(known: Seeds, inputs: Callable[[Seeds], Inputs]) -> Callable[[Read], None]:
    """Register a reader with valid inputs and a strategy that damages them."""

    def register(read: Read) -> None:
        name = read.__name__.strip("_").replace("_", "-")
        kept = cache(known)
        TARGETS.append(Target(name, read, kept, inputs(kept)))

    return register


def text(data: bytes) -> str:
    """An argument of a command line, as Python gives it."""
    return data.decode("utf-8", "surrogateescape")


@target(seeds.CARDS, seeds.toml)
def model_card(data: bytes, folder: Path) -> None:
    place = folder / "digits" / "fuzzed"
    place.mkdir(parents=True)
    (place / "model.toml").write_bytes(data)
    (place / "weights.safetensors").write_bytes(b"")
    with patch.object(locations, "_roots", list):
        entry = model_entries(folder)[ModelId("digits/fuzzed")]
    assert entry.examine()
    load_folder(place)


@target(seeds.ATTACKS, seeds.toml)
def attack_card(data: bytes, folder: Path) -> None:
    card = folder / "fuzzed.toml"
    card.write_bytes(data)
    with patch.object(attacks, "attack_files", lambda: {"fuzzed": card}):
        find_attacks("fuzzed")


@target(seeds.RECIPES, seeds.toml)
def recipe(data: bytes, folder: Path) -> None:
    path = folder / "digits" / "fuzzed" / "recipe.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    find_recipe(str(path))


@target(seeds.LOGS, seeds.damaged)
def training_log(data: bytes, folder: Path) -> None:
    path = folder / "training.csv"
    path.write_bytes(data)
    read_log(path)


@target(seeds.records, seeds.jsons)
def record(data: bytes, folder: Path) -> None:
    store(folder, data, seeds.rows()[0])


def store(folder: Path, json_data: bytes, parquet: bytes) -> None:
    """Read a cell as the leaderboard does."""
    path = folder / "digits" / "vgg16-ann" / "fgsm" / "f3c6950ff99d7f4f.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(json_data)
    path.with_suffix(".parquet").write_bytes(parquet)
    report = build_report(ResultStore(folder))
    for form in ("md", "html", "csv", "json"):
        assert "\x1b" not in render(report, form, all_runs=True)  # type: ignore[arg-type]
    if report.damaged:
        raise UsageError(report.damaged[0].reason or "damaged")


@target(seeds.rows, seeds.damaged)
def stored_rows(data: bytes, folder: Path) -> None:
    """The rows, with the digest that belongs to them."""
    known = json.loads(seeds.records()[0])
    known["rows_sha256"] = hashlib.sha256(data).hexdigest()
    store(folder, json.dumps(known).encode(), data)


@target(lambda: [tensors(weight=torch.ones(2, 3), bias=torch.zeros(2))], seeds.damaged)
def weights(data: bytes, folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(data)
    load_weights(nn.Linear(3, 2), path, file_sha256(path))


@target(
    lambda: [image(), image("JPEG"), image("GIF"), image("BMP"), image("EPS"), image("TIFF")],
    seeds.damaged,
)
def images(data: bytes, folder: Path) -> None:
    column = [{"bytes": data, "path": None}]
    decode(cifar10.LAYOUT, {"test-0.parquet": table(img=column, label=[0])}, folder)


def decode(layout: Layout, content: dict[str, bytes], folder: Path) -> None:
    """Read the files of a data set, without its cache."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = files._find(layout, "test", folder)
    assert source is not None
    files._decode(source)


@target(seeds.tables, seeds.damaged)
def dataset_table(data: bytes, folder: Path) -> None:
    decode(cifar10.LAYOUT, {"test-0.parquet": data}, folder)


@target(lambda: [parts(seeds.idx(3, 28, 28), seeds.idx(3))], seeds.damaged)
def idx_files(data: bytes, folder: Path) -> None:
    pixels, labels = split(data, 2)
    raw = "MNIST/raw/t10k"
    content = {f"{raw}-images-idx3-ubyte": pixels, f"{raw}-labels-idx1-ubyte": labels}
    decode(mnist.LAYOUT, content, folder)


def caches() -> list[bytes]:
    pixels = np.zeros((2, 3, 32, 32), np.uint8)
    known = files.Images(pixels, np.array([0, 1]), "PNG")
    facts = {"encoding": "PNG", "labels": [0, 1], "sha256": files._digest(known)}
    return [npy(pixels), json.dumps(facts).encode()]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@target(lambda: [parts(*caches())], seeds.damaged)
def decoded_cache(data: bytes, folder: Path) -> None:
    pixels, facts = folder / "x.npy", folder / "x.json"
    for path, content in zip((pixels, facts), split(data, 2), strict=True):
        path.write_bytes(content)
    if files._mapped(cifar10.LAYOUT, pixels, facts) is None:
        raise UsageError("damaged")


def trained() -> tuple[nn.Module, torch.optim.Optimizer, torch.Generator]:
    net = nn.Linear(2, 2)
    return net, torch.optim.SGD(net.parameters(), 0.1, momentum=0.9), torch.Generator()


def checkpoints() -> list[bytes]:
    row = dict.fromkeys([field.name for field in fields(Row)], 1.0) | {"phase": "ann", "epoch": 1}
    known = {"recipe": {}, "images": "", "seconds": 1.0, "rows": [row], "init": ""}
    state = {f"net/{name}": value for name, value in trained()[0].state_dict().items()}
    drawn = {"generator": torch.Generator().get_state(), "torch": torch.random.get_rng_state()}
    momentum = {"momentum_buffer/weight": torch.zeros(2, 2)}
    return [tensors({"progress": json.dumps(known)}, **state, **drawn, **momentum)]


@target(checkpoints, seeds.damaged)
def training_checkpoint(data: bytes, folder: Path) -> None:
    path = folder / "checkpoint.safetensors"
    path.write_bytes(data)
    read_progress(path)
    restore(path, *trained())


@target(lambda: [b"8/255", b"0,0.25/255,1", b"1e-3", b".5", b"bioflexnet"], seeds.texts)
def epsilons(data: bytes, folder: Path) -> None:
    split_epsilons(text(data))
    parse_grid(text(data).split(","))
    find_grid(text(data))


@target(seeds.attack_texts, seeds.texts)
def attack_text(data: bytes, folder: Path) -> None:
    find_attacks(text(data))


@target(seeds.patterns, seeds.texts)
def model_pattern(data: bytes, folder: Path) -> None:
    def refuse(name: str, *_: object) -> None:
        raise ImportError(name)

    with patch.object(importlib, "import_module", refuse):  # its code is the user's own
        select_models(split_patterns(text(data)))


@target(lambda: [parts(seeds.ENTRIES, seeds.METADATA)], seeds.damaged)
def entry_points(data: bytes, folder: Path) -> None:
    place = folder / "fuzzed-1.0.dist-info"
    place.mkdir()
    for name, content in zip(("entry_points.txt", "METADATA"), split(data, 2), strict=True):
        (place / name).write_bytes(content)
    plugins._installed.cache_clear()
    found = list(metadata.distributions(path=[str(folder)]))
    with patch.object(plugins, "distributions", lambda: found):
        plugin_rows()
        model_entries()
    plugins._installed.cache_clear()

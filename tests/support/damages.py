"""Damages of what is stored, by the rule of ``robench validate`` that has to find them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load, save

from robench.atomic import temporary_path
from tests.support.checkpoints import sign
from tests.support.stored import Stored, replace

Damage = Callable[[Stored], object]
INTERVAL = {"low": 0.0, "high": 1.0}


def rows(**columns: Callable[[pd.DataFrame], object]) -> Damage:
    return lambda s: s.edit_rows(lambda frame: frame.assign(**columns))


def first(name: str, value: object) -> Damage:
    """Another value of the first sample that has an adversarial example."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame.index[frame["minimal_position"] > 0][0], name] = value
        return frame

    return lambda s: s.edit_rows(change)


def arrays(change: Callable[[dict[str, np.ndarray]], object]) -> Damage:
    return lambda s: s.edit_examples(change)


def pixel(value: float) -> Damage:
    def change(found: dict[str, np.ndarray]) -> None:
        found["images"][0, 0, 0, 0] = value

    return arrays(change)


def point(**values: object) -> Damage:
    return lambda s: s.edit(lambda record: record["outcome"]["curve"][1].update(values))


def farther(found: dict[str, np.ndarray]) -> None:
    """Move one pixel by half of the box: further than any ε of the grid."""
    values = found["images"][0, 0, 0]
    found["images"][0, 0, 0] = np.where(values < 0.5, values + 0.5, values - 0.5)


def write(name: str, data: bytes) -> Damage:
    return lambda s: getattr(s, name).write_bytes(data)


def add(folder: str, name: str) -> Damage:
    def put(stored: Stored) -> None:
        path = stored.json.parent if folder == "results" else stored.model
        (path / name).mkdir() if name.endswith("chunks") else (path / name).touch()

    return put


def seed_card(stored: Stored) -> None:
    folder = stored.model / "seeds" / "1"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text("[model]\n", "utf-8")


def other_weights(stored: Stored) -> None:
    weights = stored.model / "weights.safetensors"
    state = load(weights.read_bytes())
    weights.write_bytes(save(state, metadata={"made": "later"}))
    sign(stored.model)


def cut_weights(stored: Stored) -> None:
    weights = stored.model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    sign(stored.model)


def in_model(name: str, old: str, new: str) -> Damage:
    return lambda s: replace(s.model / name, old, new)


def remove(name: str) -> Damage:
    return lambda s: getattr(s, name).unlink()


DAMAGES: dict[str, list[Damage]] = {
    "result-damaged": [
        write("json", b"{"),
        write("json", b"\x80\x04\x95 no JSON"),
        write("json", b"[" * 100_000),
        lambda s: s.edit(lambda record: record.update(more=1)),
        lambda s: s.edit(lambda record: record.update(status="failed")),
        lambda s: replace(s.json, '"threads": ', '"threads": 1'),
        lambda s: s.edit_outcome(auc={"16/255": float("nan")}),
        lambda s: s.edit(lambda record: record.update(model="../../../digits/vgg16-ann")),
        lambda s: s.edit(lambda record: record.update(model=str(s.root / "results"), attack="x")),
        lambda s: s.edit(lambda record: record.update(hash="../../../../../../etc/x")),
        lambda s: s.edit(lambda record: record.update(attack="a\0\nb")),
    ],
    "result-misplaced": [
        lambda s: s.json.parent.rename(s.json.parent.with_name("pgd")),
        lambda s: (s.results / "digits").rename(s.results / "mnist"),
        lambda s: s.edit(lambda record: record.update(model="digits/other")),
        lambda s: s.edit(lambda record: record.update(hash="0" * 64)),
    ],
    "result-hash": [
        lambda s: s.edit(lambda record: record["outcome"]["identity"].update(seed=1)),
        lambda s: s.edit(lambda record: record.update(dataset="mnist")),
        lambda s: s.edit_outcome(hash="0" * 64),
    ],
    "result-grid": [
        point(epsilon={"value": 0.01, "text": "0.01"}),
        point(epsilon={"value": 8 / 255, "text": "8/256"}),
        point(epsilon={"value": 8 / 255, "text": "x"}),
        lambda s: s.edit_identity(grid=["0.0", "0.1", "0.2", "0.3"]),
        lambda s: s.edit_outcome(curve=[]),
    ],
    "result-numbers": [
        point(accuracy=0.99),
        point(robust=3),
        point(interval=INTERVAL),
        lambda s: s.edit_outcome(auc={"16/255": 0.9}),
        lambda s: s.edit_outcome(auc={"17/255": 0.9}),
        lambda s: s.edit_outcome(auc_interval={}),
        lambda s: s.edit(lambda record: record["outcome"]["auc_interval"].update(more=INTERVAL)),
        lambda s: s.edit_outcome(clean_accuracy=0.5),
        lambda s: s.edit_outcome(reverified=0.5),
        lambda s: s.edit_outcome(forwards=1.5),
        rows(backwards=lambda frame: frame["backwards"] + 1),
    ],
    "result-verdict": [
        lambda s: s.edit_outcome(verdict="invalid"),
        lambda s: s.edit_outcome(reasons=["few-steps"]),
        lambda s: s.edit_outcome(checks=[]),
    ],
    "result-outdated": [
        other_weights,
        in_model("model.toml", "mean = [\n    0.5", "mean = [\n    0.25"),
        lambda s: s.edit_identity(protocol=2),
        lambda s: shutil.rmtree(s.model),
    ],
    "rows-damaged": [
        remove("parquet"),
        write("parquet", b"PAR1"),
        lambda s: pd.read_parquet(s.parquet)[::-1].to_parquet(s.parquet),
        lambda s: s.edit(lambda record: record.update(rows_sha256=None)),
    ],
    "rows-invalid": [
        first("minimal_position", 4),
        first("minimal_position", -2),
        rows(index=lambda frame: frame["index"] + 1),
        lambda s: s.edit_rows(lambda frame: frame.drop(columns="found_by")),
        rows(minimal_position=lambda frame: "text"),
        rows(label=lambda frame: "text"),
    ],
    "rows-inconsistent": [
        first("minimal_epsilon", 0.5),
        first("linf", 0.5),
        first("linf", float("nan")),
        rows(clean_prediction=lambda frame: (frame["label"] + 1) % 10),
    ],
    "examples-damaged": [
        write("examples", b""),
        lambda s: s.examples.write_bytes(s.examples.read_bytes()[:-8]),
        arrays(lambda found: found.pop("index")),
    ],
    "examples-samples": [
        arrays(lambda found: found.update(index=found["index"][1:], images=found["images"][1:])),
        arrays(lambda found: found.update(index=found["index"][::-1].copy())),
        arrays(lambda found: found.update(index=found["index"] + 10**9)),
    ],
    "examples-shape": [
        arrays(lambda found: found.update(images=found["images"][:, :1].copy())),
        arrays(lambda found: found.update(images=found["images"].astype(np.float64))),
        arrays(lambda found: found.update(images=found["images"][1:].copy())),
    ],
    "examples-outside-box": [pixel(1.001), pixel(-0.001), pixel(float("nan")), pixel(-np.inf)],
    "examples-outside-ball": [
        arrays(farther),
        arrays(lambda found: found.update(images=found["images"][::-1].copy())),
    ],
    "analysis-damaged": [
        write("analysis", b"{"),
        write("arrays", b"x"),
        remove("arrays"),
        lambda s: replace(s.analysis, '"samples": 4', '"samples": 5'),
        lambda s: replace(s.analysis, '"mode"', '"modes"'),
        lambda s: replace(s.analysis, '"macs"', '"mcs"'),
        lambda s: replace(s.analysis, '"images": 4', '"images": 400'),
    ],
    "analysis-misplaced": [
        lambda s: s.analysis.parent.rename(s.analysis.parent.with_name("raster")),
    ],
    "analysis-outdated": [other_weights],
    "leftover-chunks": [add("results", "0123456789abcdef.chunks")],
    "leftover-rows": [
        add("results", "0123456789abcdef.parquet"),
        add("results", "0123456789abcdef.examples.safetensors"),
        remove("analysis"),
    ],
    "leftover-temporary": [
        add("results", temporary_path(Path("x.json")).name),
        add("models", temporary_path(Path("model.toml")).name),
    ],
    "model-id": [
        lambda s: s.model.rename(s.model.with_name("vgg 16")),
        lambda s: s.model.rename(s.model.with_name("vgg..16")),
    ],
    "card-damaged": [
        in_model("model.toml", "[about]", "[about"),
        in_model("model.toml", 'dataset = "digits"', 'dataset = "mnist"'),
        lambda s: (s.model / "model.toml").unlink(),
        seed_card,
    ],
    "weights-missing": [lambda s: (s.model / "weights.safetensors").unlink()],
    "weights-damaged": [
        lambda s: (s.model / "weights.safetensors").write_bytes(b"\x80\x04\x95"),
        cut_weights,
    ],
    "recipe-damaged": [
        in_model("recipe.toml", "epochs", "epoch"),
        in_model("recipe.toml", "classes = 10", "classes = 9"),
    ],
    "recipe-differs": [
        in_model("recipe.toml", "epochs = 40", "epochs = 41"),
        in_model("recipe.toml", "width = 0.0625", "width = 0.125"),
    ],
    "log-damaged": [
        lambda s: (s.model / "training.csv").write_bytes(b"\xff"),
        in_model("training.csv", "epoch", "week"),
    ],
    "attack-damaged": [
        lambda s: replace(s.attack, '"fgsm"', '"fgms"'),
        lambda s: s.attack.rename(s.attack.with_name("a[b.toml")),
    ],
    "page-stale": [lambda s: replace(s.page, "fgsm", "pgd"), write("page", b"\xff")],
    "figure-missing": [
        lambda s: next(s.results.glob("figures/*-auc.png")).unlink(),
        lambda s: shutil.rmtree(s.results / "figures"),
    ],
}
"""By rule: how files are damaged that it has to find."""

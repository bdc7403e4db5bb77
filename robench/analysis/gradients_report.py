"""The table of what a single gradient hides, as a section of a document and as a figure."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robench.analysis.curves import dataset_title
from robench.analysis.document import draw_beside, link, markdown_table, section_of
from robench.analysis.gradients import COLUMNS, ENSEMBLE, OWN, WORST, all_gradients
from robench.reporting.heatmap import draw_cells
from robench.results.metrics import wilson
from robench.spiking import STBP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMAND = "gradients"
MARK = "†"
_LIMITS = (-20.0, 80.0)
"""Points below and above the ensemble that the bar of colours shows."""


def gradients_section(folder: Path, document: Path) -> str:
    """The tables of all data sets in a folder, as Markdown.

    Raises:
        UsageError: a table is damaged.
    """
    return section_of(
        folder, COMMAND, COLUMNS, lambda table, path: _of_dataset(table, path, document)
    )


def write_gradients_figure(path: Path) -> Path:
    """Draw a table that is stored, beside it; returns the path of the figure.

    Raises:
        UsageError: the table is damaged, or the folder cannot be written to.
    """
    return draw_beside(path, COLUMNS, draw_gradients)


def _of_dataset(table: pd.DataFrame, path: Path, document: Path) -> str:
    models = list(dict.fromkeys(table["model"]))
    head = ["surrogate", "path", *(_short(model) for model in models)]
    clean = table.groupby("model", sort=False)[["clean", "samples"]].first()
    lines = [["(no attack)", "", *(_percent(a, b) for a, b in clean.itertuples(index=False))]]
    weakest = {model: _weakest(table[table["model"] == model]) for model in models}
    for attack, surrogate, gradient_path in _lines(table):
        cells = [_cell(table, model, attack, attack == weakest[model]) for model in models]
        names = {WORST: ("worst of the runs above", ""), ENSEMBLE: (f"`{ENSEMBLE}`", "")}
        lines.append([*names.get(attack, (surrogate or "—", gradient_path)), *cells])
    return "\n".join(
        [
            _caption(table),
            "",
            *markdown_table(head, lines, words=2),
            "",
            f"![robust accuracy under each gradient]({link(document, path.with_suffix('.png'))})",
            "",
        ]
    )


def _lines(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Attack, surrogate and path of each row: the runs in order, all of them, the ensemble."""
    order = [*(through.attack for through in all_gradients()), WORST, ENSEMBLE]
    runs = table[["attack", "surrogate", "path"]].drop_duplicates()
    found = [(str(a), str(b), str(c)) for a, b, c in runs.itertuples(index=False)]
    unknown = [run for run in found if run[0] not in order]  # of another version
    return unknown + sorted((r for r in found if r[0] in order), key=lambda r: order.index(r[0]))


def _group(run: tuple[str, str, str]) -> int:
    """The model's own, the surrogates along ``stbp``, the other paths, what sums them up."""
    if run[0] in (WORST, ENSEMBLE):
        return 3
    return {OWN: 0, STBP.name: 1}.get(run[2], 2)


def _weakest(table: pd.DataFrame) -> str:
    """The run that left most of a model's images, of those that the checks let pass."""
    runs = table[~table["attack"].isin([WORST, ENSEMBLE]) & (table["verdict"] != "invalid")]
    return "" if runs.empty else str(runs["attack"].iloc[runs["robust"].argmax()])


def _cell(table: pd.DataFrame, model: str, attack: str, weakest: bool) -> str:
    found = table[(table["model"] == model) & (table["attack"] == attack)]
    if found.empty:
        return "—"
    row = found.iloc[0]
    text = _percent(row["robust"], row["samples"]) + _mark(row["verdict"])
    if attack != ENSEMBLE and not np.isnan(row["above"]):
        text += f" ({100 * row['above']:+.1f})"
    return f"**{text}**" if weakest else text


def _mark(verdict: str) -> str:
    return "" if verdict in ("valid", "") else MARK


def _caption(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    runs = table[table["attack"] != WORST]
    versions = {str(name).partition("[")[0]: v for name, v in runs[["attack", "version"]].values}
    told = ", ".join(f"`{name}` version {version}" for name, version in versions.items())
    intervals = [wilson(a, b) for a, b in table[["robust", "samples"]].itertuples(index=False)]
    half = max(interval.high - interval.low for interval in intervals) * 50
    return (
        f"**{dataset_title(first['dataset'])}**, ε = {first['epsilon']} (L∞), "
        f"{first['samples']:,} test images (SHA-256 {first['data_sha256']}), seed {first['seed']}, "
        f"{told}. Robust accuracy in %, known to ±{half:.1f} points or better (95 %); in brackets "
        f"how many points it lies above that of `{ENSEMBLE}`."
    )


def _short(model: str) -> str:
    return model.partition("/")[2] or model


def _percent(count: int, samples: int) -> str:
    return f"{100 * count / samples:.1f}"


def draw_gradients(table: pd.DataFrame) -> Figure:
    """Heat map of runs × models: the number is the robust accuracy, the colour what it hides."""
    from matplotlib.colors import CenteredNorm
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(table["model"]))
    lines = _lines(table)
    above = np.full((len(lines), len(models)), np.nan)
    labels = np.full(above.shape, "—", dtype=object)
    order = {attack: i for i, (attack, _, _) in enumerate(lines)}
    for row in table.to_dict("records"):
        place = order[str(row["attack"])], models.index(row["model"])
        above[place] = 100 * row["above"]
        labels[place] = _percent(row["robust"], row["samples"]) + _mark(str(row["verdict"]))
    low, high = _LIMITS
    figure = Figure(
        figsize=(0.85 * len(models) + 3.6, 0.27 * len(lines) + 1.9), layout="constrained"
    )
    ax = figure.subplots()
    draw_cells(
        ax, above, labels, columns=[_short(model) for model in models],
        rows=[_name(*line) for line in lines],
        bar={"label": f"points above {ENSEMBLE}", "aspect": 18,
             "ticks": [low, 0, 20, 40, 60, high]},
        cmap="vlag", norm=CenteredNorm(0, high),
    )  # fmt: skip
    ax.collections[0].colorbar.ax.set_ylim(low, high)  # type: ignore[union-attr]
    for i, (before, after) in enumerate(pairwise(lines), 1):
        if _group(before) != _group(after):
            ax.axhline(i, color="white", linewidth=6)
    for tick in ax.get_xticklabels():
        tick.set(rotation=35, ha="left", rotation_mode="anchor")
    first = table.iloc[0]
    notes = [
        f"{dataset_title(first['dataset'])}, {first['samples']:,} images, "
        f"ε = {first['epsilon']} (L∞)",
        "in the cells: robust accuracy, %",
    ]
    if any(str(label).endswith(MARK) for label in labels.ravel()):
        notes.append(f"{MARK} the checks do not call it valid")
    if any(label == "—" for label in labels.ravel()):
        notes.append("— does not apply")
    text = "\n".join((*notes[:2], "; ".join(notes[2:]))).strip()
    figure.supxlabel(text, fontsize="small")  # as wide as the figure, however few the models
    return figure


def _name(attack: str, surrogate: str, path: str) -> str:
    if attack == WORST:
        return "worst of these runs"
    if path == OWN:
        return "the model's own"
    return " · ".join(part for part in (surrogate, path) if part) or attack

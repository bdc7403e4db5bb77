"""What a single gradient hides, as a page and as a figure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robench.analysis.curves import dataset_title
from robench.model_id import ModelId
from robench.reporting.figures.heatmap import heat_map
from robench.reporting.figures.style import DIVERGING
from robench.results.metrics import wilson
from robench.spiking import STBP
from studies.gradients import COLUMNS, ENSEMBLE, OWN, WORST, all_gradients
from studies.pages import markdown_table, versions_text
from studies.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARK = "†"
_LIMITS = (-20.0, 80.0)
"""The range of the colour bar, in points above the ensemble."""


def gradients_text(table: pd.DataFrame) -> str:
    """A table of :class:`~studies.gradients.Comparison` as Markdown."""
    models = list(dict.fromkeys(table["model"]))
    head = ["surrogate", "path", *(ModelId(model).name for model in models)]
    clean = table.groupby("model", sort=False)[["clean", "samples"]].first()
    lines = [["(no attack)", "", *(_percent(a, b) for a, b in clean.itertuples(index=False))]]
    weakest = {model: _weakest(table[table["model"] == model]) for model in models}
    for attack, surrogate, gradient_path in _lines(table):
        cells = [_cell(table, model, attack, attack == weakest[model]) for model in models]
        names = {WORST: ("worst of the runs above", ""), ENSEMBLE: (f"`{ENSEMBLE}`", "")}
        lines.append([*names.get(attack, (surrogate or "—", gradient_path)), *cells])
    return "\n".join([_caption(table), "", *markdown_table(head, lines, words=2), ""])


def _lines(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Attack, surrogate and path of each row: the runs in order, all of them, the ensemble."""
    order = [*(through.attack for through in all_gradients()), WORST, ENSEMBLE]
    runs = table[["attack", "surrogate", "path"]].drop_duplicates()
    found = [(str(a), str(b), str(c)) for a, b, c in runs.itertuples(index=False)]
    unknown = [run for run in found if run[0] not in order]  # of another version
    return unknown + sorted((r for r in found if r[0] in order), key=lambda r: order.index(r[0]))


def _group(run: tuple[str, str, str]) -> int:
    """The group of a run: the model's own, surrogates along ``stbp``, other paths, summaries."""
    if run[0] in (WORST, ENSEMBLE):
        return 3
    return {OWN: 0, STBP.name: 1}.get(run[2], 2)


def _weakest(table: pd.DataFrame) -> str:
    """The run with the highest robust accuracy of a model, among those that are not invalid."""
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
    runs = runs.assign(attack=runs["attack"].str.partition("[")[0])
    intervals = [wilson(a, b) for a, b in table[["robust", "samples"]].itertuples(index=False)]
    half = max(interval.high - interval.low for interval in intervals) * 50
    return (
        f"**{dataset_title(first['dataset'])}**, ε = {first['epsilon']} (L∞), "
        f"{first['samples']:,} test images (SHA-256 {first['data_sha256']}), seed {first['seed']}, "
        f"{versions_text(runs)}. Robust accuracy in %, known to ±{half:.1f} points or better "
        f"(95 %); in brackets its difference to that of `{ENSEMBLE}` in points. Bold is the "
        f"weakest run that is not invalid, {MARK} a run that is not valid."
    )


def _percent(count: int, samples: int) -> str:
    return f"{100 * count / samples:.1f}"


def draw_gradients(table: pd.DataFrame) -> Figure:
    """Heat map, runs × models: the number is the robust accuracy, the colour what it hides."""
    from matplotlib.colors import CenteredNorm

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
    first = table.iloc[0]
    title = f"{dataset_title(first['dataset'])}, {first['samples']:,} images"
    notes = [f"{title}, ε = {first['epsilon']} (L∞); in the cells: robust accuracy, %"]
    if any(str(label).endswith(MARK) for label in labels.ravel()):
        notes.append(f"{MARK} not valid by the checks")
    if any(label == "—" for label in labels.ravel()):
        notes.append("— does not apply")
    figure, ax = heat_map(
        above, labels, columns=[ModelId(model).name for model in models],
        rows=[_name(*line) for line in lines], notes=[notes[0], "; ".join(notes[1:])],
        bar=f"points above {ENSEMBLE}", cell=(0.6, 0.25),
        cmap=DIVERGING, norm=CenteredNorm(0, high),
    )  # fmt: skip
    figure.axes[-1].set_ylim(low, high)
    for i, (before, after) in enumerate(pairwise(lines), 1):
        if _group(before) != _group(after):
            ax.axhline(i, color="white", linewidth=6)
    return figure


def _name(attack: str, surrogate: str, path: str) -> str:
    if attack == WORST:
        return "worst of these runs"
    if path == OWN:
        return "the model's own"
    return " · ".join(part for part in (surrogate, path) if part) or attack


GRADIENTS = Study(
    name="gradients",
    title="What a single gradient hides",
    columns=COLUMNS,
    text=gradients_text,
    figure=draw_gradients,
    figure_title="robust accuracy under each gradient",
)

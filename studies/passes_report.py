"""Robust accuracy against gradient passes, as a page and as a figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robench.analysis.curves import dataset_title
from robench.attacks.primitives.norms import NORMS
from robench.model_id import ModelId
from robench.reporting.plots import LEGEND, wrapped
from robench.results.metrics import wilson
from studies.pages import markdown_table, versions_text
from studies.passes import COLUMNS, MEAN
from studies.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 4
"""Models side by side."""


def passes_text(table: pd.DataFrame) -> str:
    """A table of :func:`~studies.passes.passes_table` as Markdown."""
    means = table[table["epsilon"] == MEAN]
    first = str(table["first"].iloc[0])
    rivals = [str(attack) for attack in dict.fromkeys(table["attack"]) if attack != first]
    lines = []
    for (model, budget), part in means.groupby(["model", "budget"], sort=False):
        rows = part.set_index("attack").to_dict("index")
        cells = [_cell(rows.get(attack)) for attack in (first, *rivals)]
        lines.append([ModelId(model).name, str(budget), *cells])
    head = ["model", "passes", first, *(f"{rival} ({first} − {rival})" for rival in rivals)]
    return "\n".join([_caption(table, first), "", *markdown_table(head, lines, words=1), ""])


def _cell(row: dict[Any, Any] | None) -> str:
    if row is None:
        return "—"
    text = f"{100 * row['accuracy']:.1f}"
    if np.isnan(row["difference"]):
        return text
    low, high = 100 * row["low"], 100 * row["high"]
    text += f" ({100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}])"
    return f"**{text}**" if high < 0 or low > 0 else text


def _caption(table: pd.DataFrame, first: str) -> str:
    row = table.iloc[0]
    epsilons = ", ".join(dict.fromkeys(e for e in table["epsilon"] if e != MEAN))
    images = "training" if row["split"] == "train" else row["split"]
    return (
        f"**{dataset_title(row['dataset'])}**, ε = {epsilons} ({NORMS[row['norm']]}), "
        f"{row['samples']:,} {images} images (SHA-256 {row['data_sha256']}), seed {row['seed']}, "
        f"{versions_text(table)}. Robust accuracy in %, averaged over these ε; in brackets that "
        f"of `{first}` minus this one in points, with the 95 % interval, paired by sample, and "
        f"bold where the interval excludes 0. A number below 0 means that `{first}` is stronger."
    )


def passes_lines(table: pd.DataFrame) -> Iterator[str]:
    """The difference between the first attack and each other one, a line for each."""
    for row in table[table["difference"].notna()].to_dict("records"):
        low, high = 100 * row["low"], 100 * row["high"]
        yield (
            f"{row['model']:24} {row['budget']:>4} passes  {row['first']} - {row['attack']}: "
            f"{100 * row['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )


def draw_passes(table: pd.DataFrame) -> Figure:
    """Robust accuracy against passes: a column for each model, a row for each ε."""
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter

    rows = table[table["epsilon"] != MEAN]
    models, epsilons = list(dict.fromkeys(rows["model"])), list(dict.fromkeys(rows["epsilon"]))
    attacks, budgets = list(dict.fromkeys(rows["attack"])), sorted(set(rows["budget"]))
    columns = min(len(models), _WIDE)
    bands = -(-len(models) // columns)
    lines = bands * len(epsilons)
    names = {attack: wrapped(attack, LEGEND) for attack in attacks}
    longest = max(7, *(len(line) for name in names.values() for line in name.splitlines()))
    size = 2.1 * columns + 1.2 + 0.085 * longest, 1.7 * lines + 0.8
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for ax in axes.flat:
        ax.set_visible(False)
    colours = dict(zip(attacks, sns.color_palette("colorblind", len(attacks)), strict=True))
    for number, model in enumerate(models):
        band, column = divmod(number, columns)
        for line, epsilon in enumerate(epsilons, band * len(epsilons)):
            ax = axes[line, column]
            ax.set_visible(True)
            here = rows[(rows["model"] == model) & (rows["epsilon"] == epsilon)]
            for attack in attacks:
                _draw_line(ax, here[here["attack"] == attack], colours[attack], attack)
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(FixedLocator(budgets))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticks(budgets, [str(budget) for budget in budgets])
            ax.tick_params(axis="x", labelsize="x-small")
            ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            if column == 0:
                ax.set_ylabel(f"ε = {epsilon}")
            if line % len(epsilons) == 0:
                ax.set_title(ModelId(model).name, loc="left", fontweight="bold")
            below = number + columns >= len(models) and epsilon == epsilons[-1]
            ax.tick_params(axis="x", labelbottom=below)
    figure.supxlabel("gradient passes for each sample and ε", fontsize="medium")
    figure.supylabel("robust accuracy", fontsize="medium")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, [names[label] for label in labels], loc="outside right upper",
        frameon=False, alignment="left", title=dataset_title(table["dataset"].iloc[0]),
        title_fontproperties={"weight": "bold"},
    )  # fmt: skip
    return figure


def _draw_line(ax: Any, part: pd.DataFrame, colour: Any, label: str) -> None:
    part = part.sort_values("budget")
    budgets, accuracies = part["budget"].to_numpy(), part["accuracy"].to_numpy()
    counts = zip((accuracies * part["samples"]).round().astype(int), part["samples"], strict=True)
    bands = [wilson(robust, samples) for robust, samples in counts]
    ax.fill_between(
        budgets, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.1,
        linewidth=0,
    )  # fmt: skip
    ax.plot(budgets, accuracies, color=colour, marker="o", markersize=3, label=label)


PASSES = Study(
    name="passes",
    title="Robust accuracy against passes",
    columns=COLUMNS,
    text=passes_text,
    figure=draw_passes,
    figure_title="robust accuracy against passes",
    lines=passes_lines,
)

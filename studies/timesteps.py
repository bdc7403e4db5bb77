"""Accuracy and robustness of the spiking models at other numbers of time steps than their own.

No weight is trained for another T. The attack follows the network at the T at which it runs. The
cells are kept in a store of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from robench.analysis.curves import dataset_title
from robench.errors import UsageError
from robench.evaluation import Plan, Request, make_plan
from robench.model_id import ModelId
from robench.registry import ModelEntry, NamedAttack
from robench.reporting.figures import invalid_entry
from robench.reporting.figures.style import NOTE, invalid, line_style
from robench.results import CellResult, ResultStore
from robench.results.metrics import wilson
from studies.pages import markdown_table, versions_text
from studies.study import Study, at_headlines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS: dict[str, type] = {
    "dataset": str,
    "data_sha256": str,
    "samples": int,
    "seed": int,
    "epsilon": str,
    "attack": str,
    "version": str,
    "model": str,
    "architecture": str,
    "mode": str,
    "own": int,
    "timesteps": int,
    "clean": float,
    "robust": float,
    "verdict": str,
}
"""Of a table: a row for each model and T. ``own`` is the T of the model's card, ``clean`` and
``robust`` are accuracies."""


def timesteps_plan(
    entries: Sequence[ModelEntry],
    attack: NamedAttack,
    timesteps: Sequence[int],
    request: Request,
    store: ResultStore,
) -> Plan:
    """A cell at the headline ε for each spiking model and T.

    Args:
        entries: the models; one without spikes is left out.
        attack: on all of them.
        timesteps: the values of T.
        request: everything else.
        store: where the cells go.

    Raises:
        UsageError: a data set has no headline ε in the norm of the attack.
    """
    plan = Plan.joined(
        make_plan(here, [attack], replace(request, eps=(headline,), timesteps=count), store)
        for headline, here in at_headlines(entries, attack.attack.norm)
        for count in timesteps
    )
    spiking = (planned for planned in plan.cells if planned.cell.model.spiking)
    return replace(plan, cells=tuple(sorted(spiking, key=lambda one: one.cell.model.id)))


def timesteps_table(cells: Sequence[CellResult]) -> pd.DataFrame:
    """The accuracies of all cells that are done, by :data:`COLUMNS`.

    Raises:
        UsageError: no cell is done.
    """
    found: list[dict[str, Any]] = []
    for cell in cells:
        if cell.outcome is None:
            continue
        who = cell.outcome.identity
        found.append(
            {
                "dataset": cell.dataset,
                "data_sha256": who.data_sha256[:16],
                "samples": who.samples,
                "seed": who.seed,
                "epsilon": cell.outcome.curve[-1].epsilon.text,
                "attack": cell.attack,
                "version": who.attack_version,
                "model": cell.model,
                "architecture": who.model_config_.get("architecture", ""),
                "mode": cell.outcome.mode,
                "own": who.model_config_.get("timesteps", who.timesteps),
                "timesteps": who.timesteps,
                "clean": cell.outcome.clean_accuracy,
                "robust": cell.outcome.curve[-1].accuracy,
                "verdict": cell.outcome.verdict,
            }
        )
    if not found:
        raise UsageError("no cell is done, so there is nothing to compare")
    return pd.DataFrame(found, columns=list(COLUMNS))


def timesteps_text(table: pd.DataFrame) -> str:
    """A table as Markdown: a row for each T, with the clean and the robust accuracy of a model."""
    models = list(dict.fromkeys(table["model"]))
    rows = {(row["model"], row["timesteps"]): row for row in table.to_dict("records")}
    lines = [
        [str(count), *(_cell(rows.get((model, count))) for model in models)]
        for count in sorted(set(table["timesteps"]))
    ]
    head = ["T", *(ModelId(model).name for model in models)]
    return "\n".join([_caption(table), "", *markdown_table(head, lines, words=0), ""])


def _cell(row: dict[Any, Any] | None) -> str:
    """Clean and robust accuracy; bold at the model's own T."""
    if row is None:
        return "—"
    mark = "" if row["verdict"] == "valid" else " †"
    text = f"{100 * row['clean']:.1f} / {100 * row['robust']:.1f}{mark}"
    return f"**{text}**" if row["timesteps"] == row["own"] else text


def _caption(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    return (
        f"**{dataset_title(row['dataset'])}**, ε = {row['epsilon']}, {row['samples']:,} test "
        f"images (SHA-256 {row['data_sha256']}), seed {row['seed']}, {versions_text(table)}. Clean "
        "/ robust accuracy in %, bold at the T of the model's training; † is a number that the "
        "checks do not call valid."
    )


def draw_timesteps(table: pd.DataFrame) -> Figure:
    """Clean accuracy beside robust accuracy, a line for each model over T."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(6.4, 3.3), layout="constrained")
    first = table.iloc[0]
    titles = {"clean": "no attack", "robust": f"{first['attack']}, ε = {first['epsilon']}"}
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (what, title) in zip(axes, titles.items(), strict=True):
        for model, part in table.groupby("model", sort=False):
            style = line_style(str(part["architecture"].iloc[0]), str(part["mode"].iloc[0]))
            y, samples = part[what], part["samples"].iloc[0]
            bands = [wilson(round(share * samples), samples) for share in y]
            ax.fill_between(
                part["timesteps"], [band.low for band in bands], [band.high for band in bands],
                color=style["color"], alpha=0.13, linewidth=0,
            )  # fmt: skip
            ax.plot(part["timesteps"], y, **style, label=ModelId(str(model)).name)
            wrong = part[part["verdict"] == "invalid"] if what == "robust" else part[:0]
            ax.plot(wrong["timesteps"], wrong[what], **invalid(style) | {"linestyle": ""})
        for own in sorted(set(table["own"])):
            ax.axvline(own, color=NOTE, linewidth=0.7, alpha=0.6, zorder=1)
        ax.set_title(title, loc="left")
        ax.set_xlabel("time steps T")
        ax.set_ylim(-0.02, 1.04)
        ax.set_xscale("log")
        counts = sorted(set(table["timesteps"]))
        ax.set_xticks(counts, list(map(str, counts)))
        ax.minorticks_off()
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes[0].set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    if (table["verdict"] == "invalid").any():
        handle, text = invalid_entry([{"marker": "o"}], linestyle="")
        handles, labels = [*handles, handle], [*labels, text]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    name = f"{dataset_title(first['dataset'])}, {first['samples']:,} images"
    figure.suptitle(name, x=0.01, ha="left", fontweight="bold")
    return figure


def timesteps_lines(table: pd.DataFrame) -> Iterator[str]:
    """A table as text, a line for each model and T."""
    for row in table.to_dict("records"):
        yield (
            f"{row['model']:24} T = {row['timesteps']:2}  clean {row['clean']:6.1%}  "
            f"{row['attack']}@{row['epsilon']} {row['robust']:6.1%}  {row['verdict']}"
        )


TIMESTEPS = Study(
    name="timesteps",
    title="Other numbers of time steps",
    columns=COLUMNS,
    text=timesteps_text,
    figure=draw_timesteps,
    figure_title="clean and robust accuracy against the number of time steps",
    lines=timesteps_lines,
)

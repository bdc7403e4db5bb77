"""Surrogates and gradient paths ranked by what each finds alone.

Which of them leads anywhere depends on the network. Each member runs by itself, as ``spgd`` runs
through it, from the same starts and with as many steps, each ε by itself. The cells are ordinary
ones, on training images, so that nothing is tuned on those that are published, in a store of their
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from robench.analysis.budget import each_epsilon
from robench.attacks import SurrogateRun
from robench.errors import UsageError
from robench.evaluation import Cell, Plan, Request
from robench.registry import ModelEntry, NamedAttack
from robench.results import ROBUST, CellResult, Interval, ResultStore
from robench.results.metrics import wilson
from robench.spiking import OZDENIZCI_LEGENSTEIN, Estimator

RANKED = (
    *OZDENIZCI_LEGENSTEIN,
    "atan(2)",
    "atan(10)",
    "fast_sigmoid(25)",
    "pdsg(1)",
    "assg(0.425)",
    "assg_scaled(0.425)",
    "rga",
    "triangle(1)/hart",
    "atan(2)/hart",
    "atan(2)/stbp-reset",
    "atan(2)/stbp-detached",
    "atan(2)/eta-detached",
)
"""What is ranked unless other members are named."""
BACKWARD = 2
"""A backward pass computes twice what a forward pass does: gradients of inputs and of states."""


def alone(finders: Sequence[str], steps: int) -> list[NamedAttack]:
    """A run through each member by itself, named after it.

    Raises:
        UsageError: a member cannot be read.
    """
    attacks = []
    for text in dict.fromkeys(finders):
        takes = Estimator.parse(text).surrogate is not None
        chosen = {"surrogates": (text,) if takes else (), "paths": () if takes else (text,)}
        run = SurrogateRun(**chosen, hybrid_estimators=(), steps=steps)
        name = f"{text}@{steps}"
        attacks.append(NamedAttack(name, run, run.name, run.full_version, ""))
    return attacks


def rank_plans(
    entries: Sequence[ModelEntry],
    finders: Sequence[str],
    steps: int,
    epsilons: Sequence[str],
    request: Request,
    store: ResultStore,
) -> list[Plan]:
    """A plan for each ε, whose cells have no other; without models that have no spikes.

    Args:
        entries: the models.
        members: surrogates, paths that take none, or both with a ``/`` between them.
        steps: of each run.
        epsilons: as they are written.
        request: everything else.
        store: where the cells go.

    Raises:
        UsageError: no model is left, or a member cannot be read.
    """
    plans = []
    for plan in each_epsilon(entries, alone(finders, steps), epsilons, request, store):
        spiking = tuple(p for p in plan.cells if p.cell.model.spikes is not None)
        if plan.cells and not spiking:
            names = ", ".join(dict.fromkeys(p.cell.model.id for p in plan.cells))
            raise UsageError(f"{names}: without spikes there is nothing to choose, nor to rank")
        plans.append(Plan(spiking, plan.skipped))
    return plans


@dataclass(frozen=True)
class Rank:
    """What a member found on a model, over all ε.

    Attributes:
        model: its id.
        member: as it is named for ``spgd``.
        held: pairs of sample and ε at which nothing was found.
        samples: such pairs.
        passes: gradient passes for each pair.
        forwards: forward passes for each pair.
        cost: of a whole run that finds nothing, in units of as many gradient passes through all
            time steps; see :func:`cost_of_run`.
    """

    model: str
    finder: str
    held: int
    samples: int
    passes: float
    forwards: float
    cost: float

    @property
    def robust(self) -> float:
        """The robust accuracy, averaged over the ε."""
        return self.held / self.samples

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the robust accuracy, as if each ε had samples of its own."""
        return wilson(self.held, self.samples)


def cost_of_run(rows: pd.DataFrame, finder: str, timesteps: int, steps: int) -> float:
    """What a whole run computes, relative to ``steps`` gradient passes through all time steps.

    It follows from what was counted on the samples that held: a forward pass computes each time
    step once, a gradient pass also its backward pass. A gradient that is taken through the twin has
    one time step, but shows the deployed model nothing, so that each iterate takes a forward pass
    more. Where no sample held, the sample with the most passes stands for them.

    Args:
        rows: of the store.
        member: its name.
        timesteps: T of the model.
        steps: of the run.
    """
    held = rows[rows["minimal_position"] == ROBUST]
    longest = rows.nlargest(1, "backwards")
    chosen = held if len(held) else longest
    path = Estimator.parse(finder).path
    through = 1 if path is not None and path.counterpart else timesteps
    computed = chosen["forwards"] * timesteps + chosen["backwards"] * (1 + BACKWARD) * through
    whole = (1 + BACKWARD) * timesteps * (steps if len(held) else chosen["backwards"])
    return float((computed / whole).mean()) if (chosen["backwards"] > 0).all() else 0.0


def ranks(results: Sequence[tuple[Cell, CellResult]], store: ResultStore, steps: int) -> list[Rank]:
    """The members of each model, the strongest first; those of equal strength, the cheapest first.

    Args:
        results: cells of :func:`rank_plans` with what became of them; those that are not done are
            left out.
        store: where their rows are.
        steps: of each run.

    Raises:
        UsageError: no cell is done.
    """
    groups: dict[tuple[str, str], list[pd.DataFrame]] = {}
    times: dict[str, int] = {}
    for cell, result in results:
        if result.outcome is not None:
            finder = result.attack.rpartition("@")[0]
            groups.setdefault((result.model, finder), []).append(store.rows(result))
            times[result.model] = cell.model.timesteps or 1
    if not groups:
        raise UsageError("no cell is done, so there is nothing to rank")
    found = [
        Rank(
            model=model,
            finder=finder,
            held=int((rows["minimal_position"] == ROBUST).sum()),
            samples=len(rows),
            passes=float(rows["backwards"].mean()),
            forwards=float(rows["forwards"].mean()),
            cost=cost_of_run(rows, finder, times[model], steps),
        )
        for (model, finder), parts in groups.items()
        for rows in [pd.concat(parts)]
    ]
    places = {model: place for place, model in enumerate(times)}
    return sorted(found, key=lambda r: (places[r.model], r.robust, round(r.cost, 2), r.passes))


def ensemble(ranked: Sequence[Rank], keep: int) -> str:
    """The strongest members of one model as an attack, from cheap to strong.

    Among members of equal cost the strongest comes first: what it breaks, the others need not try.
    Of the surrogates that remember, which would share a memory, the kind of the strongest is taken.

    Args:
        ranked: of :func:`ranks`, the strongest first.
        keep: how many.
    """
    kinds = [Estimator.parse(one.finder).statistics for one in ranked]
    first = next(filter(None, kinds), None)
    fitting = [one for one, kind in zip(ranked, kinds, strict=True) if kind in (None, first)]
    chosen = sorted(fitting[:keep], key=lambda one: round(one.cost, 1))
    surrogates = [r.finder for r in chosen if Estimator.parse(r.finder).surrogate is not None]
    paths = [r.finder for r in chosen if r.finder not in surrogates]
    lists = [("surrogates", surrogates), ("paths", paths), ("hybrid_estimators", [])]
    written = (f"{name}=[{','.join(of)}]" for name, of in lists if of or name != "paths")
    return f"spgd[{','.join(written)}]"


def rank_lines(ranked: Sequence[Rank]) -> Iterator[str]:
    """The table of one model."""
    yield f"{'member':24} {'robust':>7} {'interval':^16} {'passes':>7} {'forwards':>8} {'cost':>5}"
    for one in ranked:
        low, high = one.interval.low, one.interval.high
        yield (
            f"{one.finder:24} {one.robust:7.1%} [{low:6.1%}, {high:6.1%}] "
            f"{one.passes:7.1f} {one.forwards:8.1f} {one.cost:5.2f}"
        )


def rank_table(ranked: Sequence[Rank]) -> pd.DataFrame:
    """A row for each model and member."""
    return pd.DataFrame(
        {
            "model": one.model,
            "found_by": one.finder,
            "robust": one.robust,
            "low": one.interval.low,
            "high": one.interval.high,
            "samples": one.samples,
            "passes": one.passes,
            "forwards": one.forwards,
            "cost": one.cost,
        }
        for one in ranked
    )

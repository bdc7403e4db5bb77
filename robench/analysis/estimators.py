"""Gradient estimators ranked by what PGD finds with each of them.

Which surrogate or gradient path works best depends on the network. Each estimator runs alone, from
the same starts, with the same number of steps, and separately at each ε. The cells use training
images by default, so that no attack is tuned on the published test images, and are kept in a store
of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pandas as pd

from robench.attacks import SurrogateEnsemble
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.evaluation import Plan, Planned, Request, Skipped, find_spikes, make_plan
from robench.model_id import ModelId
from robench.registry import Model, ModelEntry, NamedAttack
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
"""The estimators that are ranked by default."""
BACKWARD = 2
"""A backward pass computes twice what a forward pass does: gradients of inputs and of states."""


def alone(estimators: Sequence[str], steps: int) -> list[NamedAttack]:
    """A run with each estimator alone, named after it.

    Raises:
        UsageError: an estimator cannot be read.
    """
    attacks = []
    for text in dict.fromkeys(estimators):
        takes = Estimator.parse(text).surrogate is not None
        chosen = {"surrogates": (text,) if takes else (), "paths": () if takes else (text,)}
        run = SurrogateEnsemble(**chosen, steps=steps)
        name = f"{text}@{steps}"
        attacks.append(NamedAttack(name, run, run.name, run.full_version, ""))
    return attacks


def each_epsilon(
    entries: Sequence[ModelEntry],
    attacks: Sequence[NamedAttack],
    epsilons: Sequence[Epsilon],
    request: Request,
    store: ResultStore,
) -> Plan:
    """A plan whose cells have one ε each, so that no attack gains from its results at another ε.

    Args:
        entries: the models.
        attacks: all of them at every ε.
        epsilons: to attack at, one by one.
        request: everything else.
        store: where the cells go.
    """
    return Plan.joined(
        make_plan(entries, attacks, replace(request, eps=(e,)), store) for e in epsilons
    )


def estimator_plan(
    entries: Sequence[ModelEntry],
    estimators: Sequence[str],
    steps: int,
    epsilons: Sequence[Epsilon],
    request: Request,
    store: ResultStore,
) -> Plan:
    """A plan whose cells have one ε and one estimator each.

    Models without spikes are left out, and so are estimators that a model cannot take. For this,
    the spikes of a user's networks are searched for.

    Args:
        entries: the models.
        estimators: surrogates, paths that take none, or both with a ``/`` between them.
        steps: of each run.
        epsilons: to attack at, one by one.
        request: everything else.
        store: where the cells go.

    Raises:
        UsageError: no model is left, or an estimator cannot be read.
        RobenchError: a user's network cannot be called. Its own exceptions are not caught.
    """
    entries = [replace(entry, load=cache(entry.load)) for entry in entries]  # one for all ε
    plan = each_epsilon(entries, alone(estimators, steps), epsilons, request, store)
    cells: dict[ModelId, list[Planned]] = {}
    for planned in plan.cells:
        cells.setdefault(planned.cell.model.id, []).append(planned)
    kept: list[Planned] = []
    skipped = list(plan.skipped)
    for name, here in cells.items():
        find_spikes(here[0].cell)
        if reason := _one_gradient(here[0].cell.model):
            skipped.append(Skipped(name, reason))
            continue
        taken = [planned for planned in here if not planned.cell.unmet()]
        kept += taken
        if left := [planned.cell for planned in here if planned.cell.unmet()]:
            needs = sorted(set().union(*(cell.unmet() for cell in left)))
            names = ", ".join(dict.fromkeys(_estimator(cell.attack.name) for cell in left))
            lacks = " and ".join(_LACKS.get(need, need) for need in needs)
            skipped.append(Skipped(name, f"it cannot take {names}: {lacks}"))
    return Plan(tuple(kept), tuple(skipped))


_LACKS = {
    "paths": "its layers are not those of robench",
    "layers over time": "not every spike is in a layer that sees all time steps",
    "firing rates": "no layers with a known firing rate",
    "counterpart": "there is no ANN counterpart",
}


def _one_gradient(model: Model) -> str:
    """Why the estimators of a model do not differ; empty if they do."""
    found = model.discovery
    if model.layered or (found is not None and found.replaced and found.spikes):
        return ""
    kept = found is not None and (found.refused or found.own)
    return f"{found if kept else 'a model without spikes has one gradient'}; nothing to rank"


def _estimator(attack: str) -> str:
    """The estimator of an attack of :func:`alone`."""
    return attack.rpartition("@")[0]


@dataclass(frozen=True)
class Rank:
    """What an estimator found on a model, over all ε.

    Attributes:
        model: its id.
        estimator: its name.
        not_found: pairs of sample and ε without an adversarial example.
        samples: all pairs.
        passes: gradient passes for each pair.
        forwards: forward passes for each pair.
        cost: of a whole run that finds nothing, relative to as many gradient passes through all
            time steps; see :func:`cost_of_run`.
    """

    model: str
    estimator: str
    not_found: int
    samples: int
    passes: float
    forwards: float
    cost: float

    @property
    def robust(self) -> float:
        """The robust accuracy, averaged over the ε."""
        return self.not_found / self.samples

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the robust accuracy, as if each ε had samples of its own."""
        return wilson(self.not_found, self.samples)


def cost_of_run(rows: pd.DataFrame, estimator: str, timesteps: int, steps: int) -> float:
    """What a whole run computes, relative to ``steps`` gradient passes through all time steps.

    It is computed from the counts of the samples that stay robust: a forward pass computes each
    time step once, a gradient pass adds its backward pass. A gradient of the ANN counterpart has
    one time step, but each iterate takes one more forward pass through the deployed model. Where
    no sample stays robust, the sample with the most passes is used.

    Args:
        rows: of the store.
        estimator: its name.
        timesteps: T of the model.
        steps: of the run.
    """
    robust = rows[rows["minimal_position"] == ROBUST]
    chosen = robust if len(robust) else rows.nlargest(1, "backwards")
    path = Estimator.parse(estimator).path
    through = 1 if path is not None and path.counterpart else timesteps
    computed = chosen["forwards"] * timesteps + chosen["backwards"] * (1 + BACKWARD) * through
    whole = (1 + BACKWARD) * timesteps * (steps if len(robust) else chosen["backwards"])
    return float((computed / whole).mean()) if (chosen["backwards"] > 0).all() else 0.0


def ranks(results: Sequence[CellResult], store: ResultStore, steps: int) -> list[Rank]:
    """The estimators of each model, the strongest first; among equally strong ones the cheapest.

    Args:
        results: of the cells of :func:`estimator_plan`; those that are not done are left out.
        store: where their rows are.
        steps: of each run.

    Raises:
        UsageError: no cell is done.
    """
    groups: dict[tuple[str, str], list[pd.DataFrame]] = {}
    times: dict[str, int] = {}
    for result in results:
        if result.outcome is not None:
            estimator = _estimator(result.attack)
            groups.setdefault((result.model, estimator), []).append(store.rows(result))
            times[result.model] = result.outcome.identity.timesteps or 1
    if not groups:
        raise UsageError("no cell is done, so there is nothing to rank")
    found = [
        Rank(
            model=model,
            estimator=estimator,
            not_found=int((rows["minimal_position"] == ROBUST).sum()),
            samples=len(rows),
            passes=float(rows["backwards"].mean()),
            forwards=float(rows["forwards"].mean()),
            cost=cost_of_run(rows, estimator, times[model], steps),
        )
        for (model, estimator), parts in groups.items()
        for rows in [pd.concat(parts)]
    ]
    places = {model: place for place, model in enumerate(times)}
    return sorted(found, key=lambda r: (places[r.model], r.robust, round(r.cost, 2), r.passes))


def ensemble(ranked: Sequence[Rank], keep: int) -> str:
    """The strongest estimators of one model as an attack, from cheap to strong.

    Among estimators of equal cost the strongest comes first: the others skip the samples for which
    it finds an adversarial example.

    Args:
        ranked: of :func:`ranks`, the strongest first.
        keep: how many.
    """
    chosen = sorted(ranked[:keep], key=lambda one: round(one.cost, 1))
    surrogates = [r.estimator for r in chosen if Estimator.parse(r.estimator).surrogate is not None]
    paths = [r.estimator for r in chosen if r.estimator not in surrogates]
    lists = [("surrogates", surrogates), ("paths", paths)]
    written = (f"{name}=[{','.join(of)}]" for name, of in lists if of or name != "paths")
    return f"surrogate-ensemble[{','.join(written)}]"


def rank_lines(ranked: Sequence[Rank]) -> Iterator[str]:
    """The table of one model as text."""
    head = ("estimator", "robust", "interval", "passes", "forwards", "cost")
    yield "{:24} {:>7} {:^16} {:>7} {:>8} {:>5}".format(*head)
    for one in ranked:
        low, high = one.interval.low, one.interval.high
        yield (
            f"{one.estimator:24} {one.robust:7.1%} [{low:6.1%}, {high:6.1%}] "
            f"{one.passes:7.1f} {one.forwards:8.1f} {one.cost:5.2f}"
        )


def rank_table(ranked: Sequence[Rank]) -> pd.DataFrame:
    """A row for each model and estimator."""
    return pd.DataFrame(
        {
            "model": one.model,
            "estimator": one.estimator,
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

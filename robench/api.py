"""robench in Python: evaluate a network, check it, read results.

::

    import robench

    result = robench.evaluate(net, dataset="cifar10", attacks=["pgd", "spgd"], limit=200)
    result.to_frame()
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.utils.data import Dataset as Pairs

from robench.arguments import dataset_of, epsilons_of, model_of
from robench.datasets import find_dataset
from robench.errors import UsageError, whole
from robench.evaluation import (
    LocalExecutor,
    Request,
    checks_alone,
    make_plan,
    read_slice,
    run_plan,
)
from robench.isolation import isolated
from robench.registry import AttackRequest, Model, ModelEntry, find_attacks, select_models
from robench.reporting.between import comparisons
from robench.reporting.cells import Results, read_results
from robench.reporting.model_checks import ModelChecks
from robench.reporting.terminal.estimates import Estimates
from robench.reporting.terminal.progress import RunProgress
from robench.results import ResultStore, Thoroughness

if TYPE_CHECKING:  # scikit-learn is slow to import
    from robench.analysis import PlantedTests

ATTACKS = ("fgsm", "pgd", "spgd")
CHECKED = 64
"""How many images :func:`check` looks at by default."""


def list_models(pattern: str = "all", *, dataset: str | None = None) -> list[str]:
    """The ids of the registered models.

    Args:
        pattern: a glob such as ``cifar10/*-stbp``; ``all`` leaves out the controls.
        dataset: keep the models of this data set.

    Raises:
        UsageError: nothing matches.
    """
    if dataset is not None:
        find_dataset(dataset)
    return [str(entry.id) for entry in select_models([pattern], dataset=dataset)]


def evaluate(
    model: str | Model | nn.Module,
    attacks: AttackRequest | Sequence[AttackRequest] = ATTACKS,
    *,
    dataset: str | None = None,
    images: Tensor | ArrayLike | Pairs[Any] | None = None,
    labels: Tensor | ArrayLike | None = None,
    eps: str | float | Sequence[str | float] | None = None,
    limit: int | float | str | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    store: str | Path | None = None,
    checks: Thoroughness = "cheap",
    progress: bool = True,
) -> Results:
    """Attack a model over a sweep of ε.

    The network is afterwards as before, and so are the settings of the process that
    :class:`robench.isolation.ProcessSettings` lists.

    Args:
        model: id of a registered model, a :class:`robench.Model`, or a network from images
            ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``.
        attacks: names, with parameters such as ``pgd[steps=100]``, or subclasses of
            :class:`robench.Attack`, with or without parameters.
        dataset: name of the data set of a network, ``file.py:make`` for one of your own, or a new
            name for ``images``.
        images: instead of a data set's, ``(N, C, H, W)`` in [0, 1]; or a torch Dataset of pairs of
            an image and its label, such as an ``ImageFolder``.
        labels: of the images, ``(N,)``, from 0.
        eps: such as ``["2/255", 0.03]``; by default the grid of the data set, and that of CIFAR-10
            for ``images``.
        limit: number of images, the first ones, or a fraction; by default the data set's slice, and
            all of ``images``.
        seed: of the attacks' random numbers.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        batch_size: rows of one call; None to choose it. Results change only by rounding.
        store: folder that keeps the results: the same call again computes only what is missing.
        checks: ``full`` attacks some images again, in balls that hold every image, with twice the
            steps and without a gradient; ``off`` gives no verdict.
        progress: whether to show a progress bar.

    Raises:
        UsageError: an argument is invalid.
        RobenchError: a cell cannot be computed. Exceptions of the network are not caught.
    """
    own = dataset_of(model, dataset, images, labels)
    chosen = model_of(model, dataset, own)
    request = Request(
        eps=None if eps is None else epsilons_of(eps),
        limit=None if limit is None else str(limit),
        seed=whole("seed", seed, 0),
        batch_size=None if batch_size is None else whole("batch_size", batch_size, 1),
        device=str(device),
        checks=checks,
    )
    entry = ModelEntry(chosen.id, "Python", False, "", lambda: chosen, named=True)
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(TemporaryDirectory(prefix="robench-"))
        kept = ResultStore(Path(store))
        kept.require_writable()
        named = find_attacks(attacks)
        with isolated():  # another thread may be changing the network, which is hashed here
            plan = make_plan([entry], named, request, kept, find=lambda n: own or find_dataset(n))
        bar = RunProgress(plan, Estimates.of(plan, kept), sys.stderr, shown=progress)
        stack.enter_context(bar)
        cells = []
        here = LocalExecutor(strict=True, progress=bar.update)
        for cell, computed in run_plan(plan, kept, executor=here, finished=bar.count):
            cells.append(cell)
            if computed:
                bar.learn(cell)
        compared = comparisons(cells, kept)
    return Results(tuple(cells), compared=compared)


def check(
    model: str | Model | nn.Module,
    *,
    dataset: str | None = None,
    images: Tensor | ArrayLike | Pairs[Any] | None = None,
    labels: Tensor | ArrayLike | None = None,
    limit: int | float | str | None = None,
    device: str = "auto",
) -> ModelChecks:
    """Check a model before an attack, on a few images.

    The checks say whether the same image always gives the same logits, whether the outputs are
    logits that classify, whether the network has a gradient of its own that can be followed, and
    whether its spikes are found. docs/checks.md explains each of them.

    Args:
        model: as in :func:`evaluate`, like all others.
        dataset: name of the data set of a network.
        images: instead of a data set's.
        labels: of the images.
        limit: number of images; 64 by default, or all where there are fewer.
        device: of the network.
    """
    own = dataset_of(model, dataset, images, labels)
    chosen = model_of(model, dataset, own)
    if limit is None:
        limit = min(CHECKED, len((own or find_dataset(chosen.dataset)).read("test")))
    request = Request(limit=str(limit), device=str(device))
    entry = ModelEntry(chosen.id, "Python", False, "", lambda: chosen, named=True)
    with TemporaryDirectory(prefix="robench-") as folder, isolated():
        plan = make_plan(
            [entry], find_attacks("fgsm"), request, ResultStore(Path(folder)),
            find=lambda name: own or find_dataset(name),
        )  # fmt: skip
    return ModelChecks(str(chosen.id), tuple(checks_alone(plan.cells[0].cell)))


def planted(
    model: str | Model | nn.Module,
    attacks: AttackRequest | Sequence[AttackRequest] = "spgd",
    *,
    dataset: str | None = None,
    images: Tensor | ArrayLike | Pairs[Any] | None = None,
    labels: Tensor | ArrayLike | None = None,
    eps: str | float | None = None,
    limit: int | float | str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> PlantedTests:
    """Whether attacks find adversarial examples that are planted in a model, and so must exist.

    The arguments are those of :func:`evaluate`: ``attacks`` in L∞, one ``eps`` (by default the
    largest of the data set's grid: in a small ball few spikes tell a corner from noise) and a
    ``limit`` of 32 images. See :mod:`robench.analysis.planted`.
    """
    from robench.analysis import planted_tests

    own = dataset_of(model, dataset, images, labels)
    chosen = model_of(model, dataset, own)
    of = own or find_dataset(chosen.dataset)
    grid = of.protocol.grids.get("linf", ()) if eps is None else epsilons_of(eps)
    if not grid:
        raise UsageError(f"data set {of.name} has no grid for linf; give eps")
    if eps is not None and len(grid) > 1:
        raise UsageError(f"eps={eps!r}: examples are planted at one ε; give one")
    few = of.read("test").first(32) if limit is None else read_slice(of, str(limit))
    named = find_attacks(attacks)
    return planted_tests(chosen, named, few, grid[-1], seed=whole("seed", seed, 0), device=device)


def load_results(folder: str | Path = "results") -> Results:
    """The results that ``robench run`` or :func:`evaluate` stored in a folder.

    Raises:
        UsageError: there are none.
    """
    found = read_results(ResultStore(Path(folder)))
    if not found.cells and not found.damaged:
        raise UsageError(f"there are no results in {folder}; make them with: robench run")
    return found

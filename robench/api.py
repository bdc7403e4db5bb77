"""robench in Python: load or wrap a network, evaluate it, look at the result.

::

    import robench

    result = robench.evaluate(net, dataset="cifar10", attacks=["pgd", "spgd"], limit=200)
    result.to_frame()
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from robench.datasets import CIFAR10, Dataset, Images, dataset_names, find_dataset
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.evaluation import Cell, Request, make_plan, read_slice, run_plan
from robench.isolation import contained, isolated
from robench.model_id import ModelId
from robench.registry import Model, ModelEntry, find_attacks, select_models
from robench.reporting.between import comparisons
from robench.reporting.cells import Checks, Results
from robench.reporting.progress import ProgressBar
from robench.results import ResultStore
from robench.runtime.borrowing import borrowed

if TYPE_CHECKING:  # scikit-learn is slow to import
    from robench.analysis import PlantedTests

ATTACKS = ("fgsm", "pgd", "spgd")
TENSORS = "tensors"
"""The name of a data set of tensors without a name."""


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


def load_model(name: str) -> Model:
    """A model by its id, or that of a folder, ``module:function`` or ``file.py:function``.

    Raises:
        RobenchError: there is no such model, or it cannot be loaded.
    """
    entries = select_models([name])
    if len(entries) > 1:
        raise UsageError(f"{name!r} names {len(entries)} models; load_model loads one")
    if entries[0].missing:
        raise UsageError(f"model {entries[0].id}: {entries[0].missing}")
    return entries[0].load()


def evaluate(
    model: str | Model | nn.Module,
    attacks: str | Sequence[str] = ATTACKS,
    *,
    dataset: str | None = None,
    images: Tensor | ArrayLike | None = None,
    labels: Tensor | ArrayLike | None = None,
    eps: str | float | Sequence[str | float] | None = None,
    limit: int | float | str | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    store: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Attack a model over a sweep of ε.

    The network is afterwards as before, and so are the settings of the process that
    :class:`robench.isolation.Settings` lists.

    Args:
        model: id of a registered model, a :class:`robench.Model`, or a network from images
            ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``.
        attacks: names, with parameters such as ``pgd[steps=100]``.
        dataset: name of the data set of a network, or a new name for ``images``.
        images: instead of a data set's, ``(N, C, H, W)`` in [0, 1].
        labels: of the images, ``(N,)``, from 0.
        eps: such as ``["2/255", 0.03]``; by default the grid of the data set, and that of CIFAR-10
            for ``images``.
        limit: number of images, the first ones, or a fraction; by default the data set's slice, and
            all of ``images``.
        seed: of the attacks' random numbers.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        batch_size: rows of one call; None to choose it. It changes only the speed.
        store: folder that keeps the results: the same call again computes only what is missing.
        progress: whether to show a progress bar.

    Raises:
        UsageError: an argument is invalid.
        RobenchError: a cell cannot be computed. Exceptions of the network are not caught.
    """
    own = _own_dataset(model, dataset, images, labels)
    chosen = _model(model, dataset, own)
    request = Request(
        eps=None if eps is None else _epsilons(eps),
        limit=None if limit is None else str(limit),
        seed=_whole("seed", seed, 0),
        batch_size=None if batch_size is None else _whole("batch_size", batch_size, 1),
        device=str(device),
    )
    entry = ModelEntry(chosen.id, "Python", False, "", lambda: chosen, named=True)
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(TemporaryDirectory(prefix="robench-"))
        kept = ResultStore(Path(store))
        kept.require_writable()
        if not isinstance(attacks, str) and not isinstance(attacks, list | tuple):
            raise UsageError(f"attacks={attacks!r}: give names, such as ['pgd', 'spgd']")
        named = find_attacks(attacks)
        with isolated():  # another thread may be changing the network, which is hashed here
            plan = make_plan([entry], named, request, kept, find=lambda n: own or find_dataset(n))
        todo = sum(len(planned.cell.images) for planned in plan.cells if not planned.done)
        bar = stack.enter_context(ProgressBar(todo, sys.stderr, shown=progress))

        def show(cell: Cell, finished: int) -> None:
            bar.update(f"{cell.model.id} {cell.attack.name}", finished)

        cells = []
        for cell, computed in run_plan(plan, kept, strict=True, progress=show):
            cells.append(cell)
            if computed and cell.outcome is not None:
                bar.next_cell(cell.outcome.identity.samples)
        checks = comparisons(cells, kept)
    return Results(tuple(cells), compared=checks)


def check(
    model: str | Model | nn.Module,
    *,
    dataset: str | None = None,
    images: Tensor | ArrayLike | None = None,
    labels: Tensor | ArrayLike | None = None,
    limit: int | float | str | None = 50,
    device: str = "auto",
) -> Checks:
    """Check a model before its numbers are believed: the checks of ``pgd`` on a few images.

    They say whether the same image always gives the same logits, whether the network has a usable
    gradient of its own, and whether an attack with ε = 0 leaves the accuracy as it is.

    Args:
        model: as in :func:`evaluate`, like all others.
        dataset: name of the data set of a network.
        images: instead of a data set's.
        labels: of the images.
        limit: number of images.
        device: of the network.
    """
    return evaluate(
        model, ["pgd"], dataset=dataset, images=images, labels=labels, limit=limit, device=device,
        progress=False,
    ).checks()  # fmt: skip


def planted(
    model: str | Model | nn.Module,
    attacks: str | Sequence[str] = "spgd",
    *,
    dataset: str | None = None,
    images: Tensor | ArrayLike | None = None,
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

    own = _own_dataset(model, dataset, images, labels)
    chosen = _model(model, dataset, own)
    of = own or find_dataset(chosen.dataset)
    grid = of.protocol.grids.get("linf", ()) if eps is None else _epsilons(eps)
    if not grid:
        raise UsageError(f"data set {of.name} has no grid for linf; give eps")
    few = of.read("test").first(32) if limit is None else read_slice(of, str(limit))
    named = find_attacks(attacks)
    return planted_tests(chosen, named, few, grid[-1], seed=_whole("seed", seed, 0), device=device)


def load_results(folder: str | Path = "results") -> Results:
    """The results that ``robench run`` or :func:`evaluate` stored in a folder.

    Raises:
        UsageError: there are none.
    """
    store = ResultStore(Path(folder))
    cells, damaged = store.cells()
    if not cells and not damaged:
        raise UsageError(f"there are no results in {folder}; make them with: robench run")
    return Results(tuple(cells), tuple(damaged), comparisons(cells, store))


def _epsilons(eps: Any) -> tuple[Epsilon, ...]:
    """One ε or several, as texts or numbers."""
    try:
        values = [eps] if isinstance(eps, str | int | float) else list(eps)
        texts = [value if isinstance(value, str) else repr(float(value)) for value in values]
    except (TypeError, ValueError):
        raise UsageError(f"eps={eps!r}: give numbers or texts, such as [0.03, '8/255']") from None
    if not texts:
        raise UsageError("eps is empty; give one ε or more, such as [0.03, '8/255']")
    return tuple(map(Epsilon.parse, texts))


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name}={value!r}: give an integer from {least}")
    return value


def _model(model: str | Model | nn.Module, dataset: str | None, own: Dataset | None) -> Model:
    """The model that a user means; its data set is that of the tensors, if there are any."""
    if isinstance(model, str):
        model = load_model(model)
    if isinstance(model, Model):
        if own is not None:
            return replace(model, id=ModelId(f"{own.name}/{model.id.name}"), dataset=own.name)
        if dataset not in (None, model.dataset):
            raise UsageError(f"model {model.id} is of data set {model.dataset}, not of {dataset!r}")
        return model
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"a model is an id, a robench.Model or a torch.nn.Module, not {type(model).__name__}"
        )
    if own is not None:
        kind = "images" if own.frames is None else "frames"
        return Model(model, dataset=own.name, classes=own.classes, input_kind=kind)
    if dataset is None:
        raise UsageError(
            "a network needs a data set: dataset='cifar10', or images=x and labels=y of your own"
        )
    return Model(model, dataset=dataset)


def _own_dataset(
    model: str | Model | nn.Module,
    name: str | None,
    images: Tensor | ArrayLike | None,
    labels: Tensor | ArrayLike | None,
) -> Dataset | None:
    """A data set of the user's tensors, with the ε of CIFAR-10; None without any."""
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise UsageError("images and labels belong together: evaluate(net, images=x, labels=y)")
    if name in dataset_names():
        raise UsageError(
            f"dataset {name!r} has its own images: leave images and labels out, or use another name"
        )
    if isinstance(model, str):
        model = load_model(model)
    found = Images.of(images, labels)
    classes = model.classes if isinstance(model, Model) else _count_logits(model, found)
    return Dataset(
        name=name or TENSORS,
        title=name or TENSORS,
        classes=classes,
        shape=found.images.shape[1:],
        protocol=replace(CIFAR10.protocol, slice=len(found)),
        load=lambda split: found,
    )


def _count_logits(network: nn.Module, images: Images) -> int:
    """The number of logits of a network for an image."""
    with borrowed(network), contained(), torch.no_grad():
        logits = network(images.first(1).tensor())
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise UsageError("the network has to return logits (N, K) for images (N, C, H, W)")
    return logits.shape[1]

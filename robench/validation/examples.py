"""The adversarial examples that ``--keep-examples`` has stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.attacks.primitives.norms import in_box, length, tolerance
from robench.datasets import Split, find_dataset
from robench.engine.shared_perturbation import SCALE
from robench.epsilon import NORMS
from robench.errors import RobenchError
from robench.registry.attack_parameters import FRAMES
from robench.results import CLEAN_WRONG, AdversarialExamples, CellResult, Identity, ResultStore
from robench.results.files import EXAMPLES, kept_at
from robench.validation.findings import Finding, attempt, fault

CleanImages = Callable[[str, int, str], Tensor | None]
"""The first images of a data set that have a SHA-256, ``(N, C, H, W)``; None without them."""


def clean_images(dataset: str, samples: int, sha256: str) -> Tensor | None:
    """The first images of a data set, of the split that has this SHA-256; None without them."""
    for split in get_args(Split):
        try:
            images = find_dataset(dataset).read(split).first(samples)
        except RobenchError:
            continue
        if images.sha256 == sha256:
            return images.tensor()
    return None


def rounding(identity: Identity) -> float | None:
    """How much a perturbation may exceed its ε; None if the shape of the images is unknown."""
    try:
        shape = find_dataset(identity.dataset).shape
    except RobenchError:
        return None
    shared = identity.parameters.get(FRAMES) == "shared"
    attacked = shape[1:] if shared and len(shape) == 4 else shape
    return (SCALE if shared else 1) * tolerance(torch.empty(0, *attacked), identity.norm)


def check_examples(
    store: ResultStore,
    cell: CellResult,
    identity: Identity,
    positions: NDArray[np.int64],
    values: NDArray[np.float64],
    clean: CleanImages,
) -> Iterator[Finding]:
    """What is wrong with the adversarial examples of a cell, if they are stored.

    Args:
        store: of the cell.
        cell: a done cell.
        identity: of the cell.
        positions: of the minimal ε of each sample, ``(N,)``.
        values: the ε of the grid.
        clean: the images that they started from, by which the ball is checked.
    """
    path = store.path(cell.model, cell.attack, cell.hash).with_suffix(EXAMPLES)
    path = kept_at(path, cell.examples_sha256)
    if not path.exists():
        return
    if cell.sha256 is not None and cell.examples_sha256 is None:
        yield Finding("leftover-rows", path, "no record names it")
        return
    found = attempt("examples-damaged", path, lambda: store.examples(cell))
    if isinstance(found, Finding):
        yield found
        return
    if found is None:
        yield Finding("examples-damaged", path, "it is no safetensors file of index and images")
        return
    start = clean(identity.dataset, identity.samples, identity.data_sha256)
    rules: dict[str, Callable[[], str]] = {
        "examples-samples": lambda: _other_samples(found, positions),
        "examples-shape": lambda: _other_shape(found, start),
        "examples-outside-box": lambda: _outside_box(found),
        "examples-outside-ball": lambda: _outside_ball(found, identity, positions, values, start),
    }
    # a rule rests on those before it
    every = (fault(rule, path, check) for rule, check in rules.items())
    yield from next((findings for findings in every if findings), [])


def _other_samples(found: AdversarialExamples, positions: NDArray[np.int64]) -> str:
    """Whether there is not one example for each sample that has a minimal ε above 0."""
    attacked = np.flatnonzero(positions > CLEAN_WRONG)
    if np.array_equal(found.index, attacked):
        return ""
    return f"it is of {found.index.size} samples, not of the {len(attacked)} that have one"


def _other_shape(found: AdversarialExamples, start: Tensor | None) -> str:
    """Whether the images are no float32 of the shape of the clean ones."""
    images, count = found.images, len(found.index)
    if start is None:
        good, wanted = images.ndim in (4, 5) and len(images) == count, f"({count}, C, H, W)"
    else:
        shape = (count, *start.shape[1:])
        good, wanted = images.shape == shape, str(shape)
    if good and images.dtype == np.float32:
        return ""
    return f"the images are {images.dtype} {images.shape}, not float32 {wanted}"


def _outside_box(found: AdversarialExamples) -> str:
    outside = ~in_box(torch.from_numpy(found.images))
    return _listed(found.index, outside, "outside [0, 1]")


def _outside_ball(
    found: AdversarialExamples,
    identity: Identity,
    positions: NDArray[np.int64],
    values: NDArray[np.float64],
    start: Tensor | None,
) -> str:
    """Which examples are further from their clean image than the minimal ε of their sample."""
    slack = rounding(identity)
    if start is None or slack is None or identity.norm not in NORMS:
        return ""
    delta = (torch.from_numpy(found.images) - start[found.index]).double()
    if identity.parameters.get(FRAMES) == "shared":
        delta = delta.abs().amax(1)  # clipping shortens the perturbation in some frames only
    allowed = torch.from_numpy(values[positions[found.index]] + slack)
    outside = ~(length(delta, identity.norm) <= allowed)
    return _listed(found.index, outside, f"further than their minimal ε in {NORMS[identity.norm]}")


def _listed(index: NDArray[np.int64], outside: Tensor, where: str) -> str:
    rows = index[outside.numpy()]
    if not len(rows):
        return ""
    return f"{len(rows)} of {len(index)} are {where}, the first is sample {rows[0]}"

"""Whether the outputs are logits that an attack can follow, and classify.

Every figure is that of clean images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robench.checks.verdicts import at_most
from robench.results import Check, Verdict

TIES = 0.05
"""The largest share of images whose two largest logits are equal."""
CLEARLY = 1.5
"""Accuracy in units of chance above which more images may show that a network classifies."""
FEWEST = 16
"""With fewer images, the interval of a good network's accuracy can reach chance."""
_RESOLUTION = 1e-3
"""The smallest part of the logits' spread that their number type has to resolve."""
_PER_CLASS = 4
"""Images for each class with which an order of the labels can be found."""


def probabilities(logits: Tensor) -> Check:
    """Suspect if the outputs are probabilities, of which the loss takes the softmax again.

    The figure is the share of images whose outputs are positive and add up to 1. Firing rates often
    add up to 1 too, but some are zero then.

    Args:
        logits: ``(N, K)``.
    """
    z = logits.double()
    sums = (z.sum(1) - 1).abs() < 1e-3
    share = float(((z > 0).all(1) & sums).double().mean())
    return at_most("probabilities", share, 0.5, "probabilities", "suspect")


def ties(logits: Tensor) -> Check:
    """Suspect if the two largest logits are equal for more than 5 % of the images.

    So coarse an output, as the number of spikes in few time steps, decides by the order of the
    classes. The figure is the share of these images.

    Args:
        logits: ``(N, K)``.
    """
    first, second = logits.double().topk(2, dim=1).values.unbind(1)
    return at_most("ties", float((first == second).double().mean()), TIES, "tied-logits", "suspect")


def offset(logits: Tensor) -> Check:
    """Suspect if a common offset of the logits takes the digits that their differences need.

    The figure is the largest logit in units of the spread over the classes; at a thousandth of the
    spread, a step of the logits' number type is too coarse for a gradient.

    Args:
        logits: ``(N, K)``.
    """
    z = logits.double()
    spread = (z.amax(1) - z.amin(1)).median()
    size = float(z.abs().max() / spread) if spread > 0 else 0.0
    limit = max(8.0, _RESOLUTION / torch.finfo(logits.dtype).eps)
    return at_most("offset", size, limit, "offset-logits", "suspect")


def clean_accuracy(logits: Tensor, y: Tensor) -> Check | None:
    """Whether the network classifies: not at chance, not one class, no labels in another order.

    The robust accuracy of such a network says nothing, so it is invalid; suspect if the accuracy
    is well above chance, but its interval is not. The figure is the upper end of the exact
    95 % interval of the error (Clopper and Pearson, Biometrika 1934): of a thousand classes, a
    single hit is chance. The threshold is the error at chance: of one class among all, or of
    predictions as frequent as the network's own that look at no image. None with fewer than 16
    images.

    Args:
        logits: ``(N, K)``.
        y: labels, ``(N,)``.
    """
    from scipy.stats import binomtest  # imported late: it is slow

    y, classes = y[: len(logits)].cpu(), logits.shape[1]
    if len(y) < FEWEST:
        return None
    found = logits.argmax(1)
    hits = binomtest(int((found == y).sum()), len(y))
    error = 1 - float(hits.proportion_ci(method="exact").low)
    by_shares = float((_shares(found, classes) * _shares(y, classes)).sum())
    reason = "accuracy-at-chance"
    verdict: Verdict = "invalid"
    if bool((found == found[0]).all()) and bool((y != y[0]).any()):
        error, reason = 1.0, "one-class"
    elif len(y) >= _PER_CLASS * classes and _best_order(found, y, classes) > 0.5:
        reason = "labels-in-another-order"
    # an error exactly at chance is one too
    chance = max(1 / classes, by_shares)
    if reason == "accuracy-at-chance" and hits.statistic > CLEARLY * chance:
        verdict = "suspect"
    return at_most("clean-accuracy", error, 1 - chance - 1e-9, reason, verdict)


def _shares(found: Tensor, classes: int) -> Tensor:
    """The share of each class, ``(K,)``."""
    return found.bincount(minlength=classes).double() / len(found)


def _best_order(found: Tensor, y: Tensor, classes: int) -> float:
    """The largest accuracy after the classes are given other names."""
    from scipy.optimize import linear_sum_assignment  # imported late: it is slow

    counts = torch.zeros(classes, classes)
    counts.index_put_((y, found), torch.ones(len(y)), accumulate=True)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    return float(counts[rows, columns].sum()) / len(y)

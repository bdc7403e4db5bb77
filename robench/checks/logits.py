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
    predictions as frequent as the network's own that look at no image. One class is invalid however
    many images are of it: a network that looks at no image is right as often under any attack.
    Labels are in another order if most images are right after the classes are given other names,
    and their interval lies above chance and above the accuracy without. None with fewer than 16
    images.

    Args:
        logits: ``(N, K)``.
        y: labels, ``(N,)``.
    """
    y, classes = y[: len(logits)].cpu(), logits.shape[1]
    if len(y) < FEWEST:
        return None
    found = logits.argmax(1)
    accuracy, low = _accuracy(found, y)
    error, chance = 1 - low, _chance(found, y, classes)
    reason = "accuracy-at-chance"
    verdict: Verdict = "invalid"
    if bool((found == found[0]).all()) and bool((y != y[0]).any()):
        error, reason = 1.0, "one-class"
    elif len(y) >= _PER_CLASS * classes:
        renamed = _best_names(found, y, classes)[found]
        most, at_least = _accuracy(renamed, y)
        # with two classes one of both orders is always right for half of the images
        if most > 0.5 and at_least > max(accuracy, _chance(renamed, y, classes)):
            reason = "labels-in-another-order"
    if reason == "accuracy-at-chance" and accuracy > CLEARLY * chance:
        verdict = "suspect"
    # an error exactly at chance is one too
    return at_most("clean-accuracy", error, 1 - chance - 1e-9, reason, verdict)


def _accuracy(found: Tensor, y: Tensor) -> tuple[float, float]:
    """The accuracy, and the lower end of its interval."""
    from scipy.stats import binomtest  # imported late: it is slow

    hits = binomtest(int((found == y).sum()), len(y))
    return float(hits.statistic), float(hits.proportion_ci(method="exact").low)


def _chance(found: Tensor, y: Tensor, classes: int) -> float:
    """The accuracy of one class among all, or of predictions as frequent that look at no image."""
    of, among = (part.bincount(minlength=classes).double() / len(y) for part in (found, y))
    return max(1 / classes, float((of * among).sum()))


def _best_names(found: Tensor, y: Tensor, classes: int) -> Tensor:
    """The name of each class with which most images are right, ``(K,)``."""
    from scipy.optimize import linear_sum_assignment  # imported late: it is slow

    counts = torch.zeros(classes, classes)
    counts.index_put_((found, y), torch.ones(len(y)), accumulate=True)
    return torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])

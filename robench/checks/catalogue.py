"""The checks of robench, in the order in which they are on record."""

from __future__ import annotations

from robench.checks.batch_gradient import batch_gradient
from robench.checks.card_accuracy import card_accuracy
from robench.checks.determinism import deterministic
from robench.checks.gradient import usable_gradient
from robench.checks.queries import asked
from robench.checks.registry import CellCheck, ModelCheck
from robench.checks.spikes import replaceable
from robench.checks.zero_epsilon import zero_epsilon

OF_MODELS = (
    ModelCheck(
        "deterministic",
        lambda s: deterministic(s.model, s.x),
        "The same image gives the same logits: twice, alone, and in another order.",
        "Reset the state in forward, call eval(), and draw random numbers from robench.ModelNoise.",
        "Croce and Hein, ICML 2020",
    ),
    ModelCheck(
        "spikes",
        lambda s: replaceable(s.model),
        "Every spike of the network is found and can be given another derivative.",
        "Write the spike as a function of one tensor, or as a comparison; see spike-discovery.md.",
    ),
    ModelCheck(
        "batch-gradient",
        lambda s: batch_gradient(s.model, s.x, s.y),
        "The gradient of an image does not depend on the other images of its batch.",
        "Take the width of a surrogate from the image alone, or from constants.",
    ),
)

OF_CELLS = (
    CellCheck(
        "gradient",
        lambda s: usable_gradient(s.rows),
        "The attack has a gradient that is finite and not zero.",
        "Use spgd, which chooses its own surrogates; a gradient of zero shows no robustness.",
        "Athalye et al., ICML 2018",
    ),
    CellCheck(
        "zero-epsilon",
        lambda s: zero_epsilon(s.model, s.attack, s.chunk, s.seed, s.sources),
        "With ε = 0 the attack returns the clean image.",
        "Correct the attack.",
        "Carlini et al., 2019",
    ),
    CellCheck(
        "asked",
        lambda s: asked(s.rows, stochastic=s.model.stochastic) if s.points > 1 else None,
        "The attack called the model.",
        "Correct the attack.",
    ),
    CellCheck(
        "card-accuracy",
        lambda s: card_accuracy(s.model, s.rows) if s.published else None,
        "The clean accuracy is that of the model's card.",
        "Load the weights that the card names, and normalise as in training.",
    ),
)

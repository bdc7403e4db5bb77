"""The checks of robench, in the order in which they are on record."""

from __future__ import annotations

from robench.checks.batch_gradient import BATCH_GRADIENT, batch_gradient
from robench.checks.determinism import deterministic, same_under_attack
from robench.checks.differences import pixels
from robench.checks.frozen import frozen
from robench.checks.logits import clean_accuracy, offset, probabilities, ties
from robench.checks.own_gradient import agreement, own_gradient, replaced_gradient
from robench.checks.probes import baselines, gradient_free, large_epsilon, more_steps
from robench.checks.registry import CellCheck, ModelCheck, with_plugins
from robench.checks.rows import asked, card_accuracy, reverified, usable_gradient
from robench.checks.spikes import replaceable, silent_neurons

BETWEEN_CELLS = {
    "surrogate-gap": "The own gradient, or too few steps, hides adversarial examples: quote the "
    "stronger attack.",
    "estimator-spread": "Quote the stronger attack.",
    "single-step": "Run pgd and spgd too: one step finds few adversarial examples.",
    "weaker-attack": "The gradient leads nowhere: quote the stronger attack, and compare square.",
}
"""What to do where a check that compares the cells of a model fails."""

OF_MODELS = (
    ModelCheck(
        "deterministic",
        lambda s: deterministic(s.model, s.x, s.rows),
        "The same image gives the same logits: twice, alone, and in any batch.",
        "Reset the state in forward, call eval(), and draw random numbers from robench.ModelNoise.",
        "Croce and Hein, ICML 2020",
    ),
    ModelCheck(
        "same-under-attack",
        lambda s: same_under_attack(s.model, s.x),
        "The logits are the same whether or not a gradient is asked for.",
        "Compute the same with and without requires_grad and torch.no_grad().",
    ),
    ModelCheck(
        "frozen",
        frozen,
        "Parameters and statistics stay as they are during a forward and a backward pass.",
        "Leave batch norms in evaluation mode, also where forward calls train().",
    ),
    ModelCheck(
        "probabilities",
        lambda s: probabilities(s.logits),
        "The outputs are logits, of which the loss takes the softmax.",
        "Return what the softmax takes.",
        "Croce and Hein, ICML 2020",
    ),
    ModelCheck(
        "ties",
        lambda s: ties(s.logits),
        "The two largest logits of an image are seldom equal.",
        "Read out a membrane, or count the spikes of more neurons or more time steps.",
    ),
    ModelCheck(
        "offset",
        lambda s: offset(s.logits),
        "The logits have no common offset that drowns their differences.",
        "Subtract the offset.",
    ),
    ModelCheck(
        "clean-accuracy",
        lambda s: clean_accuracy(s.logits, s.y),
        "The network classifies the clean images better than chance.",
        "Load the trained weights, normalise inside the network, and compare the order of labels.",
    ),
    ModelCheck(
        "own-gradient",
        own_gradient,
        "The network's own gradient is connected to the image, finite, and not zero.",
        "Pass the network uncompiled, compute in float32, return smaller logits, or use an attack "
        "that needs no gradient.",
        "Pintor et al., NeurIPS 2022",
    ),
    ModelCheck(
        "agreement",
        agreement,
        "A few steps along the sign of the network's own gradient raise the loss.",
        "Do not believe an attack along it; compare square, which needs no gradient.",
        "Athalye et al., ICML 2018",
    ),
    ModelCheck(
        "spikes",
        replaceable,
        "Every spike of the network is found and can be given another derivative.",
        "Where it is constant on clean images, train the network or lower its thresholds. Where it "
        "is detached, let the gradient pass. Else write the spike as a function of one tensor, or "
        "as a comparison; see spike-discovery.md.",
    ),
    ModelCheck(
        "replaced-gradient",
        replaced_gradient,
        "A few steps along the gradient through the replaced spikes raise the loss.",
        "Do not believe spgd; compare square. Write the spike as a function of one tensor, or as a "
        "comparison; see spike-discovery.md.",
        "Athalye et al., ICML 2018",
    ),
    ModelCheck(
        "pixels",
        pixels,
        "Every pixel that changes the logits has a gradient.",
        "Let the gradient reach every part of the image; else compare square.",
    ),
    ModelCheck(
        "silent-neurons",
        silent_neurons,
        "Most neurons of each layer spike on some clean image.",
        "Lower the thresholds or train longer; spgd's surrogate adapts to such neurons.",
    ),
    ModelCheck(
        BATCH_GRADIENT,
        lambda s: batch_gradient(s.model, s.x, s.y),
        "The gradient of an image does not depend on the other images of its batch.",
        "Take the width of a surrogate from the image alone, or from constants.",
    ),
)

OF_OWN_GRADIENT = frozenset({"own-gradient", "agreement", BATCH_GRADIENT})
"""Checks of a model that say nothing about an attack that does not follow its own gradient."""
OF_CHOSEN_GRADIENT = frozenset({"replaced-gradient"})
"""And those for an attack that does not choose the derivatives of the spikes."""
OF_GRADIENTS = OF_OWN_GRADIENT | OF_CHOSEN_GRADIENT | {"pixels"}
"""And those for an attack that takes no gradient of the model."""

OF_CELLS = (
    CellCheck(
        "gradient",
        lambda s: usable_gradient(s.rows),
        "The attack has a gradient that is finite and not zero.",
        "Compare an attack that chooses its gradient, or needs none; zero shows no robustness.",
        "Athalye et al., ICML 2018",
    ),
    CellCheck(
        "asked",
        lambda s: asked(s.rows, stochastic=s.model.stochastic) if len(s.grid) > 1 else None,
        "The attack called the model.",
        "Correct the attack.",
    ),
    CellCheck(
        "card-accuracy",
        lambda s: card_accuracy(s.model, s.rows) if s.published else None,
        "The clean accuracy is that of the model's card.",
        "Load the weights that the card names, and normalise as in training.",
    ),
    CellCheck(
        "reverified",
        lambda s: reverified(s.rows, stochastic=s.model.stochastic),
        "Adversarial examples are misclassified again in another batch, and with other draws.",
        "Draw random numbers from robench.ModelNoise, and compute each image alone.",
    ),
    CellCheck(
        "gradient-free",
        gradient_free,
        "At the largest ε, few random squares find nothing that many steps along a gradient left.",
        "The gradient misleads: compare square, and robench check MODEL --attack spgd.",
        "Andriushchenko et al., ECCV 2020",
    ),
)

OF_CELLS_IN_FULL = (
    CellCheck(
        "large-epsilon",
        large_epsilon,
        "An iterative attack leaves nothing where the ball holds every image.",
        "Find out where the gradient is lost: compare spgd, and robench check MODEL.",
        "Athalye et al., ICML 2018; Pintor et al., NeurIPS 2022",
    ),
    CellCheck(
        "steps",
        more_steps,
        "Twice the steps find little more, and nothing less.",
        "Give the attack more steps, as spgd-long has; the number is an upper bound.",
        "Carlini et al., 2019",
    ),
    CellCheck(
        "baselines",
        baselines,
        "Random noise and a gradient-free attack find nothing in addition.",
        "Use spgd; if it is beaten too, the gradient leads nowhere.",
        "Athalye et al., ICML 2018; Croce and Hein, ICML 2020",
    ),
)


def advice_on(name: str) -> str:
    """What to do where a check fails; empty for an unknown one."""
    if name == "draws":  # deterministic, of a stochastic model
        return advice_on("deterministic")
    of_models = {c.name: c.advice for c in with_plugins(OF_MODELS, ModelCheck)}
    of_cells = {c.name: c.advice for c in with_plugins((*OF_CELLS, *OF_CELLS_IN_FULL), CellCheck)}
    return (of_models | of_cells | BETWEEN_CELLS).get(name, "")

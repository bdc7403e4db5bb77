"""PGD over a grid of ε with the attack libraries, in a loop, as their users run it.

Every attack takes the steps of robench's ``pgd``: 20 from a random start, each of 2.5·ε/20. The
clean accuracy costs one forward pass; no attack runs at ε = 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robench.compat import advertorch as advertorch_compat

RELATIVE_STEP = 2.5


@dataclass
class Budget:
    """The rows that passed through a network: with a gradient, and without."""

    gradients: int = 0
    forwards: int = 0

    def watch(self, network: nn.Module) -> None:
        """Count the calls of a network from now on."""

        def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0]
            if torch.is_grad_enabled() and x.requires_grad:
                self.gradients += len(x)
            else:
                self.forwards += len(x)

        network.register_forward_pre_hook(note)


def foolbox(
    network: nn.Module, x: Tensor, y: Tensor, budgets: Sequence[float], steps: int, batch: int
) -> list[float]:
    """Robust accuracy at each ε > 0 by Foolbox's LinfPGD."""
    with warnings.catch_warnings():
        # Foolbox 3.3.4 imports a namespace that SciPy 2 removes; the dependency on scipy<2 answers
        warnings.filterwarnings("ignore", "Please import `gaussian_filter`", DeprecationWarning)
        import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(
        rel_stepsize=RELATIVE_STEP / steps, steps=steps, random_start=True
    )
    robust = torch.zeros(len(budgets))
    for images, labels in zip(x.split(batch), y.split(batch), strict=True):
        _, _, misclassified = attack(model, images, labels, epsilons=list(budgets))
        robust += (~misclassified).sum(1)
    return (robust / len(x)).tolist()


def advertorch(
    network: nn.Module, x: Tensor, y: Tensor, budgets: Sequence[float], steps: int, batch: int
) -> list[float]:
    """Robust accuracy at each ε > 0 by advertorch's LinfPGDAttack."""
    library = advertorch_compat.load()
    accuracies = []
    for eps in budgets:
        attack = library.attacks.LinfPGDAttack(
            network,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            eps=eps,
            nb_iter=steps,
            eps_iter=RELATIVE_STEP * eps / steps,
            rand_init=True,
            clip_min=0.0,
            clip_max=1.0,
        )
        robust = 0
        for images, labels in zip(x.split(batch), y.split(batch), strict=True):
            candidates = attack.perturb(images, labels)
            with torch.no_grad():
                robust += int((network(candidates).argmax(1) == labels).sum())
        accuracies.append(robust / len(x))
    return accuracies


def art(
    network: nn.Module, x: Tensor, y: Tensor, budgets: Sequence[float], steps: int, batch: int
) -> list[float]:
    """Robust accuracy at each ε > 0 by ART's ProjectedGradientDescentPyTorch."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = network(x[:1]).shape[1]
    classifier = PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    images, labels = x.numpy(), y.numpy()
    accuracies = []
    for eps in budgets:
        attack = ProjectedGradientDescentPyTorch(
            classifier,
            eps=eps,
            eps_step=RELATIVE_STEP * eps / steps,
            max_iter=steps,
            num_random_init=1,
            batch_size=batch,
            verbose=False,
        )
        candidates = attack.generate(images, labels)
        predicted = classifier.predict(candidates, batch_size=batch).argmax(1)
        accuracies.append(float((predicted == labels).mean()))
    return accuracies


Sweep = Callable[[nn.Module, Tensor, Tensor, Sequence[float], int, int], list[float]]
SWEEPS: dict[str, Sweep] = {"Foolbox": foolbox, "advertorch": advertorch, "ART": art}

"""A network with one fault is caught by the check of that fault, and an honest one by none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from snntorch import surrogate as slopes
from torch import Tensor, nn

import robench
from robench.checks import OF_MODELS, Examined, measured
from robench.checks.spikes import SAMPLES, replaceable
from robench.registry import select_models
from robench.spiking import LIF, LIFParameters, Surrogate
from tests.support import faulty_networks as faulty
from tests.support.checked_networks import HONEST, Jelly, Plain, honest, pooled
from tests.support.faulty_networks import Around
from tests.support.model_checks import IMAGES, checks_of, reasons, seeded
from tests.support.spiking_digits import Small, trained
from tests.support.spiking_styles import steep

ANN = ("plain", "wide", "narrow", "convolutions", "smooth", "attention")


def through(function: type[torch.autograd.Function]) -> Callable[[], nn.Module]:
    return lambda: Around(before=function.apply)


def then(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Around(after=function)


FAULTS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "logits × 10⁴": (then(lambda z: z * 1e4), {"saturated-loss"}),
    "logits + 10⁶": (then(lambda z: z + 1e6), {"offset-logits"}),
    "logits - 10⁶": (then(lambda z: z - 1e6), {"offset-logits"}),
    "softmax": (then(lambda z: z.softmax(1)), {"probabilities"}),
    "sigmoid shares": (then(lambda z: (s := z.sigmoid()) / s.sum(1, True)), {"probabilities"}),
    "coarse": (then(lambda z: (z / 20).round()), {"tied-logits"}),
    "one class": (then(lambda z: z + 60 * torch.eye(10)[3]), {"one-class"}),
    "at chance": (Plain, {"accuracy-at-chance"}),
    "labels rolled": (then(lambda z: z.roll(1, 1)), {"labels-in-another-order"}),
    "labels reversed": (then(lambda z: z.flip(1)), {"labels-in-another-order"}),
    "random backward": (through(faulty.RandomBackward), {"own-gradient-ignores-the-loss"}),
    "new random backward": (through(faulty.NewBackward), {"own-gradient-ignores-the-loss"}),
    "constant backward": (through(faulty.ConstantBackward), {"own-gradient-ignores-the-loss"}),
    "sign-less gradient": (through(faulty.SignLess), {"own-gradient-ignores-the-loss"}),
    "wrong signs": (through(faulty.WrongSigns), {"own-gradient-does-not-agree"}),
    "descending": (through(faulty.Descending), {"own-gradient-does-not-agree"}),
    "NaN in some pixels": (through(faulty.Undefined), {"gradient-not-finite"}),
    "no graph": (lambda: Around(before=torch.detach), {"gradient-unavailable"}),
    "gradient × 0": (through(faulty.Vanishing), {"gradient-unavailable"}),
    "float16": (faulty.half, {"gradient-underflows"}),
    "requires_grad": (faulty.HidesFromAttacks, {"differs-under-attack"}),
    "grad mode": (faulty.HidesFromGradMode, {"differs-under-attack"}),
    "random under gradient": (faulty.RandomUnderGradient, {"differs-under-attack"}),
    "random off the pixels": (
        faulty.NoisyOffThePixels,
        {"not-deterministic", "spikes-not-replaced"},
    ),
    "training mode": (
        faulty.TrainingNorm,
        {"batch-norm-in-training-mode", "depends-on-the-batch"},
    ),
    "counter": (faulty.Moving, {"state-changes"}),
    "standardised": (faulty.Standardised, {"depends-on-the-batch"}),
    "wrong from row 17": (faulty.SixteenRows, {"depends-on-the-batch"}),
    "early exit of a batch": (faulty.ExitsTogether, {"depends-on-the-batch"}),
    "silent neurons": (faulty.silent, {"silent-neurons"}),
}


@pytest.mark.filterwarnings("ignore:std:UserWarning")  # the fault itself
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_by_its_check(name: str) -> None:
    net, expected = FAULTS[name]
    found = reasons(seeded(net))
    # which those have besides whose gradient is random or that of a batch
    assert found - {"gradient-depends-on-the-batch"} == expected


HARMLESS: dict[str, Callable[[], nn.Module]] = {
    "logits × 10⁻³⁰": then(lambda z: z * 1e-30),
    "logits + 100": then(lambda z: z + 100),
    "log of softmax": then(lambda z: z.log_softmax(1)),
    "straight-through rounding": through(faulty.StraightThrough),
    "rounding": lambda: Around(before=lambda x: (x * 15).round() / 15),
    "thermometer": lambda: Around(before=faulty.thermometer),
    "k winners": faulty.Winners,
    "early exit of an image": faulty.Exits,
    "clipped gradient": through(faulty.Clipped),
    "inputs in 255ths": lambda: Around(before=lambda x: (x * 255) / 255),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_fault_is_not_caught(name: str) -> None:
    assert not reasons(seeded(HARMLESS[name]))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_network_is_valid(name: str, seed: int) -> None:
    facts = {} if name in ANN else {"mode": "stbp"}
    found = checks_of(honest(name, seed), **facts)
    assert {check.reason for check in found.values()} == {""}
    assert {"deterministic", "same-under-attack", "frozen", "agreement"} <= found.keys()
    assert all(check.value <= check.threshold for check in found.values())


class Hidden(nn.Module):
    """Spikes that are detached before they are compared, on images of eight bits."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.first, self.last, self.slope = nn.Linear(3072, 60), nn.Linear(60, 10), slope

    def forward(self, x: Tensor) -> Tensor:
        x = x + ((x * 255).round() / 255 - x).detach()
        v = 3 * self.first(x.flatten(1))
        soft = torch.sigmoid(self.slope * v)
        spikes = (v.detach() > 0).to(v.dtype) if self.slope > 1 else soft.detach()
        return self.last(soft + (spikes - soft).detach())


@pytest.mark.parametrize(
    ("slope", "reason"),
    [(50.0, ""), (5.0, "own-gradient-is-no-derivative"), (1.0, "")],  # the steepest is replaced
)
def test_spikes_that_are_hidden_are_seen_beside_a_rounding(slope: float, reason: str) -> None:
    assert checks_of(seeded(lambda: Hidden(slope)))["agreement"].reason == reason


class Negated(faulty.Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


@pytest.mark.parametrize(("function", "verdict"), [(Negated, "suspect"), (None, "valid")])
def test_the_gradient_through_replaced_spikes_has_to_raise_the_loss(
    function: Any, verdict: str
) -> None:
    net = honest("snntorch")
    if function is not None:
        net = nn.Sequential(Bent(function), net)
    result = robench.evaluate(
        robench.Model(net, dataset="digits"), ["pgd[steps=1]", "spgd[steps=2,pgd_steps=1]"],
        limit=32, eps="8/255", progress=False,
    )  # fmt: skip
    found = result.checks().to_frame().query("check == 'replaced-gradient'")
    assert found["verdict"].tolist() == [verdict]  # of one of the two attacks
    assert found["attack"].iloc[0].startswith("spgd")


class Bent(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function.apply(x)
        return out


def test_what_is_not_replaced_is_named_beside_neurons_of_robench() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = LIF(LIFParameters(beta=0.7), Surrogate("atan", 2.0))
            self.first, self.second = nn.Linear(3072, 40), nn.Linear(40, 10)

        def forward(self, x: Tensor) -> Tensor:
            s = self.lif(3 * self.first(x.flatten(1)).expand(4, -1, -1))
            return self.second(torch.stack([s.mean(0) > 0.3]).float()[0])

    model = robench.Model(Mixed().requires_grad_(False), dataset="digits")
    model.survey(IMAGES.tensor()[:16])
    check = replaceable(Examined(model, IMAGES.tensor(), IMAGES.targets()))
    assert check is not None
    assert check.reason == "spikes-not-replaced"


def test_a_network_without_a_gradient_that_can_be_replaced_is_left_to_the_attack() -> None:
    found = checks_of(seeded(through(faulty.ZeroBackward)))
    assert "own-gradient" not in found
    assert "agreement" not in found


def test_a_surrogate_that_overflows_is_left_to_the_attack() -> None:
    found = checks_of(trained(Small(slopes.sigmoid(slope=25))).eval(), mode="stbp")
    assert {check.reason for check in found.values()} == {""}
    assert not {"own-gradient", "agreement"} & found.keys()


@pytest.mark.parametrize("scale", [1e30, 1e36])
def test_determinism_is_relative_to_the_logits(scale: float) -> None:
    found = checks_of(seeded(then(lambda z: z * scale)))
    assert found["deterministic"].verdict == "valid"
    random = then(lambda z: scale * (z + torch.rand_like(z)))
    assert checks_of(seeded(random))["deterministic"].reason == "not-deterministic"


def test_a_batch_of_the_size_of_the_evaluation_is_looked_at() -> None:
    net = seeded(faulty.WrongInLargeBatches)
    assert checks_of(net, rows=64)["deterministic"].reason == "depends-on-the-batch"
    assert checks_of(net, rows=16)["deterministic"].verdict == "valid"
    for size, reason in ((48, "depends-on-the-batch"), (12, "")):
        found = robench.evaluate(
            net, "fgsm", dataset="digits", limit=48, eps=["8/255"], batch_size=size
        )
        outcome = found.cells[0].outcome
        assert outcome is not None
        (check,) = [check for check in outcome.checks if check.name == "deterministic"]
        assert check.reason == reason


def test_few_images_say_nothing_about_chance() -> None:
    model = robench.Model(Plain(), dataset="digits")
    subject = Examined(model, IMAGES.tensor()[:15], IMAGES.targets()[:15])
    names = {check.name for check in measured(OF_MODELS, subject)}
    assert not names & {"clean-accuracy", "agreement"}


def test_spikes_that_are_seldom_are_counted_by_layer() -> None:
    value = checks_of(honest("snntorch"), mode="stbp")["silent-neurons"].value
    assert 0 < value < 0.5
    assert checks_of(seeded(lambda: Jelly(2)), mode="stbp")["silent-neurons"].value > 0


@pytest.mark.parametrize("surrogate", ["atan(2)", "assg(0.425)", "assg_scaled(0.425)", "pdsg(1)"])
def test_a_surrogate_that_adapts_is_linear_in_the_loss(surrogate: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(192, 60), nn.Linear(60, 60), nn.Linear(60, 10))
            parameters = LIFParameters(beta=0.5, threshold=0.3)
            self.spikes = nn.ModuleList(
                LIF(parameters, Surrogate.parse(surrogate)) for _ in range(2)
            )

        def forward(self, x: Tensor) -> Tensor:
            here = pooled(x)[None].expand(4, -1, -1)
            for layer, spike in zip(self.layers, self.spikes, strict=False):
                here = spike(2 * layer(here))
            return self.layers[2](here).mean(0)

    found = checks_of(seeded(Two), mode="stbp")["agreement"]
    assert found.reason != "own-gradient-ignores-the-loss"


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "as many channels": lambda z: steep(z[..., None].expand(*z.shape, 5)).mean(-1),
    "as many time steps": lambda z: steep(z.expand(SAMPLES, *z.shape)).mean(0),
    "few time steps": lambda z: steep(z.expand(3, *z.shape)).mean(0),
    "without an axis of channels": lambda z: steep(z.expand(3, *z.shape).flatten(1))[0].view_as(z),
}


@pytest.mark.parametrize("name", SHAPES)
def test_channels_and_time_steps_are_no_images(name: str) -> None:
    class FewSpike(nn.Module):
        """Four of as many neurons as there are images spike."""

        def forward(self, x: Tensor) -> Tensor:
            bias = torch.where(torch.arange(SAMPLES) < 4, 10.0, -10.0)
            return SHAPES[name](pooled(x)[:, :SAMPLES] + bias)[:, :10]

    found = checks_of(FewSpike())["silent-neurons"]
    assert (found.value, found.verdict) == (1 - 4 / SAMPLES, "suspect")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16-ann", set()),
        ("vgg16-hybrid", set()),
        ("vgg16-stbp", set()),
        ("flex-stbp", set()),
        ("control-random-mask", {"not-deterministic"}),
    ],
)
def test_the_models_of_the_registry(name: str, expected: set[str]) -> None:
    (entry,) = select_models([f"digits/{name}"])
    subject = Examined(entry.load(), IMAGES.tensor(), IMAGES.targets())
    assert {check.reason for check in measured(OF_MODELS, subject)} - {""} == expected

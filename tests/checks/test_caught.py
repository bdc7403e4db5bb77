"""Faults of published evaluations are caught, cured by an attack, or change no number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from snntorch import surrogate as slopes
from torch import nn

import robench
from robench.checks.logits import clean_accuracy
from robench.errors import RobenchError, UsageError
from tests.support import faulty_networks as faulty
from tests.support import masked_networks as masked
from tests.support.checked_networks import honest
from tests.support.faulty_networks import Around
from tests.support.masked_networks import jpeg
from tests.support.model_checks import IMAGES, reasons, seeded
from tests.support.spiking_digits import Bare, Small, trained

Make = Callable[[], nn.Module]
SPIKES = {"mode": "stbp"}
EPS, N = ["32/255"], 40
PGD, SPGD, SQUARE = "pgd[steps=10]", "spgd[pgd_steps=10,steps=40]", "square[queries=100]"

BY_A_CHECK: dict[str, tuple[Make, set[str]]] = {
    "random mask": (masked.RandomMask, {"not-deterministic"}),
    "dropout in use": (masked.Dropping, {"not-deterministic"}),
    "random leak": (lambda: trained(masked.RandomLeak()), {"not-deterministic"}),
    "spikes without expectation": (masked.Poisson, {"not-deterministic"}),
    "made at each call": (masked.MadeAtEachCall, {"not-deterministic", "accuracy-at-chance"}),
    "made aside": (masked.MadeAside, {"accuracy-at-chance"}),
    "weights not loaded": (Small, {"accuracy-at-chance"}),
    "slow leak of state": (masked.Drifting, {"not-deterministic"}),
    "thresholds of earlier images": (
        lambda: trained(masked.Following()),
        {"not-deterministic", "state-changes", "spikes-not-replaced"},
    ),
    "scale of the batch": (masked.integers, {"depends-on-the-batch", "gradient-unavailable"}),
    "jpeg without gradient": (
        lambda: Around(before=masked.WholeJpeg.apply),
        {"gradient-unavailable"},
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantize:UserWarning")
@pytest.mark.parametrize("name", BY_A_CHECK)
def test_a_check_of_the_model_catches_it(name: str) -> None:
    make, expected = BY_A_CHECK[name]
    net = seeded(make)
    spikes = any("snntorch" in type(part).__module__ for part in net.modules())
    found = reasons(net, **(SPIKES if spikes else {}))
    assert found - {"gradient-depends-on-the-batch"} == expected


def test_random_numbers_that_are_declared_have_to_be_bound() -> None:
    for make in (masked.Poisson, masked.RandomMask, lambda: trained(masked.RandomLeak())):
        assert reasons(seeded(make), stochastic=True, **SPIKES) == {"draws-not-bound"}


@pytest.mark.parametrize("make", [masked.RandomMask, masked.MadeAtEachCall])
def test_an_attack_on_a_random_network_is_not_blamed_for_it(make: Make) -> None:
    for row in attacked(seeded(make), [SPGD, "noise"]).values():
        assert row["reasons"].split(", ")[0] == "not-deterministic"


REFUSED: dict[str, tuple[Make, str]] = {
    "state that leaks": (lambda: trained(masked.Leaking()), "keeps state between calls"),
    "made in the first call": (masked.MadeOnce, "makes made.bias, made.weight"),
    "without a shape": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "call"),
    "a thousand outputs": (lambda: masked.random_outputs(1000), "returned (2, 1000)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_the_sweep(name: str) -> None:
    make, text = REFUSED[name]
    with pytest.raises(RobenchError) as caught:
        robench.evaluate(seeded(make), "fgsm", dataset="digits", limit=4, progress=False)
    assert text in str(caught.value)


@pytest.mark.parametrize("seed", range(8))
def test_a_network_whose_spikes_seldom_show_its_randomness_keeps_no_state(seed: int) -> None:
    torch.manual_seed(seed)
    assert reasons(trained(masked.RandomLeak()).eval(), **SPIKES) == {"not-deterministic"}


def test_a_thousand_random_outputs_are_invalid() -> None:
    x, y = IMAGES.tensor(), IMAGES.targets()
    for seed in range(3):
        torch.manual_seed(seed)
        net = masked.random_outputs(1000)
        found = robench.evaluate(net, "fgsm", images=x, labels=y, eps=["8/255"], progress=False)
        assert set(found.to_frame()["verdict"]) == {"invalid"}


@pytest.mark.parametrize("classes", [10, 1000])
def test_random_outputs_seldom_count_as_better_than_chance(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(100, 64, classes, generator=generator)
    first_two = 100 * (torch.arange(classes) < 2)
    for some in (draws, draws + first_two):
        checks = [clean_accuracy(logits, IMAGES.targets()) for logits in some]
        valid = sum(check is not None and check.verdict == "valid" for check in checks)
        assert valid <= 0.04 * len(checks)


@pytest.mark.parametrize(
    ("right", "images", "classes", "verdict"),
    [(11, 16, 2, "invalid"), (31, 64, 2, "invalid"), (9, 16, 3, "suspect"), (55, 64, 2, "valid")],
)
def test_an_order_in_which_half_of_the_images_are_right_is_no_other_order(
    right: int, images: int, classes: int, verdict: str
) -> None:
    y = torch.arange(images) % classes
    found = torch.where(torch.arange(images) < right, y, (y + 1) % classes)
    check = clean_accuracy(torch.eye(classes)[found], y)
    assert check is not None
    reason = "" if verdict == "valid" else "accuracy-at-chance"
    assert (check.verdict, check.reason) == (verdict, reason)


def test_two_classes_are_in_another_order_only_if_more_than_their_shares_shows_it() -> None:
    y = torch.arange(64) % 2
    swapped = clean_accuracy(torch.eye(2)[1 - y], y)
    assert swapped is not None
    assert swapped.reason == "labels-in-another-order"
    y = (torch.arange(64) % 8 == 0).long()
    guessed = clean_accuracy(torch.eye(2)[(torch.arange(64) >= 8).long()], y)
    assert guessed is not None
    assert (guessed.verdict, guessed.reason) == ("invalid", "accuracy-at-chance")


def attacked(net: nn.Module, attacks: list[str], **facts: Any) -> dict[str, Any]:
    """Robust accuracy at the largest ε, verdict and reasons of each attack."""
    model = robench.Model(net, dataset="digits", **facts)
    frame = robench.evaluate(model, attacks, eps=EPS, limit=N, progress=False).to_frame()
    return {str(name): rows.iloc[-1] for name, rows in frame.groupby("attack")}


CURED: dict[str, tuple[Make, str]] = {
    "no surrogate": (lambda: trained(Bare()), "gradient-unavailable"),
    "a vanishing fast sigmoid": (
        lambda: trained(Small(slopes.fast_sigmoid(1e4))),
        "points of AUC lower",
    ),
    "a fast sigmoid of no width": (
        lambda: trained(Small(slopes.fast_sigmoid(1e9))),
        "points of AUC lower",
    ),
    "a steep arc tangent": (lambda: trained(Small(slopes.atan(1e6))), "points of AUC lower"),
    "a sigmoid that overflows": (
        lambda: trained(Small(slopes.sigmoid(1e3))),
        "gradient-not-finite",
    ),
    "rounding, zero": (lambda: Around(before=faulty.ZeroBackward.apply), "unavailable"),
    "rounding, random": (lambda: Around(before=faulty.NewBackward.apply), "ignores-the-loss"),
    "rounding, constant": (lambda: Around(before=faulty.ConstantBackward.apply), "ignores"),
    "rounded activations": (masked.RoundedActivations, "gradient-unavailable"),
    "thermometer": (lambda: Around(before=faulty.thermometer), "gradient-unavailable"),
    "jpeg": (lambda: Around(before=jpeg), "gradient-unavailable"),
}


@pytest.mark.parametrize("name", CURED)
def test_pgd_is_caught_and_spgd_finds_what_there_is(name: str) -> None:
    make, reason = CURED[name]
    net = seeded(make)
    facts = SPIKES if isinstance(net, Small) else {}
    found = attacked(net, [PGD, SPGD], **facts)
    assert found[PGD]["verdict"] != "valid"
    assert reason in found[PGD]["reasons"]
    assert found[SPGD]["accuracy"] <= min(0.2, found[PGD]["accuracy"] - 0.05)
    assert found[SPGD]["verdict"] == "valid"


WITHOUT: dict[str, Make] = {
    "zero backward pass": lambda: Around(before=faulty.Vanishing.apply),
    "detached": lambda: Around(before=torch.detach),
    "jpeg as one function": lambda: Around(before=masked.WholeJpeg.apply),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_without_any_gradient_both_are_invalid_and_square_finds_more(name: str) -> None:
    found = attacked(seeded(WITHOUT[name]), [PGD, SPGD, SQUARE])
    for attack in (PGD, SPGD):
        assert found[attack]["verdict"] == "invalid"
        assert found[attack]["reasons"].count("gradient-unavailable") == 1
    assert found[SQUARE]["verdict"] == "valid"
    assert found[SQUARE]["accuracy"] < found[SPGD]["accuracy"]


HARMLESS: dict[str, Make] = {
    "rounded weights": masked.RoundedWeights,
    "jpeg, straight-through": lambda: Around(before=masked.straight_jpeg),
    "thresholds that follow the input": lambda: trained(masked.Homeostatic()),
    "thresholds that follow it at once": lambda: trained(masked.Homeostatic(0.9)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_no_number_is_valid(name: str) -> None:
    net = seeded(HARMLESS[name])
    facts = SPIKES if isinstance(net, Small) else {}
    found = attacked(net, [PGD, SPGD, SQUARE], **facts)
    assert {row["verdict"] for row in found.values()} == {"valid"}
    assert found[SPGD]["accuracy"] <= found[PGD]["accuracy"] < found[SQUARE]["accuracy"] - 0.3
    assert found[SPGD]["accuracy"] <= 0.2


@pytest.mark.parametrize("depth", [1, 3])
def test_layers_of_k_winners_are_attacked_by_their_jumps(depth: int) -> None:
    found = attacked(seeded(lambda: masked.winners(depth)), [PGD, SPGD])
    assert found[SPGD]["verdict"] == "valid"
    assert found[PGD]["verdict"] != "valid"
    assert found[SPGD]["accuracy"] < found[PGD]["accuracy"] - 0.1


def test_layers_of_k_winners_mislead_fgsm_and_are_caught_by_square() -> None:
    square = "square[queries=1000]"
    found = attacked(seeded(lambda: masked.winners(3)), ["fgsm", SPGD, square])
    assert found["fgsm"]["verdict"] == "invalid"
    assert "square[queries=1000] is " in found["fgsm"]["reasons"]
    assert found[SPGD]["verdict"] == found[square]["verdict"] == "valid"
    assert max(found[square]["accuracy"], found[SPGD]["accuracy"]) < found["fgsm"]["accuracy"] - 0.1


def test_a_normalisation_that_is_missing_is_seen_by_the_accuracy_of_the_card() -> None:
    """Nothing else can see it: the network classifies, only worse."""
    net = masked.without_its_normalisation(0.2, 0.3).eval()
    assert not reasons(net)
    for accuracy, verdict in ((0.97, "invalid"), (None, "valid")):
        model = robench.Model(net, dataset="digits", clean_accuracy=accuracy)
        frame = robench.evaluate(model, "pgd[steps=2]", eps=["8/255"], progress=False).to_frame()
        assert frame["verdict"].iloc[0] == verdict
        assert frame["reasons"].iloc[0] == ("card-accuracy" if accuracy else "")


def test_images_that_were_normalised_outside_of_the_network_are_refused() -> None:
    x, y = IMAGES.tensor(), IMAGES.targets()
    for mean, deviation in ((0.5, 0.5), (0.2, 0.3)):
        with pytest.raises(UsageError, match="put the normalisation into the network"):
            robench.evaluate(honest("plain"), images=(x - mean) / deviation, labels=y)

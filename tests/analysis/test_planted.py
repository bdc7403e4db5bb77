"""The binarization test: an attack has to find an adversarial example that is planted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from snntorch import surrogate as slopes
from torch import Tensor, nn

import robench
from robench.analysis.features import find_features
from robench.analysis.planting import PlantedNetwork, fit_read_out
from robench.datasets import DIGITS
from robench.errors import UsageError
from tests.support.commands import Cli
from tests.support.spiking_digits import Small, trained

FEW = {"dataset": "digits", "limit": 6, "eps": "16/255"}


class Linear(nn.Module):
    """The features are the pixels, coarse; a subclass reads them out in another way."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(192, 40), nn.Linear(40, 10)

    def pixels(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 4).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.pixels(x)))


class Masked(Linear):
    """The same function with a gradient of random signs."""

    def pixels(self, x: Tensor) -> Tensor:
        flat = super().pixels(x)
        signs = torch.randn(flat.shape, generator=torch.Generator().manual_seed(1))
        return flat.detach() + signs * (flat - flat.detach())


class Vanished(Linear):
    """The same function without a gradient."""

    def pixels(self, x: Tensor) -> Tensor:
        return super().pixels(x.detach()) + 0 * x.mean()


def test_one_step_finds_the_planted_point_of_a_linear_network() -> None:
    tests = robench.planted(Linear(), ["fgsm", "pgd"], **FEW)
    frame = tests.to_frame()
    assert frame["attack"].tolist() == ["fgsm", "pgd"]
    assert frame["success"].tolist() == [1, 1]
    assert frame["random"].tolist() == [0, 0]
    assert frame["inverted"].tolist() == [0, 0]
    assert frame["verdict"].tolist() == ["valid", "valid"]
    assert frame["samples"].tolist() == [6, 6]
    assert tests.tests[0].rows["passes"].max() <= 4


@pytest.mark.parametrize("network", [Masked, Vanished])
def test_an_attack_through_a_masked_gradient_fails(network: type[nn.Module]) -> None:
    (test,) = robench.planted(network(), "pgd", **FEW).tests
    assert test.success < 0.5
    assert test.verdict == "invalid"
    assert "of the planted adversarial examples" in test.reason


def test_a_spiking_network_of_snntorch() -> None:
    (found,) = robench.planted(trained(Small()), "spgd", **FEW).tests
    assert found.success == 1
    assert found.verdict == "valid"


def test_the_own_surrogate_of_a_network_is_too_steep() -> None:
    steep = trained(Small(slopes.fast_sigmoid(slope=1e4)))
    own, better = robench.planted(steep, ["fgsm", "spgd"], **FEW).tests
    assert own.success < better.success == 1


def test_the_same_seed_plants_the_same_points_and_another_others() -> None:
    gaps = [
        robench.planted(Linear(), "fgsm", seed=seed, **FEW).tests[0].rows["gap"].tolist()
        for seed in (0, 0, 1)
    ]
    assert gaps[0] == gaps[1] != gaps[2]


def test_threads_do_not_see_each_other_s_features() -> None:
    def success(*, shareable: bool) -> list[object]:
        model = robench.Model(Linear(), dataset="digits", shareable=shareable)
        return robench.planted(model, "pgd", **FEW).to_frame().to_numpy().tolist()

    assert success(shareable=True) == success(shareable=False)


def test_nothing_stays_in_the_network() -> None:
    net = trained(Small()).train()
    net.first.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    robench.planted(net, "fgsm", **FEW | {"limit": 2})
    assert net.training
    assert not net.first.weight.requires_grad
    assert net.second.weight.requires_grad
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize("attack", ["square[queries=100]", "noise"])
def test_attacks_without_a_gradient_run_too(attack: str) -> None:
    (test,) = robench.planted(Linear(), attack, **FEW | {"limit": 3}).tests
    assert len(test.rows) == 3
    assert test.random_points >= 200


def test_a_model_of_robench_keeps_its_estimators() -> None:
    model = robench.load_model("digits/vgg16-hybrid")
    (test,) = robench.planted(model, "spgd[steps=2,pgd_steps=2]", limit=2).tests
    assert len(test.rows) + test.not_applicable == 2
    assert test.inverted == 0 or not len(test.rows)


def test_the_rows_of_a_batch_have_their_own_read_outs_in_any_order() -> None:
    net = Linear().requires_grad_(False)
    model = robench.Model(net, dataset="digits")
    x = DIGITS.load("test").first(5).tensor()
    features = find_features(model, x)
    assert features is not None
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(5, size, generator=generator) for size in (40, 1))
    binary = PlantedNetwork(features, x, weight, bias[:, 0])
    order = torch.tensor([3, 0, 3, 4])
    moved = (x[order] + 0.06 * torch.randn(x[order].shape, generator=generator).sign()).clamp(0, 1)
    wanted = (net.body(net.pixels(moved)) * weight[order]).sum(1) + bias[order, 0]
    torch.testing.assert_close(binary(moved)[:, 1], wanted)
    assert (binary(moved)[:, 0] == 0).all()
    assert (binary.bent()(moved)[:, 1] < 0).all()


class Timed(Linear):
    """Reads out every time step; a subclass combines the outputs."""

    def steps(self, x: Tensor) -> Tensor:
        flat = self.pixels(x)
        return torch.stack([self.body(flat * (t + 1)).relu() for t in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x)).mean(0)


class Summed(Timed):
    def forward(self, x: Tensor) -> Tensor:
        return sum(self.head(step) for step in self.steps(x))


class TimeLast(Timed):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x).transpose(0, 1)).mean(1)


class Flattened(Timed):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x).flatten(0, 1)).view(4, len(x), -1).mean(0).log_softmax(1)


class Leaky(Timed):
    def forward(self, x: Tensor) -> Tensor:
        v = torch.zeros(len(x), 10)
        for step in self.steps(x):
            v = 0.5 * v + self.head(step)
        return 1e4 * v


@pytest.mark.parametrize("network", [Timed, Summed, TimeLast, Flattened, Leaky])
def test_the_features_of_a_network_over_time(network: type[Timed]) -> None:
    net = network().requires_grad_(False)
    x = DIGITS.load("test").first(8).tensor()
    features = find_features(robench.Model(net, dataset="digits"), x)
    assert features is not None
    read = features(x) @ net.head.weight.T
    logits = net(x)
    read, logits = (each - each.mean(1, keepdim=True) for each in (read, logits))
    offset = logits - read  # of the bias, alike in all images
    torch.testing.assert_close(offset, offset[:1].expand(8, -1), rtol=1e-3, atol=1e-3)
    assert features(x[:1]).shape == (1, 40)


class SpikingOutput(Timed):
    def forward(self, x: Tensor) -> Tensor:
        return (self.head(self.steps(x)) > 0).float().mean(0)


class Softmax(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class NoLinear(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.pixels(x)[:, :10]


@pytest.mark.parametrize("network", [SpikingOutput, Softmax, NoLinear])
def test_a_network_without_a_linear_read_out_is_not_applicable(network: type[nn.Module]) -> None:
    tests = robench.planted(network(), ["fgsm", "pgd"], **FEW)
    frame = tests.to_frame()
    assert frame["verdict"].tolist() == ["unchecked"] * 2
    assert frame["not_applicable"].tolist() == [6, 6]
    assert frame["success"].isna().all()
    assert "no linear read-out" in frame["reason"][0]


def test_a_constant_network_has_no_features_to_separate() -> None:
    net = Linear()
    nn.init.zeros_(net.body.weight)
    (test,) = robench.planted(net, "fgsm", **FEW).tests
    assert test.verdict == "unchecked"
    assert test.not_applicable == 6


def test_a_read_out_separates_with_a_margin_or_does_not_exist() -> None:
    generator = np.random.default_rng(0)
    inner = generator.uniform(-1, 1, (200, 3))
    outside, inside = np.array([1.5, 1.5, 1.5]), np.zeros(3)
    found = fit_read_out(inner, outside)
    assert found is not None
    scores = inner @ found.weight + found.bias
    assert scores.max() < 0 < outside @ found.weight + found.bias
    assert scores[0] == pytest.approx(-1)
    assert fit_read_out(inner, inside) is None
    assert fit_read_out(inner, inner[7]) is None
    assert fit_read_out(np.zeros((5, 2)), np.zeros(2)) is None


def test_images_that_are_too_alike_share_no_ball() -> None:
    x = DIGITS.load("test").first(2).tensor()[[0, 0, 1]]
    (test,) = robench.planted(
        Linear(), "fgsm", images=x, labels=torch.tensor([0, 0, 1]), eps="16/255"
    ).tests
    assert test.rows["index"].tolist() == [0, 2]
    assert test.not_applicable == 1


@pytest.mark.parametrize("attack", ["pgd-l2", "transfer"])
def test_an_attack_that_cannot_look_for_a_planted_point_is_refused(attack: str) -> None:
    with pytest.raises(UsageError, match=r"L∞ ball of the model itself"):
        robench.planted(Linear(), attack, **FEW)


def test_the_command_prints_the_test_and_fails_for_a_weak_attack(cli: Cli) -> None:
    done = cli(
        *("check", "digits/vgg16-ann", "--attack", "pgd,noise[draws=1]", "--limit", 3, "--json")
    )
    rows = json.loads(done.out)
    assert [row["attack"] for row in rows] == ["pgd", "noise[draws=1]"]
    assert rows[1]["verdict"] == "invalid"
    assert done.code == 1

"""A user's spiking network is attacked through its spikes, whatever its own gradient is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from snntorch import surrogate as slopes
from torch import Tensor, nn

import robench
from robench import Cell, ResultStore, Settings, evaluate_cell, find_attack
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.results import CellResult
from tests.support.checked_networks import honest
from tests.support.spiking_digits import Bare, Small, T, trained
from tests.support.spiking_styles import Above, Fused

N = 40
EPS = ["8/255", "16/255", "32/255", "48/255"]
SPGD = "spgd[pgd_steps=10,steps=40]"


def run(net: nn.Module, attack: str, folder: Path, **facts: Any) -> tuple[CellResult, Any]:
    model = robench.Model(net, "digits/any", **({"mode": "stbp", "timesteps": T} | facts))
    images = DIGITS.load("test").first(N)
    store = ResultStore(folder)
    cell = Cell(model, find_attack(attack), DIGITS, images, Settings(parse_grid(EPS)))
    result = evaluate_cell(cell, store)
    return result, store.rows(result) if result.status == "done" else None


def accuracies(result: CellResult) -> list[float]:
    assert result.outcome is not None
    return [point.accuracy for point in result.outcome.curve]


class Rectangle(Above):
    """A step with a rectangle for its derivative."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad * (z.abs() < 0.5)


NETWORKS = {
    "atan": lambda: Small(slopes.atan(alpha=2.0)),
    "fast_sigmoid(25)": lambda: Small(slopes.fast_sigmoid(slope=25)),
    "fast_sigmoid": lambda: Small(slopes.fast_sigmoid(slope=100)),
    "rectangle": lambda: Small(Rectangle.apply),
    "sigmoid": lambda: Small(slopes.sigmoid(slope=25)),
    "comparison": Bare,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, CellResult]]:
    return {
        name: {
            attack: run(trained(make()), attack, tmp_path_factory.mktemp(name))[0]
            for attack in ("pgd[steps=10]", SPGD)
        }
        for name, make in NETWORKS.items()
    }


def test_spgd_finds_the_same_on_the_same_weights(
    found: dict[str, dict[str, CellResult]],
) -> None:
    curves = {name: torch.tensor(accuracies(cells[SPGD])) for name, cells in found.items()}
    for name, curve in curves.items():
        assert (curve - curves["atan"]).mean().abs() <= 0.015, name
        outcome = found[name][SPGD].outcome
        assert outcome is not None
        assert outcome.verdict == "valid"
    assert curves["atan"][-1] < 0.5 * curves["atan"][0]


def test_pgd_follows_the_gradient_that_the_network_has(
    found: dict[str, dict[str, CellResult]],
) -> None:
    own = {name: accuracies(cells["pgd[steps=10]"]) for name, cells in found.items()}
    assert own["comparison"] == [own["atan"][0]] * (len(EPS) + 1)
    outcome = found["comparison"]["pgd[steps=10]"].outcome
    assert outcome is not None
    assert outcome.verdict == "invalid"
    assert sum(own["fast_sigmoid"]) > sum(own["atan"])


def test_what_was_found_is_on_record(found: dict[str, dict[str, CellResult]]) -> None:
    spikes = {
        name: cells[SPGD].outcome and cells[SPGD].outcome.spikes for name, cells in found.items()
    }
    # snnTorch calls the function for the reset too, which has no graph in the first step
    assert spikes["atan"] == f"spikes of snntorch.surrogate.ATan ({2 * T - 1} calls)"
    assert str(spikes["comparison"]).startswith("spikes of gt in spiking_digits.py:")
    for name in ("atan", "comparison"):
        outcome = found[name][SPGD].outcome
        assert outcome is not None
        (check,) = [check for check in outcome.checks if check.name == "spikes"]
        assert check.verdict == "valid"


class Unfinished(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)


class WithoutBackward(Bare):
    def spike(self, v: Tensor) -> Tensor:
        return Unfinished.apply(v - 1)


class Heaviside(Bare):
    def spike(self, v: Tensor) -> Tensor:
        return torch.heaviside(v - 1, v.new_zeros(()))


@pytest.mark.parametrize("kind", [WithoutBackward, Heaviside])
def test_a_backward_pass_that_is_not_implemented_is_no_gradient(
    kind: type[Bare], tmp_path: Path, found: dict[str, dict[str, CellResult]]
) -> None:
    own, _ = run(trained(kind()), "fgsm", tmp_path)
    assert own.outcome is not None
    assert own.outcome.reasons == ("gradient-unavailable",)
    replaced, _ = run(trained(kind()), SPGD, tmp_path)
    assert accuracies(replaced)[-1] <= accuracies(found["atan"][SPGD])[-1] + 2 / N


def test_results_name_the_estimators_that_were_used(tmp_path: Path) -> None:
    _, rows = run(trained(Bare()), SPGD, tmp_path)
    names = set(rows["found_by"].dropna())
    assert names <= {"pgd", *find_attack(SPGD).attack.finders}
    assert any(name.startswith("assg_scaled") for name in names)
    relu = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    _, rows = run(relu, SPGD, tmp_path, mode="ann", timesteps=None)
    assert set(rows["found_by"].dropna()) <= {"pgd", "own gradient"}


class OfFused(Small):
    def forward(self, x: Tensor) -> Tensor:
        current = self.first((nn.functional.avg_pool2d(x, 4).flatten(1) - 0.5) * 4)
        return self.second(Fused.apply(current.expand(T, *current.shape)).mean(0))


@pytest.mark.parametrize(
    ("net", "mode", "reasons"),
    [
        (lambda: trained(OfFused()), "stbp", ("spikes-not-replaced",)),
        (lambda: honest("plain"), "stbp", ("no-spike-found",)),
        (lambda: honest("plain"), "ann", ()),
    ],
)
def test_spikes_that_cannot_be_replaced_are_suspect(
    net: Callable[[], nn.Module], mode: str, reasons: tuple[str, ...], tmp_path: Path
) -> None:
    result, _ = run(net(), "fgsm", tmp_path, mode=mode)
    assert result.outcome is not None
    assert result.outcome.reasons == reasons
    assert result.outcome.verdict == ("suspect" if reasons else "valid")


def test_a_path_that_needs_layers_over_time_is_not_applicable(tmp_path: Path) -> None:
    result, _ = run(trained(Small()), "surrogate-ensemble[surrogates=[],paths=[bptr]]", tmp_path)
    assert result.status == "not-applicable"
    assert result.reason.endswith("layers over time")


def test_a_transfer_attack_differentiates_its_source(tmp_path: Path) -> None:
    source = robench.Model(trained(Bare()), "digits/source", mode="stbp")
    model = robench.Model(trained(Small()), "digits/target", mode="stbp")
    images = DIGITS.load("test").first(N)
    attack = find_attack("transfer[source=source]")
    cell = Cell(model, attack, DIGITS, images, Settings(parse_grid(EPS)), (source,))
    result = evaluate_cell(cell, ResultStore(tmp_path))
    assert accuracies(result)[-1] < accuracies(result)[0]


class Leaving(Bare):
    """Images leave the loop over time as soon as they are certain."""

    def __init__(self, certain: float) -> None:
        super().__init__()
        self.certain = certain

    def forward(self, x: Tensor) -> Tensor:
        current = self.first((nn.functional.avg_pool2d(x, 4).flatten(1) - 0.5) * 4)
        v = spikes = torch.zeros_like(current)
        total, out, rows = torch.zeros(len(x), 10), torch.zeros(len(x), 10), torch.arange(len(x))
        for step in range(1, T + 1):
            v = 0.5 * v + current - spikes
            spikes = self.spike(v)
            total = total + self.second(spikes)
            gap = (total.detach() / step).topk(2).values.diff().neg()[:, 0]
            stays = (gap < self.certain) & (step < T)
            out = out.index_put((rows[~stays],), total[~stays] / step)
            rows, current, v = rows[stays], current[stays], v[stays]
            spikes, total = spikes[stays], total[stays]
            if not len(rows):
                break
        return out


def test_images_may_leave_a_network_early(tmp_path: Path) -> None:
    """The number of steps with all images differs from one gradient to the next."""
    weak, _ = run(trained(Leaving(3.0)), "pgd[steps=10]", tmp_path / "pgd")
    strong, rows = run(trained(Leaving(3.0)), SPGD, tmp_path / "spgd")
    assert rows is not None
    assert rows["backwards"].max() > 10
    assert accuracies(strong)[2] < accuracies(weak)[2] or accuracies(strong)[2] == 0

"""Checks that attack a part of the images again, and how thorough the checks of a run are."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import snntorch
import torch
from torch import Tensor, nn

import robench
from robench.checks import Attacked, rows
from robench.checks.probes import baselines, gradient_free, large_epsilon, more_steps
from robench.datasets import DIGITS
from robench.engine.chunk import Chunk
from robench.epsilon import parse_grid
from robench.errors import EvaluationError
from robench.registry import Model, find_attack
from robench.results import ROBUST, Check, Thoroughness
from robench.runtime.device import placed
from robench.runtime.threads import Workers
from tests.support.checked_networks import honest
from tests.support.faulty_networks import Around, RandomBackward, Through, Undefined
from tests.support.spiking_digits import Small, trained

IMAGES = DIGITS.load("test").first(24)
LIGHT = {"dataset": "digits", "limit": 24, "eps": "16/255", "progress": False}


def attacked(net: nn.Module, attack: str, **changes: Any) -> Attacked:
    """A cell after its sweep."""
    model = Model(net, dataset="digits")
    chunk = Chunk(IMAGES.tensor(), IMAGES.targets(), range(len(IMAGES)))
    bound, grid = find_attack(attack).attack, parse_grid(["8/255", "16/255", "32/255"])
    with placed(model, "cpu"):
        subject = Attacked(
            model, bound, chunk, pd.DataFrame(), grid, grid[-1].value, 0, (), False, 1, 64,
            Workers(shared=False),
        )  # fmt: skip
        return subject._replace(rows=subject.again(bound, grid), **changes)


def said(check: Check | None) -> tuple[str, str]:
    assert check is not None
    return check.verdict, check.reason


def test_an_iterative_attack_on_a_plain_network_passes() -> None:
    subject = attacked(honest("plain"), "pgd")
    for check in (gradient_free, large_epsilon, more_steps, baselines):
        found = check(subject)
        assert found is not None
        assert found.verdict == "valid", found
        assert found.value <= found.threshold


def test_a_masked_gradient_leaves_images_in_any_ball_and_loses_to_the_baselines() -> None:
    subject = attacked(Around(before=RandomBackward.apply), "pgd[steps=5]")
    assert said(large_epsilon(subject)) == ("invalid", "images-hold-in-any-ball")
    verdict, reason = said(baselines(subject))
    assert verdict == "invalid"
    assert reason.startswith("square is ")


class Mirrored(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.flip(-1)


class Transposed(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.transpose(-1, -2)


class InACorner(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        kept = torch.zeros_like(grad)
        kept[..., :8, :8] = grad[..., :8, :8]
        return kept


class MixedSigns(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        signs = (torch.rand(grad.shape[1:], generator=generator) - 0.48).sign()
        return grad * signs.to(grad)


@pytest.mark.parametrize("attack", ["pgd", "spgd[pgd_steps=10,steps=20]"])
@pytest.mark.parametrize("function", [Mirrored, Transposed, InACorner, MixedSigns])
def test_a_linear_map_of_the_gradient_is_caught(function: Any, attack: str) -> None:
    net = Around(before=function.apply, name="convolutions")
    result = robench.evaluate(
        robench.Model(net, dataset="digits"), attack, limit=64, eps="32/255", progress=False
    )
    found = result.checks().to_frame().set_index("check")
    assert found.loc["agreement", "reason"].startswith("own-gradient-")
    if function in (InACorner, MixedSigns):
        assert found.loc["gradient-free", "verdict"] != "valid"
        assert found.loc["gradient-free", "reason"].startswith("square finds")


def test_too_few_steps_are_noticed() -> None:
    found = more_steps(attacked(trained(Small()), "sapgd[steps=1]"))
    verdict, reason = said(found)
    assert verdict == "suspect"
    points = f"{100 * found.value:.1f} points of AUC"
    assert reason == f"not converged: twice the steps find {points} more"


def test_at_one_epsilon_too_few_steps_are_counted_in_robust_accuracy() -> None:
    subject = attacked(trained(Small()), "sapgd[steps=1]")
    grid = subject.grid[0], subject.grid[-1]
    subject = subject._replace(grid=grid, limit=grid[1].value)
    subject = subject._replace(rows=subject.again(subject.attack, grid))
    longer = subject.again(subject.attack.lengthened(2), grid)
    left = [int((rows["minimal_position"] == ROBUST).sum()) for rows in (subject.rows, longer)]
    found = more_steps(subject)
    assert found is not None
    assert found.value == (left[0] - left[1]) / len(longer) > 0
    assert found.reason.endswith(f"twice the steps find {100 * found.value:.1f} points more")


def test_more_steps_that_find_less_are_invalid() -> None:
    subject = attacked(honest("plain"), "pgd")
    better = subject.rows.assign(minimal_position=1)  # as if fewer steps had found everything
    found = more_steps(subject._replace(rows=better))
    assert said(found) == ("invalid", "more-steps-find-less")


def test_what_more_steps_find_counts_up_to_the_limit_of_the_auc() -> None:
    subject = attacked(honest("plain"), "pgd")
    position = subject.rows["minimal_position"]
    assert (position == 3).any()  # as if fewer steps had found nothing at the last ε
    fewer = subject._replace(rows=subject.rows.assign(minimal_position=position.replace(3, ROBUST)))
    at_the_end, before = (
        more_steps(fewer._replace(limit=fewer.grid[place].value)) for place in (3, 2)
    )
    assert said(at_the_end)[0] == "suspect"
    assert said(before) == ("valid", "")


@pytest.mark.parametrize("attack", ["fgsm", "noise", "square[queries=10]"])
def test_attacks_without_steps_along_a_gradient_are_left_out(attack: str) -> None:
    subject = attacked(honest("plain"), attack)
    assert gradient_free(subject) is None
    assert large_epsilon(subject) is None
    assert more_steps(subject) is None
    assert (baselines(subject) is None) == (attack != "fgsm")


@pytest.mark.parametrize(
    ("confirmed", "verdict"), [(1.0, "valid"), (0.96, "valid"), (0.9, "suspect"), (0.4, "invalid")]
)
def test_examples_have_to_be_confirmed(confirmed: float, verdict: str) -> None:
    again = [k < 100 * confirmed for k in range(100)]
    found = rows.reverified(pd.DataFrame({"minimal_position": 2, "reverified": again}))
    assert said(found)[0] == verdict
    assert rows.reverified(pd.DataFrame({"minimal_position": [0, -1], "reverified": True})) is None


class RandomOffTheData(nn.Module):
    """Draws random numbers where an image is none of the data set, whatever its pixels' values."""

    def __init__(self) -> None:
        super().__init__()
        self.net = honest("plain")
        self.known = IMAGES.tensor()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        far = torch.cdist(x.flatten(1).float(), self.known.flatten(1)).amin(1) > 0.5
        return logits + 4 * far[:, None] * torch.randn_like(logits)


@pytest.mark.parametrize("attack", ["pgd", "noise"])
def test_random_numbers_under_attack_only_are_not_valid(attack: str) -> None:
    result = robench.evaluate(RandomOffTheData(), [attack], **LIGHT)
    (cell,) = result.cells
    assert cell.outcome is not None
    assert cell.outcome.verdict != "valid"
    found = result.checks().to_frame().set_index("check")
    assert found.loc["reverified", "reason"] == "examples-not-confirmed"


def test_a_gradient_that_is_undefined_in_some_pixels_is_not_called_zero() -> None:
    result = robench.evaluate(Around(before=Undefined.apply), ["pgd"], **LIGHT)
    (cell,) = result.cells
    assert cell.outcome is not None
    assert set(cell.outcome.reasons) == {"gradient-not-finite"}


FULL = {"large-epsilon", "steps", "baselines"}


def test_the_checks_of_a_run_are_kept_or_made_up_for(tmp_path: Any) -> None:
    net = honest("plain")

    def names(checks: Thoroughness) -> list[str]:
        result = robench.evaluate(net, "pgd", store=tmp_path, checks=checks, **LIGHT)
        (cell,) = result.cells
        assert cell.outcome is not None
        return [check.name for check in cell.outcome.checks]

    none = names("off")
    assert none == []
    cheap = names("cheap")
    assert "deterministic" in cheap
    assert not FULL & set(cheap)
    full = names("full")
    assert full == [*cheap, "large-epsilon", "steps", "baselines"]
    assert names("off") == full  # a finished cell keeps what it has


def test_a_run_without_checks_has_no_verdict() -> None:
    (cell,) = robench.evaluate(honest("plain"), "fgsm", checks="off", **LIGHT).cells
    assert cell.outcome is not None
    assert cell.outcome.verdict == "unchecked"


@pytest.mark.parametrize(
    ("answer", "text"),
    [(KeyError("boom"), "check odd of a plug-in failed: KeyError: 'boom'"), (42, "returned a int")],
)
def test_a_check_of_a_plugin_that_fails_names_itself(
    monkeypatch: pytest.MonkeyPatch, answer: Any, text: str
) -> None:
    def measure(subject: robench.checks.Examined) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    odd = robench.checks.ModelCheck("odd", measure, "", "")
    monkeypatch.setattr(robench.checks, "OF_MODELS", (odd,))
    with pytest.raises(EvaluationError) as caught:
        robench.check(honest("plain"), dataset="digits", limit=4)
    assert text in str(caught.value)


class Potential(nn.Module):
    """Reads out a neuron that never spikes, as snnTorch's tutorials do; it counts no spike."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained(Small())
        self.out = snntorch.Leaky(0.9, reset_mechanism="none", threshold=1e9)

    def forward(self, x: Tensor) -> Tensor:
        z, mem = self.net(x), self.out.init_leaky()
        for _ in range(3):
            _, mem = self.out(z, mem)
        return mem


def test_spikes_on_which_no_logit_depends_do_not_count() -> None:
    assert robench.check(Potential(), dataset="digits").verdict == "valid"


class Earlier(nn.Module):
    """Returns the logits of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.last = honest("plain"), [torch.zeros(1, 10)]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        before, self.last[0] = self.last[0], logits.detach()
        return before if before.shape == logits.shape else logits


def test_the_logits_of_an_earlier_call_are_invalid() -> None:
    assert robench.check(Earlier(), dataset="digits").verdict == "invalid"


def test_what_was_not_looked_at_is_said() -> None:
    text = str(robench.check(honest("plain"), dataset="digits", limit=3))
    assert "not made, as they do not apply or need 16 images: clean-accuracy, agreement" in text


def test_the_checks_of_a_model_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measure(subject: robench.checks.Examined) -> Check:
        calls.append(len(subject.x))
        return Check(name="counted", value=0, threshold=0, verdict="valid")

    counted = robench.checks.ModelCheck("counted", measure, "", "")
    monkeypatch.setattr(robench.checks, "OF_MODELS", (counted,))
    result = robench.evaluate(honest("plain"), ["fgsm", "noise"], **LIGHT)
    assert calls == [24]
    assert result.checks().to_frame()["check"].tolist().count("counted") == 2

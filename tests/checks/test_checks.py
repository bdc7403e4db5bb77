from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor

from robench import checks
from robench.attacks import DirectAttack, Noise, View
from robench.checks.determinism import difference
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.evaluation import Cell, Settings, evaluate_cell
from robench.registry import NamedAttack, find_attack, select_models
from robench.results import ResultStore

SAMPLES = 24


class Idle(DirectAttack):
    """Attacks nothing."""

    name: ClassVar[str] = "idle"

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        return x


def outcome(tmp_path, model: str, attack: str | NamedAttack, eps: str = "32/255"):
    (entry,) = select_models([model])
    dataset = find_dataset(entry.dataset)
    cell = Cell(
        entry.load(),
        find_attack(attack) if isinstance(attack, str) else attack,
        dataset,
        dataset.load("test").first(SAMPLES),
        Settings(parse_grid([eps])),
    )
    result = evaluate_cell(cell, ResultStore(tmp_path))
    assert result.status == "done"
    assert result.outcome is not None
    return result.outcome


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
@pytest.mark.parametrize("model", ["digits/vgg16-hybrid", "digits/control-zero-gradient"])
def test_an_attack_without_a_gradient_is_invalid(tmp_path, model, attack) -> None:
    found = outcome(tmp_path, model, attack)
    assert found.verdict == "invalid"
    assert found.reasons[0] == "gradient-unavailable"
    assert all(reason.startswith("square finds") for reason in found.reasons[1:])
    assert found.curve[1].accuracy > 0.9  # which must not be read as robustness


@pytest.mark.parametrize("model", ["digits/vgg16-hybrid", "digits/control-zero-gradient"])
def test_spgd_succeeds_on_models_that_hide_their_gradients(tmp_path, model) -> None:
    found = outcome(tmp_path, model, "spgd")
    assert found.verdict == "valid"
    assert found.curve[1].accuracy < 0.1


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "spgd", "noise"])
def test_an_undeclared_random_model_is_invalid_under_every_attack(tmp_path, attack) -> None:
    found = outcome(tmp_path, "digits/control-random-mask", attack)
    assert found.verdict == "invalid"
    assert "not-deterministic" in found.reasons


def test_a_plain_network_passes_every_check_and_they_are_on_record(tmp_path) -> None:
    found = outcome(tmp_path, "digits/vgg16-ann", "pgd")
    assert found.verdict == "valid"
    assert [check.name for check in found.checks] == [
        "deterministic",
        "same-under-attack",
        "frozen",
        "probabilities",
        "ties",
        "offset",
        "clean-accuracy",
        "own-gradient",
        "agreement",
        "gradient",
        "reverified",
        "gradient-free",
    ]
    assert all(check.value <= check.threshold for check in found.checks)


def test_an_attack_without_queries_is_invalid(tmp_path) -> None:
    idle = NamedAttack("idle", Idle(), "idle", "1", "")
    found = outcome(tmp_path, "digits/vgg16-ann", idle)
    assert found.curve[1].accuracy > 0.9
    assert (found.verdict, found.reasons) == ("invalid", ("no-query",))
    assert outcome(tmp_path, "digits/vgg16-ann", idle, "0").verdict == "valid"  # no query is needed


def test_one_query_beside_the_clean_image_is_enough() -> None:
    rows = pd.DataFrame({"minimal_position": [-1, 0], "forwards": [2, 1], "backwards": [0, 0]})
    assert checks.asked(rows) is None
    found = checks.asked(rows.assign(forwards=1))
    assert found is not None
    assert (found.value, found.verdict) == (1.0, "invalid")


def test_a_sample_with_the_smallest_minimal_epsilon_needs_no_gradient() -> None:
    rows = pd.DataFrame(
        {
            "minimal_position": [1, 1, 2, -1],
            "backwards": 3,
            "zero_gradient": [True] * 2 + [False] * 2,
            "not_finite": False,
        }
    )
    found = checks.usable_gradient(rows)
    assert found is not None
    assert (found.value, found.verdict) == (0.0, "valid")
    without_gradient = checks.usable_gradient(rows.assign(zero_gradient=[False, False, True, True]))
    assert without_gradient is not None
    assert (without_gradient.value, without_gradient.reason) == (1.0, "gradient-unavailable")
    smallest = checks.usable_gradient(rows.assign(minimal_position=1))
    assert smallest is not None
    assert (smallest.value, smallest.verdict) == (0.0, "valid")
    assert checks.usable_gradient(rows.assign(backwards=0)) is None


def test_equal_nan_and_infinities_are_no_difference() -> None:
    logits = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf], [-torch.inf, 0.0]])
    assert difference(logits, logits.clone()) == 0
    for row, column, value in ((1, 0, 0.0), (1, 1, torch.nan), (2, 0, torch.inf)):
        other = logits.clone()
        other[row, column] = value
        assert not difference(other, logits) <= 1

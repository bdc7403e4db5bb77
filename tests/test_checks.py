from __future__ import annotations

import pytest

from robench.datasets import find_dataset
from robench.evaluation import Cell, Settings, evaluate_cell
from robench.numbers import parse_grid
from robench.results import ResultStore
from robench.zoo import find_attack, select_models

SAMPLES = 24


def outcome(tmp_path, model: str, attack: str, eps: str = "32/255"):
    (entry,) = select_models([model])
    dataset = find_dataset(model.partition("/")[0])
    cell = Cell(
        entry.load(),
        find_attack(attack),
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
    assert found.reasons == ("gradient-unavailable",)
    assert found.curve[1].accuracy > 0.9  # which is why nobody may read it as robustness


@pytest.mark.parametrize("model", ["digits/vgg16-hybrid", "digits/control-zero-gradient"])
def test_spgd_finds_what_the_model_hides(tmp_path, model) -> None:
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
    assert [check.name for check in found.checks] == ["deterministic", "gradient", "zero-epsilon"]
    assert all(check.value <= check.threshold for check in found.checks)

"""The page of the speed measurements: what it shows, and which targets it says are met."""

from __future__ import annotations

import json

import pytest

from performance.options import PARTS
from performance.report import TEMPLATE, render
from performance.targets import verdicts
from tests.performance.made_up import results

PAGE = TEMPLATE.with_name("README.md")


def test_the_page_shows_every_part() -> None:
    page = render(results())
    for heading in (
        "reached",
        "gradient step",
        "A sweep",
        "The search",
        "Overhead",
        "Checks",
        "Growth",
        "A user's network",
        "Strength",
    ):
        assert f"{heading}\n" in page
    assert "| VGG16, reset to zero | snnTorch | 650 | 650 to 650 | 2.17 | 1000 | 1.67 |" in page
    assert "void: subtracts at once" in page
    assert "| robench, spikes replaced | 64 | 106.0 | 1.06 | 0.98 to 1.20 |" in page
    assert "The sweep of this network, 256 images" in page
    assert "ART on their network | not installed" in page
    assert "in place of cifar10/vgg16-ann" in page
    assert "{{" not in page
    assert "\n\n\n" not in page.strip()


def test_a_quick_run_has_no_targets() -> None:
    assert "to be reached" not in render(results() | {"quick": True})


def test_the_targets_are_for_the_largest_sweep_of_a_model() -> None:
    more = results()
    small = more["sweep"]["tables"][0] | {"images": 8}
    more["sweep"]["tables"].insert(0, small)
    assert verdicts(more) == verdicts(results())


def test_a_missed_target_names_the_limit() -> None:
    found = {verdict.what: verdict for verdict in verdicts(results())}
    memory = found["peak memory of a gradient step, VGG16"]
    assert memory.met is False
    assert "0.17 of snnTorch's" in memory.limit
    step = found["gradient step, float32, VGG16"]
    assert (step.met, step.limit) == (True, "")
    assert found["gradient step, bfloat16 search, VGG16"].met is None
    stbp = found["sweep, STBP (digits/vgg16-stbp), pgd"]
    assert (stbp.met, stbp.measured) == (False, "19.0×, at most +0.0 points")
    assert "70 gradient passes a sample against 220" in stbp.limit
    assert "convolutions alone are 82% of a gradient step" in stbp.limit
    assert "would make it 23.3×" in stbp.limit
    assert found["sweep, ANN (digits/vgg16-ann), pgd"].met
    search = found["search, pgd, 2 models"]
    assert (search.met, search.measured) == (False, "+2.8 at most (digits/flex-stbp)")
    assert search.limit.startswith(
        "missed on digits/flex-stbp; on the worst the ascending sweep has 3.0"
    )
    assert found["overhead"].met
    checks = found["checks of fgsm, pgd and spgd, digits/vgg16-ann"]
    assert (checks.met, checks.measured) == (False, "12.0%")
    assert checks.limit == "0.1 s are the model's, 0.1 s the cells'"
    replaced = found["a user's network, spikes replaced, 64 images"]
    assert (replaced.met, replaced.measured) == (True, "1.06×")
    swept = found["a user's network, pgd"]
    assert (swept.met, swept.measured) == (True, "19.0×, at most +0.0 points")


def test_a_slow_substitution_and_a_weak_sweep_miss_their_targets() -> None:
    slow = results(speed=0.5)
    slow["users"]["tables"][0]["rows"][0] = slow["users"]["tables"][0]["rows"][0] | {
        "accuracy": [0.9, 0.3]
    }
    found = {verdict.what: verdict for verdict in verdicts(slow)}
    replaced = found["a user's network, spikes replaced, 64 images"]
    assert (replaced.met, replaced.measured) == (False, "2.12×")
    assert replaced.limit == "+2.0 ms are the view's, +110.0 ms the substitution's"
    swept = found["a user's network, pgd"]
    assert (swept.met, swept.measured) == (False, "9.5×, at most +5.0 points")
    assert swept.limit == "70 gradient passes a sample against 220"


def test_a_sweep_that_is_fast_and_weak_misses_its_target() -> None:
    weak = results(speed=10)
    weak["sweep"]["tables"][0]["rows"][0]["accuracy"] = [0.9, 0.26]
    (stbp,) = (v for v in verdicts(weak) if v.what.startswith("sweep, STBP"))
    assert (stbp.met, stbp.measured) == (False, "190.0×, at most +1.0 points")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_stands_alone(part: str) -> None:
    some = {key: value for key, value in results().items() if key in ("machine", "quick", part)}
    assert "a CPU" in render(some)


def test_a_void_row_meets_nothing() -> None:
    void = results(speed=10)
    void["gradient"]["rows"][0]["sameness"]["snnTorch"]["void"] = "not the same function"
    found = {verdict.what: verdict for verdict in verdicts(void)}
    assert found["gradient step, float32, VGG16"].met is False
    assert "void: not the same function" in render(void)


def test_the_page_belongs_to_the_numbers() -> None:
    stored = json.loads(PAGE.with_name("results.json").read_text("utf-8"))
    assert PAGE.read_text("utf-8") == render(stored)

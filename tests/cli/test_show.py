"""``robench show`` and ``robench compare``."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from robench.registry import attack_names, find_attack
from robench.reporting.terminal.cards import parameter_meanings
from robench.results import ROBUST, Check
from robench.results.again import cell_command
from robench.results.metrics import bootstrap, sample_areas
from tests.support.commands import Cli, refused
from tests.support.made_up import GRID, Builder, fall

MODEL = "digits/vgg16-stbp"


def test_a_model_is_shown_with_its_card_and_its_results(cli: Cli, builder: Builder) -> None:
    builder.add(MODEL, "pgd", fall(40))
    builder.add(MODEL, "spgd", fall(20))
    done = cli("show", MODEL, "--results", builder.store.root)
    assert done.code == 0, done.err
    assert re.search(r"^  mode +stbp$", done.out, re.MULTILINE)
    assert re.search(r"^  clean +\d\d\.\d% of 225 test images$", done.out, re.MULTILINE)
    lines = [line for line in done.out.splitlines() if " at 16/255 " in line]
    assert [line.split()[-2] for line in lines] == ["pgd", "spgd"]
    card = json.loads(cli("show", MODEL, "--json").out)
    assert (card["id"], card["model"]["timesteps"], card["state"]) == (MODEL, 10, "ready")


@pytest.mark.parametrize(
    "options",
    [
        ("--attacks", "fgsm"),
        ("--attacks", "pgd[steps=2,restarts=2]", "--eps", "1/255,0.1", "--limit", "6"),
        ("--attacks", "fgsm", "--limit", "5", "--seed", "3", "--timesteps", "2", "--no-carry"),
        ("--attacks", "fgsm", "--limit", "2", "--timesteps", "2", "--reference"),
        ("--attacks", "fgsm", "--limit", "2", "--timesteps", "2", "--reference", "--no-carry"),
    ],
)
def test_a_result_is_shown_with_the_command_that_computes_it(
    cli: Cli, tmp_path: Path, options: tuple[str, ...]
) -> None:
    place = ("--output", tmp_path)
    assert cli("run", "--models", MODEL, *options, *place).code == 0
    (path,) = tmp_path.rglob("*.json")
    text = " ".join(cli("show", path).out.split())
    text = text[text.index("robench run") :]
    again = shlex.split(re.split(" (?:valid|suspect):", text)[0])
    assert again[:2] == ["robench", "run"]
    done = cli(*again[1:], *place, "--dry-run")
    assert (done.code, done.out.splitlines()[-1]) == (0, "nothing to do")


def test_no_command_computes_training_images_or_the_attack_of_a_study(builder: Builder) -> None:
    cell = builder.add("digits/vgg16-ann", "pgd", fall(40))
    assert cell_command(cell).startswith("robench run")
    assert cell.outcome is not None
    tuned = cell.outcome.model_copy(update={"split": "train"})
    assert cell_command(cell.model_copy(update={"outcome": tuned})) == ""
    assert cell_command(builder.add("digits/vgg16-ann", "pgd@x2", fall(40))) == ""


def test_every_parameter_of_robench_s_attacks_has_a_meaning() -> None:
    for name in attack_names():
        kind = type(find_attack(name).attack)
        fields = set(kind.model_fields)
        if not kind.__module__.startswith("robench.attacks.backends"):
            assert set(parameter_meanings(kind)) == fields, name


def test_an_attack_is_shown_with_its_values(cli: Cli) -> None:
    done = cli("show", "pgd[steps=7]")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "pgd[steps=7]"
    assert re.search(r"^  steps = 7 +the number of steps of one run", done.out, re.MULTILINE)
    assert "L∞" in done.out
    for name in ("pgd[steps=7]", "surrogate-ensemble", "spiking-autoattack"):
        assert max(map(len, cli("show", name).out.splitlines())) <= 100


def test_an_attack_of_a_file_is_shown(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from robench.attacks import PGD\n\n\nclass Mine(PGD):\n    pass\n"
    (tmp_path / "shown_attack.py").write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    done = cli("show", "shown_attack.py:Mine[steps=7]")
    assert done.code == 0, done.err
    assert done.out.startswith("mine[steps=7]\n")


@pytest.mark.parametrize("verdict", ["valid", "invalid"])
def test_a_result_is_shown_with_its_curve_and_checks(
    cli: Cli, builder: Builder, verdict: str
) -> None:
    reasons = ("gradient-unavailable",) if verdict == "invalid" else ()
    cell = builder.add(MODEL, "pgd", fall(40), verdict=verdict, reasons=reasons)  # type: ignore[arg-type]
    assert cell.outcome is not None
    names = [f"{MODEL}/pgd", cell.hash[:9], builder.store.path(MODEL, "pgd", cell.hash)]
    shown = [cli("show", name, "--results", builder.store.root).out for name in names]
    assert len(set(shown)) == 1
    lines = shown[0].splitlines()
    point = next(p for p in cell.outcome.curve if p.epsilon.text == "16/255")
    assert f"{point.accuracy:.1%}" in lines[1]
    assert lines[1].startswith("  ≤") == (verdict == "invalid")
    bars = [line for line in lines if "█" in line]
    assert len(bars) >= sum(point.interval.low > 0.02 for point in cell.outcome.curve)
    filled = [line.count("█") for line in bars]
    assert filled == sorted(filled, reverse=True)
    assert any(line.split()[:1] == ["made-up"] for line in lines)
    assert max(map(len, lines)) <= 100


def test_a_failed_check_comes_with_advice(cli: Cli, builder: Builder) -> None:
    builder.add(MODEL, "pgd", fall(90))
    builder.add(MODEL, "spgd", fall(10))
    out = cli("show", f"{MODEL}/pgd", "--results", builder.store.root).out
    said = " ".join(out.split())
    assert re.search(r"spgd is [\d.]+ points of AUC lower: .*hides adversarial examples", said)
    assert "docs/checks.md" in out


def test_show_compare_and_a_path_from_here_agree_on_the_verdict(
    cli: Cli, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = builder.add(MODEL, "pgd", fall(90))
    builder.add(MODEL, "spgd", fall(10))
    path = builder.store.path(MODEL, "pgd", first.hash)
    monkeypatch.chdir(builder.store.root.parent)
    shown = cli("show", path.relative_to(builder.store.root.parent))
    assert shown.code == 0, shown.err
    assert " invalid " in shown.out
    here = ("--results", builder.store.root)
    lines = cli("compare", f"{MODEL}/pgd", f"{MODEL}/spgd", *here).out.splitlines()
    assert [line.split()[3] for line in lines[:2]] == ["invalid", "valid"]


def test_names_that_mean_nothing_are_refused(cli: Cli, builder: Builder) -> None:
    builder.add(MODEL, "pgd", fall(40))
    for name in ("nothing", "digits/none", "spgdd", "ffffffffff", f"{MODEL}/square"):
        refused(cli("show", name, "--results", builder.store.root), "robench list")
    refused(cli("show", "spgdd"), "did you mean spgd")
    refused(cli("compare", f"{MODEL}/pgd", "none", "--results", builder.store.root), "'none'")
    refused(cli("compare", builder.store.root, f"{MODEL}/pgd"), "no folder of results")


def test_differences_are_paired_and_have_the_sign_of_a_minus_b(cli: Cli, builder: Builder) -> None:
    strong, weak = fall(40), np.maximum(fall(40) - 2, 0)
    weak = np.where(strong == ROBUST, ROBUST, weak)
    for attack, positions in (("pgd", strong), ("spgd", weak)):
        builder.add(MODEL, attack, positions)
    given = ("compare", f"{MODEL}/pgd", f"{MODEL}/spgd", "--results", builder.store.root)
    done = cli(*given)
    assert done.code == 0, done.err
    (found,) = json.loads(cli(*given, "--json").out)
    values = [epsilon.value for epsilon in GRID]
    limit = next(epsilon for epsilon in GRID if epsilon.text == found["auc"]["limit"])
    areas = [sample_areas(positions, values, limit.value) for positions in (strong, weak)]
    interval = bootstrap(areas[0] - areas[1])
    assert found["auc"]["difference"] == pytest.approx((areas[0] - areas[1]).mean())
    assert [found["auc"][end] for end in ("low", "high")] == pytest.approx(
        [interval.low, interval.high]
    )
    assert found["auc"]["difference"] > 0
    assert f"+{found['auc']['difference']:.3f}" in done.out
    same = json.loads(cli("compare", f"{MODEL}/pgd", f"{MODEL}/pgd", *given[3:], "--json").out)
    assert {point["difference"] for point in same[0]["accuracy"]} == {0}


def test_results_of_other_images_are_not_compared(cli: Cli, builder: Builder) -> None:
    builder.add(MODEL, "pgd", fall(40))
    builder.add(MODEL, "spgd", fall(40), data_sha256="e" * 64)
    given = ("compare", f"{MODEL}/pgd", f"{MODEL}/spgd", "--results", builder.store.root)
    refused(cli(*given), "other images")


def test_folders_are_compared_cell_by_cell(cli: Cli, tmp_path: Path) -> None:
    one, two = Builder(tmp_path / "one"), Builder(tmp_path / "two")
    for each, scale in ((one, 40), (two, 20)):
        each.add(MODEL, "pgd", fall(scale))
        each.add("digits/vgg16-ann", "pgd", fall(scale, 1), mode="ann")
    one.add(MODEL, "spgd", fall(10))
    done = cli("compare", tmp_path / "one", tmp_path / "two")
    assert done.code == 0, done.err
    assert done.out.count("at 16/255") == 2
    assert "only in A: 1 " in done.out
    data = json.loads(cli("compare", tmp_path / "one", tmp_path / "two", "--json").out)
    assert [pair["first"]["model"] for pair in data] == ["digits/vgg16-ann", MODEL]
    assert all(pair["auc"]["difference"] > 0 for pair in data)


def test_a_folder_is_shown_line_by_line(cli: Cli, builder: Builder) -> None:
    cell = builder.add("digits/mine", "pgd", fall(40), registered=False)
    done = cli("show", builder.store.root)
    assert done.out.splitlines()[0].startswith("digits/mine  clean ")
    assert cell.hash[:8] in done.out
    assert cli("show", "digits/mine", "--results", builder.store.root).out == done.out


def test_the_lines_say_what_is_measured_and_fit(builder: Builder) -> None:
    from robench.reporting.terminal.lines import check_lines, result_line

    cell = builder.add("digits/flex-hybrid", "surrogate-ensemble", fall(100))
    assert len(result_line(cell, took="1234.5 s")) <= 100
    check = Check(name="state", value=1, threshold=0, verdict="suspect", reason="x" * 30)
    check = check.model_copy(update={"name": "deterministic"})
    lines = check_lines(check)
    assert max(map(len, lines)) <= 100
    assert "Reset the state" in " ".join(lines)

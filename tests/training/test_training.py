import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import robench.datasets
from robench.architectures import VGG
from robench.datasets import DIGITS
from robench.errors import ContentError, TrainingError
from robench.registry import load_folder
from robench.training import Recipe, train
from robench.training.adversarial import perturbed
from robench.training.loop import Samples, learning_rate, reestimate_norms
from robench.training.recipe import TrainingTable
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished
from tests.support.recipes import adversarial, recipe


@pytest.fixture(autouse=True)
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(DIGITS, load=lambda split: DIGITS.load(split).first(160))
    monkeypatch.setitem(robench.datasets._BUILT_IN, "digits", few)


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "training.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_folder(folder).module.state_dict()


def test_loss_falls_and_the_checkpoint_loads(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "digits" / "tiny"
    rows = []
    card = train(recipe(tmp_path), folder, rows.append)
    written = log(folder)
    assert float(written[1]["train_loss"]) < float(written[0]["train_loss"])
    assert [row["phase"] for row in written] == ["ann", "ann"] == [row.phase for row in rows]
    assert float(written[1]["learning_rate"]) == 0
    model = load_folder(folder)
    test = DIGITS.load("test").first(160)
    hits = (model.logits(test.tensor()).argmax(1) == test.targets()).float().mean()
    assert float(hits) == pytest.approx(card.about.clean_accuracy)
    assert card.about.clean_samples == 160
    assert {path.name for path in folder.iterdir()} == {
        "model.toml",
        "weights.safetensors",
        "training.csv",
    }


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    shas = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(1)  # the state of the global generator does not matter
        card = train(recipe(tmp_path, training=f"seed = {seed}"), tmp_path / "digits" / name)
        shas.append(card.weights.sha256)
    assert shas[0] == shas[1] != shas[2]


def test_training_does_not_change_the_global_generator(tmp_path: Path) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(recipe(tmp_path), tmp_path / "digits" / "a")
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_hybrid_is_converted_and_its_norms_are_reestimated(tmp_path: Path) -> None:
    folder = tmp_path / "digits" / "hybrid"
    made = recipe(
        tmp_path,
        "hybrid",
        model='timesteps = 4\npool = "average"',
        training="reestimate_norm = 2\ncalibration_steps = 3",
        architecture="flex-vgg16",
    )
    card = train(made, folder)
    rows = log(folder)
    phases = [row["phase"] for row in rows]
    assert phases == ["counterpart", "counterpart", "converted", "calibrated", "norms re-estimated"]
    assert rows[1]["firing_rate"] == ""
    assert 0 < float(rows[-1]["firing_rate"]) < 1
    assert "norms re-estimated" in card.about.description
    assert card.about.clean_accuracy == pytest.approx(float(rows[-1]["test_accuracy"]))


def test_a_conversion_of_initial_weights_needs_no_epoch(tmp_path: Path) -> None:
    folder = tmp_path / "digits" / "ann"
    train(recipe(tmp_path, architecture="flex-vgg16"), folder)
    made = recipe(
        tmp_path,
        "hybrid",
        model='timesteps = 4\npool = "average"',
        architecture="flex-vgg16",
        training='init = "digits/ann"\nreestimate_norm = 2',
        epochs=0,
    )
    card = train(made, folder.with_name("hybrid"))
    assert all(row["train_loss"] == "" for row in log(folder.with_name("hybrid")))
    assert "norms re-estimated" in card.about.description


def test_stbp_starts_from_an_ann_and_a_control_keeps_the_initial_weights(tmp_path: Path) -> None:
    models = tmp_path / "models"
    train(recipe(tmp_path), models / "digits" / "tiny-ann")
    stbp = 'init = "digits/tiny-ann"\nloss = "tet"\ntimesteps_schedule = [{}]'.format(
        "{ epochs = 1, timesteps = 1 }, { epochs = 1, timesteps = 2 }"
    )
    train(recipe(tmp_path, "stbp", "timesteps = 3", stbp), models / "digits" / "tiny-stbp")
    rows = log(models / "digits" / "tiny-stbp")
    assert [row["phase"] for row in rows] == ["T=1", "T=2"]
    assert load_folder(models / "digits" / "tiny-stbp").timesteps == 3
    text = (tmp_path / "recipe.toml").read_text("utf-8")
    copy = text.replace("epochs = 2", "epochs = 0").replace("tiny-ann", "tiny-stbp")
    lines = [line for line in copy.splitlines() if "schedule" not in line]
    (tmp_path / "recipe.toml").write_text("\n".join(lines), "utf-8")
    train(Recipe.read(tmp_path / "recipe.toml"), models / "digits" / "copy")
    ours, theirs = state(models / "digits" / "copy"), state(models / "digits" / "tiny-stbp")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_initial_weights_with_more_layers_than_the_network_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "digits" / "tiny"
    train(recipe(tmp_path, architecture="flex-vgg16"), folder)
    plain = recipe(tmp_path, training='init = "digits/tiny"')
    with pytest.raises(ContentError, match="does not fit"):
        train(plain, folder.with_name("other"))


def test_a_training_that_diverges_ends_with_one_line_and_without_weights(
    cli: Callable[..., Finished], tmp_path: Path
) -> None:
    folder = tmp_path / "digits" / "tiny"
    folder.mkdir(parents=True)
    recipe(folder, training="weight_decay = 1e30")
    done = cli("train", folder)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    for text in (folder, "the loss is nan in epoch", "--restart"):
        assert str(text) in done.err
    assert not (folder / "weights.safetensors").exists()


def test_missing_or_misfit_initial_weights_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "digits" / "tiny"
    with pytest.raises(ContentError, match="digits/no-such-model"):
        train(recipe(tmp_path, training='init = "digits/no-such-model"'), folder)
    train(recipe(tmp_path), folder)
    misfit = recipe(tmp_path, training='init = "digits/tiny"', architecture="flex-vgg16")
    with pytest.raises(ContentError, match="does not fit"):
        train(misfit, folder.with_name("other"))
    assert not folder.with_name("other").exists()


def test_one_cycle_is_that_of_torch() -> None:
    table = TrainingTable(epochs=10, learning_rate=0.4, warmup_epochs=3, schedule="one-cycle")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.4, total_steps=101, pct_start=0.31, cycle_momentum=False
    )  # its steps count from 0 and its peak is at 0.31 · 101 − 1, about step 30
    found, expected = [], []
    for step in range(101):
        found.append(learning_rate(table, step / 10))
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        if step < 100:
            theirs.step()
    assert found == pytest.approx(expected, abs=0.004)
    assert max(found) == 0.4
    assert [found[0], found[100]] == pytest.approx([expected[0], expected[100]])


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    table = TrainingTable(epochs=10, learning_rate=1.0, warmup_epochs=2)
    assert [learning_rate(table, done) for done in (0, 1, 2, 6, 10)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )


def test_reestimated_norms_fit_the_data_and_no_weight_moves() -> None:
    net = VGG(Recipe.read(ROOT / "models" / "digits" / "vgg16-hybrid" / "recipe.toml").model)
    data = Samples.of(DIGITS.load("train").first(64))
    before = {name: value.clone() for name, value in net.named_parameters()}
    reestimate_norms(net, data, 3, 64, torch.Generator().manual_seed(0))
    first = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    seen = conv((data.x(slice(None)) - net.mean) / net.std)
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, seen.mean((0, 2, 3)))
    assert first.momentum == 0.1
    assert not net.training
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.named_parameters())


def test_adversarial_training_makes_a_network_more_robust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = replace(DIGITS, load=lambda split: DIGITS.load(split).first(600))
    monkeypatch.setitem(robench.datasets._BUILT_IN, "digits", some)
    test = DIGITS.load("test")
    x, y, robust = test.tensor(), test.targets(), {}
    for name, epsilon in (("plain", "0"), ("at", "24/255")):
        made = recipe(tmp_path, training=adversarial((3, "0"), (7, epsilon)), epochs=10)
        train(made, tmp_path / "digits" / name)
        net = load_folder(tmp_path / "digits" / name).module
        attacked = perturbed(net, x, y, 24 / 255, 10, torch.Generator().manual_seed(0))
        robust[name] = float((net(attacked).argmax(1) == y).float().mean())
    phases = [row["phase"] for row in log(tmp_path / "digits" / "at")]
    assert phases == ["ann"] * 3 + ["ann ε=24/255"] * 7
    assert robust["at"] > robust["plain"] + 0.1


def test_the_attack_of_training_changes_only_images() -> None:
    net = VGG(Recipe.read(ROOT / "models" / "digits" / "flex-stbp" / "recipe.toml").model)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x, y = DIGITS.load("train").first(8).tensor(), DIGITS.load("train").first(8).targets()
    found = perturbed(net, x, y, 0.1, 2, torch.Generator().manual_seed(0))
    again = perturbed(net, x, y, 0.1, 2, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)
    assert 0.05 < float((found - x).abs().max()) <= 0.1 + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_training_that_runs_out_of_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("robench.training.run.train_epoch", full)
    with pytest.raises(TrainingError, match="memory ran out on cpu; lower batch_size"):
        train(recipe(tmp_path), tmp_path / "digits" / "a")

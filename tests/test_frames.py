"""Inputs with a time axis: the data set of frames, networks that take them, what is perturbed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Finished
from networks import CLOSE, configuration, flex_layers, images, network
from pydantic import ValidationError
from torch import Tensor, nn

from robench.architectures import VGG, ModelConfig
from robench.architectures.vgg import ConvNorm
from robench.attacks import FGSM, PGD, PGDL2, RandomNoise, Square
from robench.attacks.norms import length
from robench.datasets import DIGITS, DIGITS_FRAMES
from robench.datasets.digits_frames import FRAMES, spikes
from robench.errors import EvaluationError
from robench.evaluation.checks import CARD_ACCURACY
from robench.evaluation.chunk import Chunk
from robench.evaluation.shared import blank, perturbation, shown
from robench.evaluation.sweep import ChunkSweep
from robench.evaluation.view import Ledger, ModelView
from robench.numbers import parse_grid
from robench.results import CLEAN_WRONG, NEVER, ResultStore
from robench.spiking import PATHS, Surrogate, kernels, override
from robench.training.recipe import Recipe
from robench.zoo import Model, find_attack, select_models

Cli = Callable[..., Finished]
NAME = "digits-frames/vgg16-stbp"


def framed(architecture: str, timesteps: int = 4) -> VGG:
    """The network of :mod:`networks` that takes frames."""
    still = network(architecture, timesteps=timesteps)
    config = configuration(architecture, timesteps=timesteps)
    table = config.model_dump() | {"input_kind": "frames"}
    model = VGG(ModelConfig.model_validate(table), plan=(6, 0, 8, 0, 10, 0)).double().eval()
    model.load_state_dict(still.state_dict())
    return model.requires_grad_(False)


def logits_and_gradient(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = module(x)
    loss = nn.functional.cross_entropy(logits, y, reduction="sum")
    return logits.detach(), torch.autograd.grad(loss, x)[0]


def test_frames_are_the_digits_as_spikes_and_the_same_everywhere() -> None:
    frames, still = DIGITS_FRAMES.load("test"), DIGITS.load("test")
    assert frames.images.shape == (len(still), *DIGITS_FRAMES.shape)
    assert DIGITS_FRAMES.frames == FRAMES
    assert DIGITS.frames is None
    assert np.array_equal(frames.labels, still.labels)
    assert set(np.unique(frames.tensor()).tolist()) == {0.0, 1.0}
    assert frames.sha256 == "14e585eb9a810890ad80be9e3467dbc92f25d9af570b4da044e1c0d83deff2b7"


def test_a_pixel_spikes_with_its_value_as_probability_and_by_its_own_numbers() -> None:
    frames, still = DIGITS_FRAMES.load("test"), DIGITS.load("test")
    alone = spikes(still.images[7], "test", 7)
    assert np.array_equal(alone, frames.images[7])
    assert not np.array_equal(alone, spikes(still.images[7], "train", 7))
    assert not frames.images[:, :, still.images[0] == 0][0].any()
    steady = np.broadcast_to(still.images[:, None] == 255, frames.images.shape)
    assert frames.images[steady].all()
    for value in (32, 96, 160, 224):
        drawn = frames.images[np.broadcast_to(still.images[:, None] == value, frames.images.shape)]
        error = 5 * np.sqrt(0.25 / len(drawn))
        assert abs(drawn.mean() / 255 - value / 255) < error


def test_the_card_of_a_model_of_images_is_as_it_was() -> None:
    assert "input_kind" not in configuration().model_dump()
    table = configuration().model_dump() | {"input_kind": "frames"}
    assert ModelConfig.model_validate(table).model_dump()["input_kind"] == "frames"
    with pytest.raises(ValidationError, match="input_kind frames belongs to stbp models"):
        ModelConfig.model_validate(
            configuration(mode="hybrid").model_dump() | {"input_kind": "frames"}
        )


def test_frames_have_no_schedule_of_time_steps() -> None:
    recipe = {
        "model": configuration().model_dump() | {"input_kind": "frames"},
        "training": {"epochs": 1, "timesteps_schedule": [{"epochs": 1, "timesteps": 2}]},
        "about": {"description": "a net"},
    }
    with pytest.raises(ValidationError, match="belongs to models that take images"):
        Recipe.model_validate(recipe)


@pytest.mark.parametrize("architecture", ["vgg16", "flex-vgg16"])
def test_frames_that_are_all_alike_are_an_image(architecture: str) -> None:
    x = images(3)
    still = network(architecture).requires_grad_(False)(x)
    model = framed(architecture)
    torch.testing.assert_close(model(x[:, None].repeat(1, 4, 1, 1, 1)), still, **CLOSE)
    other = torch.stack([x, 1 - x, x.flip(-1), x], 1)
    assert not torch.allclose(model(other), model(other.flip(1)))  # frame t comes at step t


@pytest.mark.parametrize("shape", [(2, 3, 3, 8, 8), (2, 3, 8, 8)])
def test_another_number_of_frames_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError, match=r"takes frames \(N, 4, C, H, W\), not"):
        framed("vgg16")(torch.rand(shape, dtype=torch.float64))


@pytest.fixture(scope="module")
def model() -> Model:
    (entry,) = select_models([NAME])
    return entry.load()


def test_card_accuracy_is_that_of_a_fresh_evaluation(model: Model) -> None:
    x, y = some(DIGITS_FRAMES.protocol.slice)
    with torch.no_grad():
        guess = torch.cat([model.logits(part) for part in x.split(75)]).argmax(1)
    assert model.clean_accuracy is not None
    assert abs(float((guess == y).double().mean()) - model.clean_accuracy) <= CARD_ACCURACY
    assert model.clean_accuracy >= 0.95


@pytest.mark.parametrize("path", ["act", "rga"])
def test_a_gradient_reaches_every_frame_through_the_twin_too(model: Model, path: str) -> None:
    x, y = some(2)
    view = ModelView(model, y, torch.arange(2), Ledger.empty(2))
    gradient = view.gradient(x, y, path=PATHS[path])
    assert gradient.shape == x.shape
    assert (gradient.abs().flatten(2).amax(2) > 0).all()


@pytest.mark.skipif(kernels.library() is None, reason="no compiled kernels here")
def test_folded_layers_and_kernels_compute_what_the_plain_network_does(model: Model) -> None:
    module = network_of(model).double()
    x, y = some(3)
    x = (x.double() * 0.9 + 0.05 * torch.rand(x.shape, dtype=torch.float64)).clamp(0, 1)
    module.prepare(x)
    layers = [layer for layer in module.modules() if isinstance(layer, ConvNorm)]
    chosen = [layer.sparse for layer in layers]
    assert any(chosen)
    for surrogate, path in (("atan(2)", "stbp"), ("triangle(0.5)", "hart"), ("atan(2)", "bptr")):
        with override(module, surrogate=Surrogate.parse(surrogate), path=PATHS[path]):
            with kernels.reference():
                expected, plain = logits_and_gradient(module, x, y)
            assert float(plain.abs().max()) > 0
            for everywhere in (False, True):
                for layer, own in zip(layers, chosen, strict=True):
                    layer.sparse = own or everywhere
                logits, gradient = logits_and_gradient(module, x, y)
                torch.testing.assert_close(logits, expected, atol=1e-8, rtol=0)
                torch.testing.assert_close(gradient, plain, atol=1e-8, rtol=0)


@pytest.mark.skipif(kernels.library() is None, reason="no compiled kernels here")
def test_a_flexible_network_of_frames_computes_what_the_plain_one_does() -> None:
    module, y = framed("flex-vgg16"), torch.tensor([0, 1, 2])
    assert flex_layers(module)
    x = torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with kernels.reference():
        expected, plain = logits_and_gradient(module, x, y)
    logits, gradient = logits_and_gradient(module, x, y)
    torch.testing.assert_close(logits, expected, atol=1e-8, rtol=0)
    # torch's hardsigmoid takes 1/6 in float32 on its way back
    scale = float(plain.abs().max())
    torch.testing.assert_close(gradient, plain, atol=1e-6 * scale, rtol=0)


def network_of(model: Model) -> VGG:
    assert isinstance(model.module, VGG)
    copy = VGG(model.module.config)
    copy.load_state_dict(model.module.state_dict())
    return copy.eval().requires_grad_(False)


def some(n: int) -> tuple[Tensor, Tensor]:
    part = DIGITS_FRAMES.load("test").first(n)
    return part.tensor(), part.targets()


class Weighted(nn.Module):
    """A binary linear model of T frames with weights of their own."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(frames, 3, 4, 4, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        score = ((x - 0.5) * self.weight).flatten(1).sum(1)
        return torch.stack([-score, score], 1)


def linear(frames: int, low: float, high: float) -> tuple[Model, Chunk]:
    model = Model(Weighted(frames), "digits-frames/linear", 2, input_kind="frames")
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(40, frames, 3, 4, 4, generator=generator) * (high - low) + low
    return model, Chunk(x, model.logits(x).argmax(1), range(40))


GRID = parse_grid(["0", "0.002", "0.005", "0.01", "0.02", "0.05"])


def expected_positions(model: Model, chunk: Chunk) -> list[int]:
    """The smallest ε of the grid that is beyond the margin, where no pixel is clipped."""
    weight = model.module.weight.double()
    slopes = weight.sum(0).abs() if chunk.shared else weight.abs()
    score = model.logits(chunk.x).double()[:, 1].abs()
    breaking = score / slopes.sum()
    values = torch.tensor([point.value for point in GRID], dtype=torch.float64)
    found = torch.searchsorted(values, breaking)
    return [NEVER if k == len(GRID) else int(k) for k in found]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=5, relative_step=5)], ids=["fgsm", "pgd"])
def test_a_linear_model_breaks_where_it_has_to(attack: PGD | FGSM, shared: bool) -> None:
    model, chunk = linear(5, 0.45, 0.55)
    chunk = replace(chunk, shared=shared)
    sweep = ChunkSweep(model, attack, chunk, GRID, seed=0, batch_size=16)
    rows = sweep.run()
    expected = expected_positions(model, chunk)
    assert rows["break_position"].tolist() == expected
    assert len(set(expected)) >= 3
    assert rows["reverified"].all()
    broken = rows["break_position"].to_numpy() > CLEAN_WRONG
    delta = sweep.examples - chunk.x
    assert delta.shape == chunk.x.shape
    assert np.allclose(rows["linf"][broken], delta.abs().flatten(1).amax(1)[broken], atol=1e-6)
    assert (rows["linf"][broken] <= rows["break_epsilon"][broken] + 3e-6).all()
    alike = (delta - delta[:, :1]).abs().max()
    assert (float(alike) < 1e-6) == shared


def test_one_frame_that_is_shared_is_an_image() -> None:
    model, chunk = linear(1, 0.0, 1.0)
    for attack in (FGSM(), PGD(steps=4), PGDL2(steps=4)):
        found = [
            ChunkSweep(model, attack, replace(chunk, shared=shared), GRID, seed=0, batch_size=16)
            for shared in (False, True)
        ]
        alone, shared = (sweep.run() for sweep in found)
        same = alone["break_position"] == shared["break_position"]
        assert same.mean() >= 0.95  # a start outside the box is clipped in one of them alone
        assert (alone["break_position"] > 0).sum() > 5


def test_the_shared_gradient_is_that_of_the_frames_that_move() -> None:
    model, chunk = linear(3, 0.0, 1.0)
    chunk = Chunk(chunk.x.round(), chunk.y, chunk.indices, shared=True)  # spikes: 0 or 1
    sweep = ChunkSweep(model, FGSM(), chunk, GRID, seed=0, batch_size=64)
    rows = torch.arange(len(chunk.x))
    view = sweep.view(rows, 0)
    generator = torch.Generator().manual_seed(2)
    z = 0.5 + 0.2 * (torch.rand(sweep.x.shape, generator=generator) - 0.5)
    ours = view.gradient(z, chunk.y, "margin")
    moving = ((chunk.x + (2 * z - 1)[:, None]) == shown(z, chunk.x)).float()
    toward = torch.where(chunk.y == 0, 1.0, -1.0)[:, None, None, None, None]
    expected = 2 * 2 * (toward * model.module.weight * moving).sum(1)
    torch.testing.assert_close(ours, expected)
    leaf = z.clone().requires_grad_()
    logits = view.differentiable(leaf)
    margin = (logits.gather(1, 1 - chunk.y[:, None]) - logits.gather(1, chunk.y[:, None])).sum()
    torch.testing.assert_close(torch.autograd.grad(margin, leaf)[0], expected)
    assert [torch.equal(image, z) for image, _ in view.seen] == [True, True]
    assert sweep.ledger.backwards.sum() == 2 * len(rows)


def test_what_clipping_takes_away_is_no_part_of_the_perturbation() -> None:
    frames = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])[None, :, None, None, :]  # T = 2
    image = torch.full_like(blank(frames), 0.4)
    delta = perturbation(image, frames)
    assert delta.flatten().tolist() == pytest.approx([0.0, -0.2, -0.2])
    after = shown(image, frames)[0, :, 0, 0]
    torch.testing.assert_close(after, torch.tensor([[0.0, 0.0, 0.8], [0.0, 0.8, 0.8]]))
    assert torch.equal(shown(blank(frames), frames), frames)


LIBRARY = ("foolbox:LinfFastGradientAttack", "advertorch:LinfPGDAttack[nb_iter=3]", "ddn[steps=5]")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "attack",
    [Square(queries=20), RandomNoise(draws=2), *LIBRARY],
    ids=lambda attack: attack if isinstance(attack, str) else attack.name,
)
def test_attacks_that_know_images_take_frames(attack: str | Square, shared: bool) -> None:
    attack = find_attack(attack).attack if isinstance(attack, str) else attack
    model, chunk = linear(2, 0.0, 1.0)
    chunk = Chunk(chunk.x[:8], chunk.y[:8], range(8), shared=shared)
    grid = parse_grid(["0", "0.05", "0.9"])
    sweep = ChunkSweep(model, attack, chunk, grid, seed=0, batch_size=4)
    rows = sweep.run()
    if not isinstance(attack, RandomNoise):
        assert (rows["break_position"] > 0).any()
    assert rows["reverified"].all()
    wrong = model.logits(sweep.examples).argmax(1) != chunk.y
    assert wrong.tolist() == (rows["break_position"] > 0).tolist()


def test_a_square_has_signs_of_its_own_in_each_frame() -> None:
    model, chunk = linear(2, 0.4, 0.6)
    attack = Square(queries=1, p_init=0.5)
    sweep = ChunkSweep(model, attack, chunk, GRID, seed=0, batch_size=64)
    noise = sweep.noise(torch.arange(len(chunk.x)))
    done = torch.zeros(len(chunk.x), dtype=torch.int64)
    square = attack._square(chunk.x, done, noise)
    inside = square.abs()
    assert torch.equal(inside, inside[:, :1, :1].expand_as(inside))
    assert not torch.equal(square[:, 0], square[:, 1])
    same_channel = square.amax((-1, -2)) - square.amin((-1, -2))
    assert (same_channel == 1).all()  # 0 and one sign


def test_both_perturbations_break_the_trained_model_end_to_end(cli: Cli, tmp_path: Path) -> None:
    options = ("--limit", "5", "--eps", "0.1,0.4", "--witnesses", "--output", tmp_path)
    members = "surrogates=[atan(2)],pgd_steps=2,steps=2"
    attacks = f"pgd[steps=2],pgd[steps=2,frames=shared],spgd[{members},frames=shared]"
    done = cli("run", "--models", NAME, "--attacks", attacks, *options)
    assert done.code == 0, done.err
    store = ResultStore(tmp_path)
    cells, damaged = store.cells()
    assert not damaged
    clean, labels = some(5)
    (entry,) = select_models([NAME])
    model = entry.load()
    spread = {}
    for cell in cells:
        assert cell.status == "done"
        assert cell.outcome is not None
        assert cell.outcome.verdict == "valid"
        assert cell.outcome.identity.data_sha256 == DIGITS_FRAMES.load("test").first(5).sha256
        shared = "shared" in cell.attack
        assert (cell.outcome.identity.parameters.get("frames") == "shared") == shared
        rows, found = store.rows(cell), store.witnesses(cell)
        assert found is not None
        assert len(found.index)
        index = torch.from_numpy(found.index)
        after = torch.from_numpy(found.images)
        assert (model.logits(after).argmax(1) != labels[index]).all()
        assert rows["reverified"].all()
        delta = after - clean[index]
        sizes = rows.set_index("index").loc[found.index]
        assert (length(delta, "linf").numpy() <= sizes["break_epsilon"] + 1e-5).all()
        kept = torch.where(clean[index] == 0, delta > 0, delta < 0)
        top = torch.where(kept, delta, 0.0).amax(1, keepdim=True)
        bottom = torch.where(kept, delta, 0.0).amin(1, keepdim=True)
        alike = torch.where(delta > 0, delta - top, delta - bottom).where(kept, 0.0)
        spread[cell.attack] = (float(alike.abs().max()), bool(((top > 0) & (bottom < 0)).any()))
    assert len(spread) == 3
    for attack, (difference, both) in spread.items():
        if "shared" in attack:
            assert difference < 1e-6
            assert not both  # one sign for all frames of a pixel
        else:
            assert both


def refused(done: Finished, *texts: str) -> None:
    assert done.code == 2
    assert "Traceback" not in done.err
    for text in texts:
        assert text in done.err


def test_time_steps_of_frames_cannot_be_chosen(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--attacks", "fgsm", "--output", tmp_path, "--timesteps", "4", "--dry-run")
    refused(cli(*command, "--models", NAME), "--timesteps 4", NAME, "one frame at each time step")
    done = cli(*command, "--models", "digits/vgg16-stbp,digits-frames/*")  # a glob is no name
    assert done.code == 0, done.err
    assert done.err.startswith(f"skipped {NAME}: --timesteps 4")


def test_what_is_perturbed_is_all_or_shared(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", NAME, "--output", tmp_path, "--attacks")
    refused(cli(*command, "pgd[frames=one]"), "pgd[frames=one]", "all or shared, not one")


def test_images_have_no_frames_to_share(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", "digits/vgg16-ann", "--limit", "2", "--eps", "0.1", "--json")
    done = cli(*command, "--attacks", "fgsm[frames=shared]", "--output", tmp_path)
    assert done.code == 0, done.err
    (cell,) = json.loads(done.out)
    assert cell["status"] == "not-applicable"
    assert "does not offer: frames" in cell["error"]


def test_a_model_has_to_take_what_the_data_set_gives() -> None:
    assert not DIGITS.mismatch("images", 4)
    assert not DIGITS_FRAMES.mismatch("frames", FRAMES)
    assert "takes images, and data set digits-frames gives frames" in DIGITS_FRAMES.mismatch(
        "images", FRAMES
    )
    assert "T = 4" in DIGITS_FRAMES.mismatch("frames", 4)
    assert "takes frames, and data set digits gives images" in DIGITS.mismatch("frames", 10)


def test_a_model_of_images_is_refused_on_frames(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from torch import nn\nfrom robench import Model\n"
        "def net():\n"
        "    flat = nn.Sequential(nn.Flatten(), nn.Linear(30720, 10))\n"
        "    return Model(flat, 'digits-frames/flat', 10)\n"
    )
    (tmp_path / "flatframes.py").write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    done = cli("run", "--models", "flatframes:net", "--attacks", "fgsm", "--output", tmp_path / "r")
    refused(done, "digits-frames/flat takes images, and data set digits-frames gives frames")

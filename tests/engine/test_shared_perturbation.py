"""Perturbations of inputs with a time axis: of all frames, or one shared by all frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.attacks import FGSM, PGD, PGDL2, RandomNoise, Square
from robench.attacks.primitives.norms import length
from robench.datasets import DIGITS, DIGITS_FRAMES
from robench.datasets.digits_frames import FRAMES
from robench.engine.chunk import Chunk
from robench.engine.shared_perturbation import blank, perturbation, shown
from robench.engine.sweep import ChunkSweep
from robench.epsilon import parse_grid
from robench.registry import Model, find_attack, select_models
from robench.results import CLEAN_WRONG, ROBUST, ResultStore
from tests.support.commands import Finished

Cli = Callable[..., Finished]
NAME = "digits-frames/vgg16-stbp"


class Weighted(nn.Module):
    """A binary linear model of T frames with weights for each frame."""

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
    """The smallest ε of the grid beyond the margin, for pixels that are not clipped."""
    weight = model.module.weight.double()
    slopes = weight.sum(0).abs() if chunk.shared else weight.abs()
    score = model.logits(chunk.x).double()[:, 1].abs()
    minimal = score / slopes.sum()
    values = torch.tensor([point.value for point in GRID], dtype=torch.float64)
    found = torch.searchsorted(values, minimal)
    return [ROBUST if k == len(GRID) else int(k) for k in found]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=5, relative_step=5)], ids=["fgsm", "pgd"])
def test_a_linear_model_has_the_minimal_epsilon_of_the_closed_form(
    attack: PGD | FGSM, shared: bool
) -> None:
    model, chunk = linear(5, 0.45, 0.55)
    chunk = replace(chunk, shared=shared)
    sweep = ChunkSweep(model, attack, chunk, GRID, seed=0, batch_size=16)
    rows = sweep.run()
    expected = expected_positions(model, chunk)
    assert rows["minimal_position"].tolist() == expected
    assert len(set(expected)) >= 3
    assert rows["reverified"].all()
    attacked = rows["minimal_position"].to_numpy() > CLEAN_WRONG
    delta = sweep.examples - chunk.x
    assert delta.shape == chunk.x.shape
    assert np.allclose(rows["linf"][attacked], delta.abs().flatten(1).amax(1)[attacked], atol=1e-6)
    assert (rows["linf"][attacked] <= rows["minimal_epsilon"][attacked] + 3e-6).all()
    alike = (delta - delta[:, :1]).abs().max()
    assert (float(alike) < 1e-6) == shared


def test_a_shared_perturbation_of_one_frame_is_that_of_an_image() -> None:
    model, chunk = linear(1, 0.0, 1.0)
    for attack in (FGSM(), PGD(steps=4), PGDL2(steps=4)):
        found = [
            ChunkSweep(model, attack, replace(chunk, shared=shared), GRID, seed=0, batch_size=16)
            for shared in (False, True)
        ]
        alone, shared = (sweep.run() for sweep in found)
        same = alone["minimal_position"] == shared["minimal_position"]
        assert same.mean() >= 0.95  # a start outside the box is clipped in only one of them
        assert (alone["minimal_position"] > 0).sum() > 5


def test_the_shared_gradient_sums_over_the_pixels_that_are_not_clipped() -> None:
    model, chunk = linear(3, 0.0, 1.0)
    chunk = Chunk(chunk.x.round(), chunk.y, chunk.indices, shared=True)  # spikes: 0 or 1
    sweep = ChunkSweep(model, FGSM(), chunk, GRID, seed=0, batch_size=64)
    rows = torch.arange(len(chunk.x))
    view = sweep.target.view(rows, 0)
    generator = torch.Generator().manual_seed(2)
    z = 0.5 + 0.2 * (torch.rand(sweep.target.x.shape, generator=generator) - 0.5)
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
    assert sweep.target.queries.backwards.sum() == 2 * len(rows)


def test_the_perturbation_excludes_what_is_clipped() -> None:
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
def test_attacks_on_images_accept_frames(attack: str | Square, shared: bool) -> None:
    attack = find_attack(attack).attack if isinstance(attack, str) else attack
    model, chunk = linear(2, 0.0, 1.0)
    chunk = Chunk(chunk.x[:8], chunk.y[:8], range(8), shared=shared)
    grid = parse_grid(["0", "0.05", "0.9"])
    sweep = ChunkSweep(model, attack, chunk, grid, seed=0, batch_size=4)
    rows = sweep.run()
    if not isinstance(attack, RandomNoise):
        assert (rows["minimal_position"] > 0).any()
    assert rows["reverified"].all()
    wrong = model.logits(sweep.examples).argmax(1) != chunk.y
    assert wrong.tolist() == (rows["minimal_position"] > 0).tolist()


def test_a_square_has_other_signs_in_each_frame() -> None:
    model, chunk = linear(2, 0.4, 0.6)
    attack = Square(queries=1, p_init=0.5)
    sweep = ChunkSweep(model, attack, chunk, GRID, seed=0, batch_size=64)
    noise = sweep.target.noise(torch.arange(len(chunk.x)))
    done = torch.zeros(len(chunk.x), dtype=torch.int64)
    square = attack._square(chunk.x, done, noise)
    inside = square.abs()
    assert torch.equal(inside, inside[:, :1, :1].expand_as(inside))
    assert not torch.equal(square[:, 0], square[:, 1])
    same_channel = square.amax((-1, -2)) - square.amin((-1, -2))
    assert (same_channel == 1).all()  # 0 and one sign


def test_both_perturbations_succeed_on_the_trained_model(cli: Cli, tmp_path: Path) -> None:
    options = ("--limit", "5", "--eps", "0.1,0.4", "--keep-examples", "--output", tmp_path)
    estimators = "surrogate=atan(2),pgd_steps=2,steps=2"
    attacks = f"pgd[steps=2],pgd[steps=2,frames=shared],spgd[{estimators},frames=shared]"
    done = cli("run", "--models", NAME, "--attacks", attacks, *options)
    assert done.code == 0, done.err
    store = ResultStore(tmp_path)
    cells, damaged = store.cells()
    assert not damaged
    first = DIGITS_FRAMES.load("test").first(5)
    clean, labels = first.tensor(), first.targets()
    (entry,) = select_models([NAME])
    model = entry.load()
    spread = {}
    for cell in cells:
        assert cell.status == "done"
        assert cell.outcome is not None
        assert cell.outcome.verdict != "invalid"  # two steps may be too few
        assert cell.outcome.identity.data_sha256 == DIGITS_FRAMES.load("test").first(5).sha256
        shared = "shared" in cell.attack
        assert (cell.outcome.identity.parameters.get("frames") == "shared") == shared
        rows, found = store.rows(cell), store.examples(cell)
        assert found is not None
        assert len(found.index)
        index = torch.from_numpy(found.index)
        after = torch.from_numpy(found.images)
        assert (model.logits(after).argmax(1) != labels[index]).all()
        assert rows["reverified"].all()
        delta = after - clean[index]
        sizes = rows.set_index("index").loc[found.index]
        assert (length(delta, "linf").numpy() <= sizes["minimal_epsilon"] + 1e-5).all()
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
    refused(cli(*command, "--models", NAME), "timesteps 4", NAME, "one frame at each time step")
    done = cli(*command, "--models", "digits/vgg16-stbp,digits-frames/*")  # a glob names no model
    assert done.code == 0, done.err
    assert done.err.startswith(f"skipped {NAME}: timesteps 4")


def test_frames_is_all_or_shared(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", NAME, "--output", tmp_path, "--attacks")
    refused(cli(*command, "pgd[frames=one]"), "pgd[frames=one]", "all or shared, not one")


def test_sharing_is_not_applicable_to_images(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", "digits/vgg16-ann", "--limit", "2", "--eps", "0.1", "--json")
    command += ("--attacks", "fgsm[frames=shared]", "--output", tmp_path)
    planned = json.loads(cli(*command, "--dry-run").out)
    assert [cell["state"] for cell in planned["cells"]] == ["not applicable"]
    done = cli(*command)
    assert done.code == 0, done.err
    (cell,) = json.loads(done.out)
    assert cell["status"] == "not-applicable"
    assert "does not offer: frames" in cell["error"]


def test_a_model_must_accept_the_samples_of_the_data_set() -> None:
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
        "    return Model(flat, 'digits-frames/flat', 10, input_kind='images')\n"
    )
    (tmp_path / "flatframes.py").write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    done = cli("run", "--models", "flatframes:net", "--attacks", "fgsm", "--output", tmp_path / "r")
    refused(done, "digits-frames/flat takes images, and data set digits-frames gives frames")

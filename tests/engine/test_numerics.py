"""The minimal ε of each sample does not depend on how the network is computed.

In float64, kernels, fusion and sparse convolutions do not change the outcome of a search. In
float32 the last bit differs. A spike at its threshold then flips, and the path of an attack
changes: on a spiking network, two ways to compute a convolution in plain PyTorch already disagree
on some samples. There the tests vary only the batch and the threads, which keep the last bit, and
compare the robust accuracy with that of the plain code.
"""

from contextlib import nullcontext

import pytest
import torch

from robench.attacks import SPGD
from robench.datasets import find_dataset
from robench.engine.chunk import Chunk
from robench.engine.sweep import ChunkSweep
from robench.epsilon import parse_grid
from robench.registry import select_models
from robench.runtime.threads import Workers
from robench.spiking import kernels
from tests.support.needs import load_images
from tests.support.sweeping import robust_at

pytestmark = pytest.mark.slow

ANN = ("digits/vgg16-ann", "digits/flex-ann")
SPIKING = ("vgg16-hybrid", "flex-hybrid", "vgg16-stbp", "flex-stbp")
NAMES = (*ANN, *(f"digits/{name}" for name in SPIKING))
GRIDS = {
    "digits": parse_grid(["4/255", "8/255", "16/255", "24/255"]),
    "cifar10": parse_grid(["0.5/255", "1/255", "2/255", "4/255"]),
}
ATTACK = SPGD(pgd_steps=4, steps=4)


@pytest.fixture
def search():
    """Computes the minimal positions of a model on the first images of its data set."""
    threads_before = torch.get_num_threads()

    def positions(model, images, *, batch_size=64, threads=1, plain=False, dtype=torch.float32):
        model.module.to(dtype)
        data = find_dataset(model.dataset).load("test")
        x, y = data.tensor()[:images].to(dtype), data.targets()[:images]
        torch.set_num_threads(threads)
        workers = Workers(shared=threads > 1)
        with kernels.reference() if plain else nullcontext(), workers:
            model.prepare(x[:16])
            chunk = Chunk(x, y, range(images))
            options = {"seed": 0, "batch_size": batch_size, "workers": workers}
            rows = ChunkSweep(model, ATTACK, chunk, GRIDS[model.dataset], **options).run()
        assert rows["reverified"].all()
        return rows["minimal_position"]

    yield positions
    torch.set_num_threads(threads_before)


def load(name):
    (entry,) = select_models([name])
    load_images(entry.dataset)
    return entry.load()


@pytest.mark.parametrize("name", NAMES)
def test_kernels_and_fusion_do_not_change_the_minimal_epsilon(name, search):
    model = load(name)
    ours = search(model, 10, dtype=torch.float64)
    plain = search(model, 10, dtype=torch.float64, plain=True)
    assert (ours == plain).mean() >= 0.99
    assert ours.nunique() > 1


@pytest.mark.parametrize("name", NAMES)
def test_batch_and_threads_do_not_change_the_minimal_epsilon(name, search):
    model = load(name)
    ours = search(model, 40)
    other = search(model, 40, batch_size=16, threads=2)
    assert (other == ours).mean() >= 0.99
    assert ours.nunique() > 2


@pytest.mark.parametrize("name", ANN)
def test_float32_is_enough_without_spikes(name, search):
    model = load(name)
    assert (search(model, 40) == search(model, 40, plain=True)).mean() >= 0.99


@pytest.mark.parametrize("name", ["digits/flex-hybrid", "digits/vgg16-stbp"])
def test_float32_kernels_keep_the_robust_accuracy_of_a_spiking_model(name, search):
    model = load(name)
    ours, plain = ({"minimal_position": search(model, 40, plain=plain)} for plain in (False, True))
    for point in range(len(GRIDS["digits"])):
        assert abs(robust_at(ours, point) - robust_at(plain, point)) <= 2

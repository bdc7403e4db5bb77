import torch

from robench.training.augment import CROP, HOLE, crop, cutout, flip, shift

X = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.01


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_shift_moves_images_by_up_to_two_pixels() -> None:
    x = torch.zeros(64, 2, 9, 9)
    x[:, :, 4, 4] = 1
    moved = shift(x, seeded())
    assert moved.shape == x.shape
    assert (moved.sum((2, 3)) == 1).all()
    assert torch.equal(moved[:, 0], moved[:, 1])
    where = moved[:, 0].flatten(1).argmax(1)
    assert set((where // 9).tolist()) == set((where % 9).tolist()) == {2, 3, 4, 5, 6}


def test_crop_is_a_plain_slice_of_the_padded_image() -> None:
    found = crop(X, seeded())
    padded = torch.zeros(len(X), 3, 32 + 2 * CROP, 32 + 2 * CROP)
    padded[:, :, CROP:-CROP, CROP:-CROP] = X
    windows = {
        (i, j): padded[:, :, i : i + 32, j : j + 32]
        for i in range(2 * CROP + 1)
        for j in range(2 * CROP + 1)
    }
    drawn = set()
    for n, image in enumerate(found):
        fits = [place for place, window in windows.items() if torch.equal(window[n], image)]
        assert len(fits) == 1
        drawn.add(fits[0])
    assert len(drawn) == len(windows)  # 400 draws from 81


def test_flip_mirrors_about_half_of_the_images() -> None:
    found = flip(X, seeded())
    mirrored = (found == X[:, :, :, list(range(31, -1, -1))]).flatten(1).all(1)
    kept = (found == X).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 150 < mirrored.sum() < 250


def test_cutout_sets_one_square_to_black() -> None:
    found = cutout(X, seeded())
    hole = (found == 0).all(1)
    assert torch.equal(found, X.masked_fill(hole[:, None], 0))
    rows, columns = hole.any(2), hole.any(1)
    assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])
    assert rows.sum(1).max() == HOLE == columns.sum(1).max()
    assert rows.sum(1).min() >= HOLE // 2
    areas = hole.flatten(1).sum(1)
    assert len(areas.unique()) > 10


def test_each_draws_only_from_the_generator() -> None:
    for augment in (shift, crop, flip, cutout):
        state = torch.random.get_rng_state()
        assert torch.equal(augment(X, seeded()), augment(X, seeded()))
        assert not torch.equal(augment(X, seeded()), augment(X, torch.Generator().manual_seed(1)))
        assert torch.equal(state, torch.random.get_rng_state())

"""Images and labels of users and plug-ins: kept exactly, or refused with advice on one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robench.datasets import DIGITS, DIGITS_FRAMES, Dataset, Images
from robench.errors import ContentError, RobenchError, UsageError
from robench.training.loop import Samples
from tests.support.commands import Cli, refused

N = 20
TEST = DIGITS.load("test").first(N)
ZERO = np.zeros((2, 3, 32, 32), np.uint8)
FLOATS = torch.rand(N, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def giving(images: Any, labels: Any) -> Dataset:
    """Digits, with the images and labels of a plug-in."""
    return replace(DIGITS, load=lambda split: Images(images, labels))


def one_line(error: pytest.ExceptionInfo[RobenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


BAD_LABELS: list[tuple[Callable[[np.ndarray], Any], tuple[str, ...]]] = [
    (lambda y: y + 1, ("labels run from 1 to 10", "10 classes are numbered from 0: subtract 1")),
    (lambda y: y * 2, ("labels run from 0 to 18", "from 0 to 9", "number of classes")),
    (lambda y: y + 20, ("labels run from 20 to 29",)),
    (lambda y: y - 1, ("labels run from -1 to 8", "number the classes from 0")),
    (lambda y: (y - 1).astype(np.uint64), ("labels run from 0 to 18446744073709551615",)),
    (lambda y: np.eye(10)[y], ("labels have shape (20, 10)", "labels.argmax(1)")),
    (lambda y: y[:, None], ("labels have shape (20, 1)", "labels.reshape(-1)")),
    (lambda y: y[:7], ("there are 7 labels for 20 images",)),
    (lambda y: np.tile(y, 2), ("there are 40 labels for 20 images",)),
    (lambda y: np.int64(3), ("labels of shape () for 20 images",)),
    (lambda y: np.eye(10)[y][:5], ("labels of shape (5, 10) for 20 images",)),
    (lambda y: y.astype(float), ("labels are float64", "integers from 0")),
    (lambda y: y.astype(np.float16), ("labels are float16",)),
    (lambda y: np.where(y == y[3], np.nan, y), ("labels are float64, and NaN for sample 3",)),
    (lambda y: y > 4, ("labels are bool", "class numbers")),
    (lambda y: y.astype(str), ("labels are <U21",)),
    (lambda y: y.astype(object), ("labels are object",)),
]


@pytest.mark.parametrize(("change", "texts"), BAD_LABELS)
def test_the_labels_of_a_data_set_that_are_no_class_numbers_are_one_line(
    change: Callable[[np.ndarray], Any], texts: tuple[str, ...]
) -> None:
    with pytest.raises(ContentError, match="test images of data set digits") as error:
        giving(TEST.images, change(TEST.labels)).read("test")
    for text in texts:
        assert text in one_line(error)


@pytest.mark.parametrize(("change", "texts"), BAD_LABELS[3:])
def test_the_same_labels_of_a_user_are_refused(
    change: Callable[[np.ndarray], Any], texts: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as error:
        Images.of(TEST.images, change(TEST.labels))
    for text in texts:
        assert text in one_line(error)


@pytest.mark.parametrize(("change", "texts"), BAD_LABELS[:3])
def test_a_user_is_advised_when_the_classes_are_known(
    change: Callable[[np.ndarray], Any], texts: tuple[str, ...]
) -> None:
    reason = Images.of(TEST.images, change(TEST.labels)).misfit(10)
    assert all(text in reason for text in texts)
    assert Images.of(TEST.images, TEST.labels).misfit(10) == ""
    assert "numbered from 0 to 8" in Images.of(TEST.images, TEST.labels).misfit(9)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "uint32", "uint64", ">i8"])
def test_integers_of_any_type_are_class_numbers(kind: str) -> None:
    data = giving(TEST.images, TEST.labels.astype(kind)).read("test")
    assert data.labels.dtype == np.int64
    assert data.sha256 == TEST.sha256
    assert data.targets().tolist() == TEST.labels.tolist()


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((2, 3, 32, 32)), "images are float64; give uint8 from 0 to 255, or float32"),
        (np.zeros((2, 3, 32, 32), np.int64), "images are int64"),
        (np.zeros((2, 3, 32, 32), bool), "images are bool"),
        (ZERO[:, 0], "images have shape (2, 32, 32); give (N, C, H, W), or (N, T, C, H, W) for"),
        (ZERO.reshape(2, -1), "images have shape (2, 3072)"),
        (ZERO[None, None], "images have shape (1, 1, 2, 3, 32, 32)"),
        (torch.zeros(2, 3, 32, 32), "images are a Tensor; convert them with Images.of"),
        (ZERO.transpose(0, 2, 3, 1), "put the channels first: transpose(0, 3, 1, 2)"),
        (ZERO[:, :, :28, :28], "they are (3, 28, 28), not (3, 32, 32)"),
        (ZERO[:, None], "they are (1, 3, 32, 32), not (3, 32, 32)"),
        (ZERO[:0], "there are none"),
    ],
)
def test_the_images_of_a_data_set_that_do_not_fit_are_one_line(images: Any, text: str) -> None:
    with pytest.raises(ContentError, match="test images of data set digits") as error:
        giving(images, np.zeros(len(images), np.int64)).read("test")
    assert text in one_line(error)


def test_frames_with_the_channels_last_are_advised() -> None:
    frames = DIGITS_FRAMES.load("test").first(2)
    wrong = Images(frames.images.transpose(0, 1, 3, 4, 2), frames.labels)
    with pytest.raises(ContentError, match=r"transpose\(0, 1, 4, 2, 3\)"):
        replace(DIGITS_FRAMES, load=lambda split: wrong).read("test")


def test_a_data_set_that_gives_no_images_is_advised() -> None:
    pair: Any = TEST.images, TEST.labels
    with pytest.raises(ContentError, match=r"they are a tuple; return Images\.of"):
        replace(DIGITS, load=lambda split: pair).read("test")


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (FLOATS * 255, "images must be in [0, 1]; divide them by 255: they run from 0.0"),
        (FLOATS * 4 - 2, "images must be in [0, 1]; put the normalisation into the network"),
        (FLOATS + 1e-3, "they run from 0.001"),
        (torch.where(FLOATS[4, 1, 2, 3] == FLOATS, torch.nan, FLOATS), "NaN, first in sample 4"),
        (FLOATS / 0, "put the normalisation"),
        (FLOATS.permute(0, 2, 3, 1), "permute(0, 3, 1, 2) of a tensor"),
        (FLOATS[:, None].permute(0, 1, 3, 4, 2), "permute(0, 1, 4, 2, 3) of a tensor"),
        (FLOATS[:, :1].permute(0, 2, 3, 1), "with the channels last"),
        (FLOATS[:, 0], "e.g. images[:, None] for one channel"),
        (FLOATS[:0], "there are no images"),
        ((FLOATS > 0.5).to(torch.uint8), "uint8 from 0 to 1, and 255 is white"),
        ((FLOATS > 0.5), "images are bool"),
        ((FLOATS * 255).long(), "images are int64"),
        (FLOATS + 1j, "images are complex64"),
        ([[1.0], [1.0, 2.0]], "the parts of a list differ"),
    ],
)
def test_the_images_of_a_user_that_are_refused(images: Any, text: str) -> None:
    with pytest.raises(UsageError) as error:
        Images.of(images, np.zeros(len(images), np.int64))
    assert text in one_line(error)


@pytest.mark.parametrize(
    "shape", [(4, 12, 50, 1), (4, 3, 32, 32), (4, 1, 2, 2), (4, 8, 1, 1), (4, 5, 2, 34, 34)]
)
def test_unusual_shapes_are_accepted(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert torch.equal(Images.of(x, [0, 1, 2, 3]).tensor(), x)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_kept_exactly(kind: torch.dtype) -> None:
    x = FLOATS.to(kind).clamp(0, 1)
    data = Images.of(x.requires_grad_(), torch.zeros(N, dtype=torch.int32))
    assert data.images.dtype == np.float32
    assert torch.equal(data.tensor(), x.detach().float())


def test_floats_that_are_pixels_are_the_pixels_again() -> None:
    for x in (TEST.tensor(), TEST.tensor().numpy(), TEST.images, (TEST.images / 255)):
        data = Images.of(x, TEST.targets())
        assert data.images.dtype == np.uint8
        assert data.sha256 == TEST.sha256
    almost = TEST.tensor()
    almost[3, 1, 2, 1] = torch.nextafter(almost[3, 1, 2, 1], torch.tensor(2.0)).clamp(max=1 - 1e-6)
    assert Images.of(almost, TEST.targets()).sha256 != TEST.sha256


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_any_floats_in_the_unit_interval_come_back(values: list[float]) -> None:
    x = torch.tensor(values)[:, None, None, None]
    data = Images.of(x, [0] * len(values))
    assert torch.equal(data.tensor(), x)
    assert data.sha256 == Images.of(x.numpy()[:], np.zeros(len(values), np.uint8)).sha256


def test_the_type_of_the_pixels_is_part_of_the_digest() -> None:
    zero = np.zeros((1, 1, 2, 2), np.uint8)
    as_float = Images(zero.astype(np.float32), np.zeros(1, np.int64))
    assert as_float.sha256 != Images(zero, np.zeros(1, np.int64)).sha256
    # four bytes for each pixel, so that their number alone does not tell them apart
    wide = Images(np.zeros((1, 1, 2, 8), np.uint8), np.zeros(1, np.int64))
    assert as_float.sha256 != wide.sha256


@pytest.mark.parametrize("data", [Images.of(FLOATS, [0] * N), TEST], ids=["float32", "uint8"])
def test_editing_a_tensor_changes_nothing_stored(data: Images) -> None:
    before = data.tensor()
    data.tensor().zero_()
    Samples.of(data).x(slice(0, N)).zero_()
    assert torch.equal(data.tensor(), before)
    assert torch.equal(Samples.of(data).x(slice(0, N)), before)


def test_a_users_arrays_are_copied() -> None:
    x, y = FLOATS.numpy().copy(), np.zeros(N, np.int64)
    data = Images.of(x, y)
    x[:], y[:] = 1, 1
    assert torch.equal(data.tensor(), FLOATS)
    assert data.targets().sum() == 0


def test_arrays_that_torch_does_not_take_are_copied() -> None:
    read_only = np.broadcast_to(TEST.images[:1], TEST.images.shape)
    for pixels in (read_only, TEST.images[:, :, ::-1], TEST.images[::-1, ..., ::2]):
        data = Images(pixels, TEST.labels[::-1])
        assert torch.equal(data.tensor(), torch.tensor(pixels.copy()) / 255)
        assert data.targets().tolist() == TEST.labels[::-1].tolist()


def test_a_run_on_a_data_set_with_labels_from_1_ends_before_it_starts(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = giving(TEST.images, TEST.labels + 1)
    monkeypatch.setattr("robench.evaluation.plan.find_dataset", lambda name: data)
    done = cli("run", "--models", "digits/vgg16-ann", "--attacks", "fgsm", "--output", tmp_path)
    refused(done, "test images of data set digits: labels run from 1 to 10", "subtract 1")
    assert not list(tmp_path.rglob("*.json"))


def test_a_cell_on_floats_is_evaluated_and_is_another_cell(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dim = Images.of(TEST.tensor() * 0.97, TEST.labels)
    hashes = []
    for data in (giving(dim.images, dim.labels), giving(TEST.images, TEST.labels)):
        monkeypatch.setattr("robench.evaluation.plan.find_dataset", lambda name, data=data: data)
        done = cli("run", "--models", "digits/vgg16-ann", "--attacks", "fgsm", "--eps", "8/255",
                   "--limit", "8", "--output", tmp_path)  # fmt: skip
        assert done.code == 0
        hashes = [path.stem for path in tmp_path.rglob("*.json")]
    assert len(hashes) == 2


COUNTS = torch.tensor([0, 3, 12, 5]).reshape(2, 2, 1, 1, 1).expand(2, 2, 2, 4, 4)


@pytest.mark.parametrize(
    "images",
    [COUNTS, COUNTS.float(), COUNTS.int().numpy(), COUNTS.byte(), COUNTS[:, 0].short()],
    ids=["int64", "float", "int32", "uint8", "images"],
)
def test_counts_of_events_are_refused_with_the_way_to_divide_them(images: Any) -> None:
    largest = int(images.max())
    with pytest.raises(UsageError) as error:
        Images.of(images, [0, 1])
    assert f"images / {largest} and let the network multiply by {largest}" in one_line(error)
    assert f"1/{largest} is then one event" in str(error.value)
    divided = Images.of(images / largest, [0, 1])
    assert torch.equal(divided.tensor() * largest, torch.as_tensor(images).float())


@pytest.mark.parametrize(
    "images",
    [
        torch.tensor([0, 1]).reshape(1, 2, 1, 1, 1).expand(2, 2, 2, 4, 4) * 255,
        torch.tensor([0, 101]).reshape(1, 2, 1, 1, 1).expand(2, 2, 2, 4, 4),
        torch.zeros(2, 2, 2, 4, 4),
        torch.full((2, 3, 4, 4), 12),  # a dark image
    ],
)
def test_brightness_is_not_taken_for_counts(images: torch.Tensor) -> None:
    assert len(Images.of(images.to(torch.uint8), [0, 1])) == 2


@pytest.mark.parametrize("images", [COUNTS.float() + 0.5, -COUNTS.float(), COUNTS.float() / 0])
def test_other_numbers_are_no_counts(images: torch.Tensor) -> None:
    with pytest.raises(UsageError) as error:
        Images.of(images, [0, 1])
    assert "counts" not in one_line(error)

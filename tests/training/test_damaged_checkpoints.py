"""Training checkpoints whose header or tensors are of other types: one line, and no traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from robench.errors import ContentError
from robench.training.checkpoint import Progress, read_progress, restore, save
from robench.training.log import Row

Tensors = dict[str, Tensor]
DONE = Progress({"model": {}}, "0" * 64, 1.5, (Row("ann", 1, 1.0, 0.5, 1.0, 0.5, 0.1, 1.0, None),))


def parts() -> tuple[nn.Module, torch.optim.SGD, torch.Generator]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    return net, optimizer, torch.Generator()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    save(path, *parts(), DONE)
    return path


def rewrite(path: Path, header: str, change: Callable[[Tensors], Any] = lambda found: None) -> None:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors)
    save_file(tensors, path, metadata={"progress": header})


def header(**changes: object) -> str:
    row = vars(DONE.rows[0])
    known = {"recipe": {}, "images": "", "seconds": 1.0, "rows": [row], "init": ""}
    return json.dumps(known | changes)


def in_row(**changes: object) -> str:
    return header(rows=[vars(DONE.rows[0]) | changes])


def test_a_whole_checkpoint_is_read(checkpoint: Path) -> None:
    assert read_progress(checkpoint) == DONE
    restore(checkpoint, *parts())


@pytest.mark.parametrize(
    "text",
    [
        "[]", "1", '"text"', "null", "", "{", "[" * 100_000, "9" * 5000,
        header(rows=None), header(rows=[1]), header(rows={"a": 1}), header(rows="ab"),
        header(seconds="1.0"), header(seconds=[1]), header(images=3), header(recipe=[]),
        header(init=None), in_row(epoch="1"), in_row(epoch=1.5), in_row(test_loss=None),
        in_row(test_accuracy={}), in_row(phase=7), in_row(epoch=True),
        '{"recipe": {}, "images": "\\ud800", "seconds": 1, "rows": []}',
    ],
)  # fmt: skip
def test_a_header_of_other_types_is_damaged(checkpoint: Path, text: str) -> None:
    rewrite(checkpoint, text)
    with pytest.raises(ContentError, match="start again with --restart") as found:
        read_progress(checkpoint)
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net/weight", torch.zeros(5)),
        ("net/weight", None),
        ("momentum_buffer/weight", torch.zeros(1)),
        ("momentum_buffer/weight", torch.zeros(7, 3)),
        ("generator", torch.zeros(3)),
        ("generator", torch.zeros(3, dtype=torch.uint8)),
        ("torch", torch.zeros(5056)),
        ("torch", torch.zeros(4, 4, dtype=torch.int64)),
    ],
)
def test_tensors_of_other_shapes_and_types_are_damaged(
    checkpoint: Path, name: str, value: Tensor | None
) -> None:
    def change(found: Tensors) -> None:
        del found[name]
        if value is not None:
            found[name] = value

    rewrite(checkpoint, header(), change)
    with pytest.raises(ContentError, match="start again with --restart") as found:
        restore(checkpoint, *parts())
    assert len(str(found.value).splitlines()) == 1

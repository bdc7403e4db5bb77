from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robench.analysis import (
    TrainingLog,
    draw_training,
    find_logs,
    read_log,
    write_training_figures,
)
from robench.errors import ContentError, UsageError
from robench.model_id import ModelId
from robench.registry import model_folders
from robench.training import Row
from robench.training.log import LOG, write_log
from tests.support.commands import Finished

Cli = Callable[..., Finished]


def epochs(*phases: tuple[str, int]) -> tuple[Row, ...]:
    """Rows of phases with so many epochs each, ever better."""
    names = [name for name, count in phases for _ in range(count)]
    return tuple(
        Row(name, n, 2 / n + 0.1, 1 - 0.6 / n, 2 / n, 1 - 0.5 / n, 0.1, 1.5, None)
        for n, name in enumerate(names, 1)
    )


def step(name: str, epoch: int, loss: float, accuracy: float) -> Row:
    return Row(name, epoch, None, None, loss, accuracy, None, 1.0, 0.1)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models with the cards and logs of two digits models and a control."""
    names = ("digits/vgg16-ann", "digits/flex-hybrid", "digits/control-zero-gradient")
    for name in names:
        (tmp_path / "models" / name).mkdir(parents=True)
        for file in ("model.toml", LOG):
            shutil.copy(model_folders()[name] / file, tmp_path / "models" / name / file)
    return tmp_path / "models"


def test_a_log_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [*epochs(("counterpart", 2)), step("converted", 2, 1.25, 0.5)]
    write_log(tmp_path / LOG, rows)
    found = read_log(tmp_path / LOG)
    assert found == rows
    assert found[2].train_loss is None


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("phase,epoch", "phase,epoche", "columns"),
        ("counterpart,2,", "counterpart,two,", "line 3"),
        ("counterpart,2,1.1,", "counterpart,2,much,", "line 3"),
        ("counterpart,2,1.1,", "counterpart,2,nan,", "line 3: train_loss is nan"),
        (
            "\ncounterpart,2,1.1,0.7,1.0,0.75,0.1,1.5,\n",
            "\ncounterpart,2,1.1\n",
            "line 3: there are not 9 values",
        ),
        (
            "counterpart,1,2.1,0.4,2.0,0.5,0.1,1.5,\ncounterpart,2,1.1,0.7,1.0,0.75,0.1,1.5,\n",
            "",
            "no epochs",
        ),
    ],
)
def test_a_damaged_log_names_file_and_line(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = tmp_path / LOG
    write_log(path, epochs(("counterpart", 2)))
    whole = path.read_text("utf-8")
    assert old in whole
    path.write_text(whole.replace(old, new), "utf-8")
    with pytest.raises(ContentError, match=text) as caught:
        read_log(path)
    assert str(path) in str(caught.value)


def test_all_leaves_out_controls_and_models_without_a_log(models: Path) -> None:
    found = [log.model for log in find_logs(["all"], dataset="digits", models_dir=models)]
    assert "digits/vgg16-ann" in found
    assert not [name for name in found if "control" in name]
    (models / "digits" / "vgg16-ann" / LOG).unlink()
    found = [log.model for log in find_logs(["digits/*"], models_dir=models)]
    assert "digits/vgg16-ann" not in found
    assert "digits/flex-hybrid" in found
    named = find_logs(["digits/control-zero-gradient"], models_dir=models)
    assert [row.phase for row in named[0].steps] == ["init"]
    with pytest.raises(UsageError, match="robench train digits/vgg16-ann"):
        find_logs(["digits/vgg16-ann"], models_dir=models)


def test_a_log_is_divided_into_phases_and_steps(models: Path) -> None:
    (hybrid,) = find_logs(["digits/flex-hybrid"], models_dir=models)
    assert [row.phase for row in hybrid.steps] == ["converted", "calibrated"]
    assert hybrid.phases == [("counterpart", 1)]
    assert (hybrid.mode, hybrid.family) == ("hybrid", "flex-vgg16")
    stbp = TrainingLog(ModelId("d/m"), "vgg16", "stbp", epochs(("T=4", 5), ("T=10", 1)), ())
    assert stbp.phases == [("T=4", 1), ("T=10", 6)]


def test_the_figure_shows_every_number_of_every_log() -> None:
    steps = (step("converted", 3, 2.5, 0.3), step("calibrated", 3, 0.65, 0.81))
    ann = TrainingLog(ModelId("digits/vgg16-ann"), "vgg16", "ann", epochs(("ann", 4)), ())
    hybrid = TrainingLog(
        ModelId("digits/vgg16-hybrid"), "vgg16", "hybrid", epochs(("counterpart", 3)), steps
    )
    phases = epochs(("T=4", 2), ("T=10", 2))
    stbp = TrainingLog(ModelId("digits/vgg16-stbp"), "vgg16", "stbp", phases, ())
    figure = draw_training([stbp, ann, hybrid])
    axes = figure.axes
    names = ["vgg16-ann", "vgg16-hybrid", "vgg16-stbp"]
    assert [ax.get_title("left") for ax in axes] == [*names, "", "", ""]
    for column, log in enumerate((ann, hybrid, stbp)):
        for ax, what in ((axes[column], "accuracy"), (axes[column + 3], "loss")):
            (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
            drawn = [
                (float(x), float(y)) for line in ax.lines for x, y in line.get_xydata().tolist()
            ]
            for row in log.epochs:
                assert (row.epoch, getattr(row, f"train_{what}")) in drawn
                assert (row.epoch, getattr(row, f"test_{what}")) in drawn
                assert low < row.epoch < high
                assert bottom < getattr(row, f"test_{what}") < top
            for row in log.steps:
                (x,) = {x for x, y in drawn if y == getattr(row, f"test_{what}")}
                assert row.epoch < x < high
            ticks = [float(tick) for tick in ax.get_xticks()]
            assert all(tick.is_integer() and 1 <= tick <= len(log.epochs) for tick in ticks)
    assert [text.get_text() for text in axes[2].texts] == ["T = 4", "T = 10"]
    assert not axes[1].texts
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["test images", "training images", "converted", "calibrated"]


def test_many_models_stand_in_bands_of_four_at_the_most() -> None:
    logs = [
        TrainingLog(ModelId(f"digits/net{i}-ann"), "vgg16", "ann", epochs(("ann", 3)), ())
        for i in range(5)
    ]
    axes = [ax for ax in draw_training(logs).axes if ax.axison]
    assert len(axes) == 10
    assert len({ax.get_ylim() for ax in axes if ax.get_title("left")}) == 1
    above = [ax for ax in axes if ax.get_title("left")]
    below = [ax for ax in axes if not ax.get_title("left")]
    for first, *others in (above, below):
        assert all(first.get_shared_y_axes().joined(first, ax) for ax in others)


def test_one_file_for_each_data_set_and_the_same_each_time(tmp_path: Path) -> None:
    init = (step("init", 0, 0.05, 0.98),)
    logs = [
        TrainingLog(ModelId("digits/vgg16-ann"), "vgg16", "ann", epochs(("ann", 3)), ()),
        TrainingLog(ModelId("elsewhere/control"), "vgg16", "stbp", (), init),
    ]
    paths = write_training_figures(logs, tmp_path / "a")
    assert [path.name for path in paths] == ["digits-training.png", "elsewhere-training.png"]
    for one, two in zip(paths, write_training_figures(logs, tmp_path / "b"), strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().startswith(b"\x89PNG")


def test_the_command_writes_the_figure(cli: Cli, tmp_path: Path, models: Path) -> None:
    command = ("analyze", "curves", "--models-dir", models, "--output", tmp_path / "figures")
    done = cli(*command, "--models", "digits/vgg16-ann,digits/flex-*")
    assert done.code == 0, done.err
    written = tmp_path / "figures" / "digits-training.png"
    assert done.out.splitlines() == [f"wrote {written}"]
    assert written.is_file()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--models", "digits/vgg16-an"), ("did you mean", "digits/vgg16-ann")),
        (("--models", "zzz*"), ("nothing fits zzz*",)),
        (("--models", ""), ("empty list",)),
        (("--dataset", "digit"), ("did you mean digits",)),
        (("--output", "{}/file/figures"), ("file/figures", "is a file")),
    ],
)
def test_a_wrong_argument_is_one_line(
    cli: Cli, tmp_path: Path, arguments: tuple[str, str], texts: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    flag, value = arguments
    done = cli("analyze", "curves", flag, value.format(tmp_path))
    assert done.code == 2
    (line,) = done.err.splitlines()
    for text in texts:
        assert text in line

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Finished, refused

Cli = Callable[..., Finished]
TINY = ("--limit", "2", "--eps", "8/255", "--attacks", "fgsm")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--models", "digits/vgg16-an"), ("digits/vgg16-an", "did you mean", "digits/vgg16-ann")),
        (("--models", "digits/zzz*"), ("digits/zzz*",)),
        (("--models", ""), ("no model",)),
        (("--models", "nosuch.module:make"), ("nosuch.module:make",)),
        (("--attacks", "pgdd"), ("pgdd", "did you mean", "pgd")),
        (("--attacks", ""), ("no attack",)),
        (("--attacks", "pgd[stepps=3]"), ("stepps", "steps")),
        (("--attacks", "pgd[steps=many]"), ("steps",)),
        (("--attacks", "pgd[steps=0]"), ("steps",)),
        (("--attacks", "pgd[steps]"), ("name=value",)),
        (("--attacks", "pgd[steps=3"), ("pgd[steps=3",)),
        (("--dataset", "digit"), ("digit", "did you mean digits")),
        (("--eps", "-1/255"), ("-1/255",)),
        (("--eps", "0,big"), ("big", "not a number")),
        (("--eps", "nan"), ("nan",)),
        (("--eps", "1/0"), ("1/0",)),
        (("--eps", "1e400"), ("1e400",)),
        (("--eps", "2"), ("outside [0, 1]",)),
        (("--eps", ""), ("empty",)),
        (("--limit", "0"), ("limit 0",)),
        (("--limit", "-3"), ("limit -3",)),
        (("--limit", "1.5"), ("limit 1.5",)),
        (("--limit", "abc"), ("abc",)),
        (("--limit", "nan"), ("nan",)),
        (("--batch-size", "0"), ("--batch-size 0",)),
        (("--batch-size", "many"), ("--batch-size", "integer", "auto")),
        (("--device", "gpu"), ("device 'gpu'", "cuda")),
        (("--device", "cuda:99"), ("device cuda:99", "finds", "here")),
        (("--limit", "99999"), ("limit 99999", "digits has 225 test images")),
        (("--seed", "-1"), ("seed -1",)),
        (("--models-dir", "no/such/folder"), ("--models-dir no/such/folder", "no such folder")),
        (("--models", "digits/vgg16-hybrid", "--timesteps", "0"), ("timesteps 0",)),
        (("--models", "digits/vgg16-ann", "--timesteps", "0"), ("timesteps 0",)),
        (("--models", "digits/vgg16-ann", "--timesteps", "4"), ("timesteps 4", "no", "steps")),
        (("--epsilon", "1"), ("--epsilon",)),
    ],
)
def test_bad_argument_is_one_line(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    given = {"--models": "digits/vgg16-ann", "--attacks": "fgsm", "--limit": "2"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = [word for pair in given.items() for word in pair]
    refused(cli("run", *words, "--output", tmp_path / "results"), *texts)
    assert not list(tmp_path.rglob("*.json"))


def test_unknown_command_and_list(cli: Cli) -> None:
    refused(cli("rum"), "rum")
    refused(cli("list", "model"), "model", "did you mean models")
    refused(cli("train", "digits/vgg16-an"), "digits/vgg16-ann")


def test_leaderboard_without_results(cli: Cli, tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    refused(cli("leaderboard", "--results", missing, "--output", tmp_path / "b.md"), missing)
    missing.mkdir()
    refused(cli("leaderboard", "--results", missing, "--output", tmp_path / "b.md"), missing)


def test_output_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "results"
    refused(cli("run", "--models", "digits/vgg16-ann", *TINY, "--output", output), output)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("run",), "--output"),
        (("run",), "--models-dir"),
        (("leaderboard",), "--results"),
        (("list", "models"), "--data-dir"),
        (("train", "digits/vgg16-ann"), "--output"),
        (("train", "digits/vgg16-ann"), "--tensorboard"),
        (("data", "download", "cifar10"), "--data-dir"),
        (("analyze", "curves"), "--output"),
        (("analyze", "estimators"), "--results"),
        (("analyze", "transfer"), "--results"),
    ],
)
def test_a_file_where_a_folder_is_meant(
    cli: Cli, tmp_path: Path, command: tuple[str, ...], option: str
) -> None:
    path = tmp_path / "file"
    path.write_text("")
    refused(cli(*command, option, path), f"{option} {path}", "is a file", "name a folder")
    refused(cli(*command, option, path / "below"), option, f"{path} is a file")
    refused(cli(*command, option, ""), option, "is empty")


@pytest.mark.parametrize("command", [("leaderboard",), ("analyze", "estimators")])
def test_a_folder_where_a_file_is_meant(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    refused(cli(*command, "--output", tmp_path), tmp_path, "is a folder", "name a file")


@pytest.mark.parametrize("group", [(), ("analyze",), ("data",)])
def test_a_group_without_a_command_shows_its_commands(cli: Cli, group: tuple[str, ...]) -> None:
    done = cli(*group)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(" ".join(("Usage: robench", *group)))
    assert "Commands:" in done.err


def test_an_interrupted_training_says_how_it_continues(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robench.training.train", interrupted)
    done = cli("train", "digits/vgg16-ann", "--output", tmp_path)
    assert done.code == 130
    (line,) = done.err.splitlines()
    assert "--resume" in line
    assert "cells" not in line

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from robench.cli import main
from robench.zoo import load_folder, model_folders, select_models

FOLDER = model_folders()["digits/vgg16-ann"]
RUN = ["run", "--models", "digits/vgg16-ann", "--attacks", "fgsm", "--limit", "8"]


def call(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["robench", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    return int(stop.value.code or 0)


def outcomes(root: Path) -> dict[str, object]:
    found = {}
    for path in sorted(root.glob("*/*/*/*.json")):
        rows = pd.read_parquet(path.with_suffix(".parquet")).to_json()
        found[str(path.relative_to(root))] = (json.loads(path.read_text())["outcome"], rows)
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "digits/vgg16-an"], "digits/vgg16-ann"),
        (["--attacks", "pgdd"], "did you mean"),
        (["--dataset", "digit"], "digits"),
        (["--eps", "-1/255"], "-1/255"),
        (["--eps", "abc"], "abc"),
        (["--eps", ","], "empty"),
        (["--limit", "0"], "--limit 0"),
        (["--limit", "1.5"], "--limit 1.5"),
        (["--limit", "some"], "some"),
        (["--timesteps", "0", "--models", "digits/vgg16-stbp"], "--timesteps 0"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--attacks", "pgd[stepps=3]"], "steps"),
        (["--attacks", "pgd[steps=0]"], "steps"),
        (["--attacks", ","], "no attack"),
        (["--models", "nowhere.at_all:make"], "nowhere"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, words) -> None:
    defaults = ["--output", str(tmp_path / "out")]
    if "--models" not in arguments:
        defaults += ["--models", "digits/vgg16-ann"]
    assert call("run", *defaults, *arguments) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert words in text


def damage_weights(folder: Path) -> None:
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-5] ^= 255
    (folder / "weights.safetensors").write_bytes(bytes(data))


def truncate_weights(folder: Path) -> None:
    data = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(data[: len(data) // 2])


def remove_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def rewrite(old: str, new: str):
    def change(folder: Path) -> None:
        card = folder / "model.toml"
        text = card.read_text()
        assert old in text
        card.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_weights, "SHA-256"),
        (truncate_weights, "SHA-256"),
        (remove_weights, "no such weight file"),
        (rewrite("classes = 10", ""), "model.classes"),
        (rewrite("classes = 10", 'classes = "ten"'), "model.classes"),
        (rewrite("classes = 10", "classes = 10\nclases = 10"), "model.clases"),
        (rewrite("[model]", "[model"), "not valid TOML"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_that_names_file_and_key(
    tmp_path, capsys, harm, words
) -> None:
    folder = tmp_path / "digits" / "net"
    shutil.copytree(FOLDER, folder)
    harm(folder)
    assert call("run", "--models", str(folder), "--output", str(tmp_path / "out")) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert str(folder) in text
    assert words in text


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    from robench.errors import ContentError

    folder = tmp_path / "net"
    shutil.copytree(FOLDER, folder)
    rewrite("width = 0.0625", "width = 0.125")(folder)
    with pytest.raises(ContentError, match="cannot be loaded"):
        load_folder(folder)


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert call(*RUN, "--output", str(tmp_path / "file" / "out")) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_leaderboard_without_results_says_how_to_get_them(tmp_path, capsys) -> None:
    assert call("leaderboard", "--results", str(tmp_path / "none")) == 2
    assert "robench run" in capsys.readouterr().err


def test_the_same_command_again_computes_nothing(tmp_path, capsys) -> None:
    assert call(*RUN, "--output", str(tmp_path)) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert len(before) == 1
    assert call(*RUN, "--output", str(tmp_path)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert "kept" in capsys.readouterr().out
    assert call(*RUN, "--output", str(tmp_path), "--force") == 0
    assert before != {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}


def test_a_dry_run_writes_nothing(tmp_path, capsys) -> None:
    assert call(*RUN, "--output", str(tmp_path / "out"), "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert "to do" in capsys.readouterr().out


def test_a_result_cut_in_half_is_reported_and_redone_and_others_are_kept(tmp_path, capsys) -> None:
    command = ["run", "--models", "digits/vgg16-ann", "--attacks", "fgsm,noise", "--limit", "8"]
    assert call(*command, "--output", str(tmp_path)) == 0
    expected = outcomes(tmp_path)
    (cut,) = tmp_path.glob("*/*/fgsm/*.json")
    (kept,) = tmp_path.glob("*/*/noise/*.json")
    stamp = kept.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:300])
    capsys.readouterr()
    assert call(*command, "--output", str(tmp_path)) == 0
    assert "damaged" in capsys.readouterr().err
    assert outcomes(tmp_path) == expected
    assert kept.stat().st_mtime_ns == stamp


def test_a_killed_run_continues_to_the_same_results(tmp_path) -> None:
    program = (
        "import robench.evaluation.cell as cell; cell.CHUNK = 6;"
        "from robench.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "run", "--models", "digits/vgg16-ann"]
    command += ["--attacks", "fgsm,pgd", "--limit", "24", "--output"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole)], check=True, env=environment, capture_output=True)
    kills = 0
    finished: dict[Path, int] = {}
    for chunks in (1, 3, 5, 6, 99):
        process = subprocess.Popen([*command, str(killed)], env=environment)
        while process.poll() is None:
            written = len(list(killed.rglob("*.parquet"))) + 4 * len(list(killed.rglob("*.json")))
            if written >= chunks:
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.002)
        for path, stamp in finished.items():
            assert path.stat().st_mtime_ns == stamp  # no finished cell is computed again
        finished = {path: path.stat().st_mtime_ns for path in killed.rglob("*.json")}
    assert kills >= 2
    assert outcomes(killed) == outcomes(whole)
    assert not list(killed.rglob("*.tmp"))
    assert not list(killed.rglob("*.chunks"))


BROKEN_NET = """
import torch
from robench import Model

class Broken(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(value))
    def forward(self, x):
        return x.flatten(1)[:, :10] * self.weight

def bad():
    return Model(Broken(float("nan")), "digits/bad", 10)

def good():
    return Model(Broken(1.0), "digits/good", 10)

def crash():
    raise ValueError("no such luck")
"""


def test_a_failing_cell_is_stored_and_retried_and_the_others_go_on(
    tmp_path, monkeypatch, capsys
) -> None:
    (tmp_path / "own_nets.py").write_text(BROKEN_NET)
    monkeypatch.chdir(tmp_path)
    command = ["run", "--models", "own_nets:bad,own_nets:good", "--attacks", "fgsm"]
    for _ in range(2):
        assert call(*command, "--limit", "8", "--output", "out", "--eps", "0.1") == 1
        text = capsys.readouterr().out
        assert "failed: the model returned logits that are NaN" in text
        assert "digits/good" in text
    (path,) = Path("out").glob("digits/bad/fgsm/*.json")
    assert json.loads(path.read_text())["status"] == "failed"
    (path,) = Path("out").glob("digits/good/fgsm/*.json")
    assert json.loads(path.read_text())["outcome"]["registered"] is False
    assert call("run", "--models", "own_nets:crash", "--output", "out") == 2
    assert "no such luck" in capsys.readouterr().err


def test_all_leaves_controls_out_and_lists_them(capsys) -> None:
    ids = [entry.id for entry in select_models(["all"])]
    assert {f"digits/{a}-{m}" for a in ("vgg16", "flex") for m in ("ann", "hybrid", "stbp")} <= {
        *ids
    }
    assert not [name for name in ids if "control" in name]
    assert call("list", "models", "--json") == 0
    kinds = {row["model"]: row["kind"] for row in json.loads(capsys.readouterr().out)}
    assert kinds["digits/control-random-mask"] == "control"

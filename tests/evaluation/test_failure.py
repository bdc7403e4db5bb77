"""Why a cell failed, on one line and in full."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robench.errors import EvaluationError
from robench.evaluation.failure import full_text, short_reason
from robench.user_code import LONGEST
from tests.support.commands import Finished

Cli = Callable[..., Finished]


def own_code() -> None:
    torch.zeros(2) @ torch.zeros(3)


def chained() -> None:
    try:
        own_code()
    except RuntimeError as error:
        raise ValueError("first line\n  second line") from error


def test_a_reason_has_type_message_and_place() -> None:
    with pytest.raises(ValueError, match="first") as caught:
        chained()
    reason = short_reason(caught.value)
    assert reason.startswith("ValueError: first line second line (test_failure.py:")
    assert reason.endswith(" in chained)")
    text = full_text(caught.value)
    assert text.startswith("Traceback")
    assert "RuntimeError" in text  # the cause


def test_the_place_is_the_users_own_where_a_library_raised() -> None:
    library = "def linear(x):\n    raise RuntimeError('shapes do not match')\n"
    code: dict[str, Callable[[], None]] = {}
    exec(compile(library, "/v/site-packages/torch/nn/linear.py", "exec"), code)
    exec(compile("\ndef forward():\n    linear(0)\n", "/home/me/net.py", "exec"), code)
    with pytest.raises(RuntimeError) as caught:
        code["forward"]()
    assert short_reason(caught.value) == "RuntimeError: shapes do not match (net.py:3 in forward)"


def test_an_error_of_robench_is_its_message_on_one_short_line() -> None:
    assert short_reason(EvaluationError("no memory\nleft")) == "no memory left"
    assert full_text(EvaluationError("no memory\nleft")) == "no memory\nleft"
    assert len(short_reason(EvaluationError("x" * 999))) == LONGEST


BAD = """
from torch import nn
from robench import Model

class Bad(nn.Module):
    def forward(self, x):
        raise ValueError("wrong here")

def bad():
    return Model(Bad(), "digits/bad", 10)
"""


def test_the_record_of_a_failed_cell_has_the_reason_and_the_traceback(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "badmodels.py").write_text(BAD, "utf-8")
    monkeypatch.chdir(tmp_path)
    done = cli("run", "--models", "badmodels:bad", "--attacks", "fgsm", "--limit", "2")
    assert done.code == 1
    (line,) = (line for line in done.out.splitlines() if "failed:" in line)
    assert line.endswith("failed: ValueError: wrong here (badmodels.py:7 in forward)")
    (record,) = (tmp_path / "results").rglob("*.json")
    assert "Traceback" in json.loads(record.read_text("utf-8"))["error"]
    assert cli("leaderboard", "--all-runs").code == 0
    (row,) = (x for x in Path("leaderboard.md").read_text("utf-8").splitlines() if "bad |" in x)
    assert row.endswith("failed: ValueError: wrong here (badmodels.py:7 in forward) |")

"""robench on a system without the modules and functions of POSIX."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robench.reporting import link
from tests.support.checkpoints import ROOT

RUN = """
import sys
from tests.support.windows import import_everything, pretend
pretend()
print(import_everything(), "modules")
from robench.cli import main
sys.argv = ["robench", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
def test_every_module_is_imported_and_a_cell_is_evaluated(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "CC": str(tmp_path / "no compiler"),
        "XDG_CACHE_HOME": str(tmp_path / "no earlier library"),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, "run", "--models", "digits/vgg16-stbp", "--attacks", "fgsm",
         "--limit", "4", "--eps", "8/255"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100
    (path,) = tmp_path.glob("results/digits/vgg16-stbp/fgsm/*.json")
    record = json.loads(path.read_bytes())
    assert record["status"] == "done"
    assert record["run"]["peak_memory_mb"] == 3
    assert record["run"]["kernels"] is False


def test_text_is_written_with_one_kind_of_line_end_and_in_utf8() -> None:
    bad = []
    for path in (ROOT / "robench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = {keyword.arg for keyword in node.keywords}
                values = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                text = [value for value in values if isinstance(value, str)]
                wrong = (
                    (
                        node.func.attr == "write_text"
                        and not ("newline" in named and "utf-8" in text)
                    )
                    or (node.func.attr == "read_text" and not (node.args or "encoding" in named))
                    or (
                        node.func.attr == "open"
                        and not ("encoding" in named or "b" in "".join(text))
                    )
                )
                if wrong and ast.unparse(node.func.value) not in ("Image", "os"):
                    bad.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert bad == []


@pytest.mark.parametrize("place", ["figures", "C:/figures"])
def test_a_link_to_another_drive_is_the_whole_address(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def relpath(path: Path, start: Path) -> str:
        if "C:" in str(path):
            raise ValueError("path is on mount 'C:', start on mount 'D:'")
        return "../figures"

    monkeypatch.setattr(os.path, "relpath", relpath)
    text = link(Path(place), Path("here/leaderboard.md"))
    assert text == ("../figures" if place == "figures" else Path(place).resolve().as_uri())

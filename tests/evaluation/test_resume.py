import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import robench.evaluation.chunks
import robench.evaluation.executors.local
from tests.support.commands import Finished
from tests.support.interrupts import interrupt_chunk

Cli = Callable[..., Finished]
COMMAND = ("run", "--models", "smallmodels:small", "--limit", "30", "--eps", "8/255,16/255,32/255")


def comparable(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*.json")):
        name = str(path.relative_to(root))
        found[name] = {
            k: v for k, v in json.loads(path.read_text()).items() if k not in ("run", "sha256")
        }
        found[name + " rows"] = pd.read_parquet(path.with_suffix(".parquet")).to_csv()
    return found


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("small_models")
def test_same_command_computes_nothing_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*COMMAND, "--attacks", "fgsm,noise", "--output", tmp_path)
    assert cli(*command).code == 0
    before = times(tmp_path)
    assert len(before) == 4

    def forbidden(*_: object) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(robench.evaluation.executors.local, "evaluate_chunks", forbidden)
        done = cli(*command)
    assert done.code == 0
    assert "2 of them done already" in done.out
    assert times(tmp_path) == before

    content = comparable(tmp_path)
    assert cli(*command, "--force").code == 0
    after = times(tmp_path)
    assert set(after) == set(before)
    assert all(after[path] > before[path] for path in before)
    assert comparable(tmp_path) == content


@pytest.mark.usefixtures("small_models")
def test_chunks_do_not_change_the_result(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    assert cli(*COMMAND, "--attacks", "pgd[steps=4]", "--output", one).code == 0
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 7)
    assert cli(*COMMAND, "--attacks", "pgd[steps=4]", "--output", many).code == 0
    whole, parts = ([c for n, c in comparable(r).items() if "rows" in n] for r in (one, many))
    assert whole == parts


@pytest.mark.usefixtures("small_models")
def test_dry_run_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "results"
    done = cli(*COMMAND, "--attacks", "fgsm", "--output", output, "--dry-run")
    assert done.code == 0
    (line,) = (line for line in done.out.splitlines() if line.startswith("digits/small  fgsm "))
    assert line.endswith("  to do")
    assert not output.exists()


@pytest.mark.usefixtures("small_models")
def test_dry_run_for_a_machine_is_json(cli: Cli, tmp_path: Path) -> None:
    command = (*COMMAND, "--attacks", "fgsm,pgd[steps=4]", "--output", tmp_path)
    plan = json.loads(cli(*command, "--dry-run", "--json").out)
    assert [(cell["attack"], cell["state"]) for cell in plan["cells"]] == [
        ("fgsm", "to do"),
        ("pgd[steps=4]", "to do"),
    ]
    assert plan["skipped"] == []
    assert cli(*COMMAND, "--attacks", "fgsm", "--output", tmp_path).code == 0
    first, second = json.loads(cli(*command, "--dry-run", "--json").out)["cells"]
    (path,) = tmp_path.rglob("*.json")
    assert first == plan["cells"][0] | {"state": "done"}
    assert first["hash"] == json.loads(path.read_text("utf-8"))["hash"]
    assert (first["model"], first["dataset"], first["samples"]) == ("digits/small", "digits", 30)
    assert second["state"] == "to do"


@pytest.mark.usefixtures("small_models")
def test_failed_cell_is_recorded_others_go_on_and_it_is_tried_again(
    cli: Cli, tmp_path: Path
) -> None:
    command = ("run", "--models", "smallmodels:nan,smallmodels:small", "--attacks", "fgsm")
    command += ("--limit", "10", "--eps", "8/255", "--output", str(tmp_path))
    done = cli(*command)
    assert done.code == 1
    assert "Traceback" not in done.err + done.out
    (bad,), (good,) = (list(tmp_path.glob(f"digits/{n}/fgsm/*.json")) for n in ("nan", "small"))
    record = json.loads(bad.read_text())
    assert record["status"] == "failed"
    assert record["outcome"] is None
    assert record["error"]
    assert json.loads(good.read_text())["status"] == "done"

    before = times(tmp_path)
    assert cli(*command).code == 1
    assert times(tmp_path)[bad] > before[bad]
    assert times(tmp_path)[good] == before[good]

    third = tmp_path / "third"
    assert cli(*command[:-1], third, "--fail-fast").code == 1
    assert not (third / "digits" / "small").exists()


@pytest.mark.usefixtures("small_models")
def test_a_model_that_ends_the_program_is_a_failed_cell(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", "smallmodels:leaving,smallmodels:small", "--attacks", "fgsm")
    done = cli(*command, "--limit", "4", "--eps", "8/255", "--output", tmp_path)
    assert done.code == 1
    lines = done.out.splitlines()
    at = lines.index("digits/leaving")
    assert lines[at + 1].startswith("  fgsm  failed: SystemExit: 0 (smallmodels.py:")
    assert lines[at + 2].startswith("digits/small  clean ")
    assert " at 8/255 " in lines[at + 3]
    (record,) = tmp_path.glob("digits/leaving/fgsm/*.json")
    assert json.loads(record.read_text())["status"] == "failed"


@pytest.mark.usefixtures("small_models")
def test_a_folder_where_a_result_should_be_is_a_failed_cell(cli: Cli, tmp_path: Path) -> None:
    command = (*COMMAND, "--attacks", "fgsm,noise", "--output", tmp_path)
    plan = json.loads(cli(*command, "--dry-run", "--json").out)
    digest = plan["cells"][0]["hash"]
    (tmp_path / "digits" / "small" / "fgsm" / f"{digest[:16]}.json" / "full").mkdir(parents=True)
    done = cli(*command)
    assert done.code == 1
    (first,) = (line for line in done.out.splitlines() if "failed: IsADirectoryError" in line)
    (second,) = (line for line in done.out.splitlines() if "  noise  " in line)
    assert first.startswith("  fgsm ")
    assert "valid" in second


@pytest.mark.usefixtures("small_models")
def test_failed_cell_succeeds_once_its_cause_is_gone(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*COMMAND, "--attacks", "fgsm", "--output", tmp_path)

    def out_of_memory(*_: object) -> None:
        raise MemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(robench.evaluation.executors.local, "evaluate_chunks", out_of_memory)
        assert cli(*command).code == 1
    (path,) = tmp_path.rglob("*.json")
    assert "no memory left" in json.loads(path.read_text())["error"]
    assert cli(*command).code == 0
    record = json.loads(path.read_text())
    assert record["status"] == "done"
    assert record["error"] is None


@pytest.mark.usefixtures("small_models")
def test_interrupt_keeps_what_is_finished(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*COMMAND, "--attacks", "fgsm,noise", "--output", tmp_path)
    evaluate, calls = robench.evaluation.executors.local.evaluate_chunks, iter(range(9))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(robench.evaluation.executors.local, "evaluate_chunks", interrupted)
        done = cli(*command)
    assert done.code == 130
    assert done.err == "robench: interrupted; finished cells are kept\n"
    assert len(list(tmp_path.rglob("*.json"))) == 1
    done = cli(*command)
    assert done.code == 0
    assert "1 of them done already" in done.out


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(1, [1]), (225, [225]), (256, [256]), (374, [374]), (375, [250, 125]), (1000, [250] * 4)],
)
def test_no_chunk_is_very_short(n: int, sizes: list[int]) -> None:
    found = robench.evaluation.chunks.spans(n)
    assert [len(span) for span in found] == sizes
    assert [index for span in found for index in span] == list(range(n))


@pytest.mark.usefixtures("small_models")
def test_a_chunk_of_another_size_is_computed_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*COMMAND, "--attacks", "pgd[steps=4]", "--output")
    assert cli(*command, tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(robench.evaluation.chunks, "CHUNK", 7)
        interrupt_chunk(patch, 1)
        assert cli(*command, tmp_path / "cut").code == 130
    assert cli(*command, tmp_path / "cut").code == 0
    whole, cut = (
        [c for n, c in comparable(tmp_path / r).items() if "rows" in n] for r in ("whole", "cut")
    )
    assert whole == cut


@pytest.mark.usefixtures("small_models")
def test_a_damaged_chunk_is_computed_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*COMMAND, "--attacks", "pgd[steps=4]", "--keep-examples", "--output")
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 10)
    assert cli(*command, tmp_path / "whole").code == 0
    for number, kind in enumerate(("rows", "examples", "rows")):
        output = tmp_path / f"cut-{number}"
        with monkeypatch.context() as patch:
            interrupt_chunk(patch, 2)
            assert cli(*command, output).code == 130
        path = next(output.rglob(f"0000.{kind}"))
        data = bytearray(path.read_bytes())
        data[len(data) * (number + 1) // 4] ^= 4
        path.write_bytes(data)
        assert cli(*command, output).code == 0
        whole, cut = comparable(tmp_path / "whole"), comparable(output)
        assert whole == cut

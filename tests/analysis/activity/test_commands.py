"""``robench analyze sparsity|energy|raster``: what is stored, printed and drawn."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from robench import load_model
from robench.analysis.measuring import comparable
from robench.datasets import DIGITS
from robench.reporting import build_report, render
from robench.reporting.work import read_work, short
from robench.results import AnalysisStore
from tests.support.commands import Cli, refused
from tests.support.made_up import Builder, fall

NETS = """
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn


class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(48, 40), nn.Linear(40, 10)
        with torch.no_grad():
            self.first.weight.mul_(4)
        self.leaky = self.neuron()

    def forward(self, x):
        current = self.first(nn.functional.avg_pool2d(x, 8).flatten(1))
        self.begin()
        return sum(self.second(self.fire(current)) for _ in range(4))


class SnnTorch(Timed):
    def neuron(self):
        return snntorch.Leaky(beta=0.7)

    def begin(self):
        self.mem = self.leaky.reset_mem()

    def fire(self, current):
        spikes, self.mem = self.leaky(current, self.mem)
        return spikes


class Jelly(Timed):
    def neuron(self):
        return neuron.LIFNode(decay_input=False)

    def begin(self):
        functional.reset_net(self)

    def fire(self, current):
        return self.leaky(current)


def snn_torch():
    return SnnTorch()


def jelly():
    return Jelly()


def plain():
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))


def faulty():
    class Faulty(nn.Module):
        def forward(self, x):
            if len(x) > 20:
                raise ValueError("not so many")
            return x.mean((2, 3)) @ torch.ones(3, 10)

    return Faulty()
"""
USERS = ("nets.py:snn_torch", "nets.py:jelly")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    Path("nets.py").write_text(NETS)
    return tmp_path


def test_a_users_networks_are_measured_stored_and_drawn(cli: Cli) -> None:
    few = ("--dataset", "digits", "--models", ",".join(USERS), "--limit", 30)
    done = cli("analyze", "sparsity", *few, "--layers")
    assert done.code == 0
    assert "digits/snn-torch, spiking, 30 images: clean" in done.out
    assert "leaky spikes       40     4" in done.out
    assert Path("results/figures/digits-sparsity.png").stat().st_size > 5000
    again = cli("analyze", "energy", *few, "--format", "svg")
    assert again.out.count("activity   kept") == 2
    assert "without memory" in again.out or "Memory" in again.out
    assert Path("results/figures/digits-energy.svg").exists()
    stored, damaged = AnalysisStore(Path("results")).analyses("activity")
    assert len(stored) == 2
    assert not damaged
    total = stored[0].summary["clean"]["total"]
    energy = 4.6 * total["macs"]["value"] + 0.9 * total["acs"]["value"]
    assert total["energy"]["value"] == pytest.approx(energy)
    assert total["energy"]["low"] < energy < total["energy"]["high"]


def test_adversarial_images_are_measured_beside_the_same_clean_ones(cli: Cli) -> None:
    few = ("--dataset", "digits", "--models", USERS[0], "--limit", 30)
    done = cli("analyze", "sparsity", *few, "--attack", "fgsm", "--json")
    (found,) = json.loads(done.out)
    clean, adversarial = found["summary"]["clean"], found["summary"]["adversarial"]
    assert 0 < clean["images"] == adversarial["images"] < 30
    assert clean["total"]["spikes"] != adversarial["total"]["spikes"]
    assert found["identity"]["settings"]["epsilon"] == DIGITS.protocol.headline["linf"].text
    arrays = AnalysisStore(Path("results")).arrays(
        AnalysisStore(Path("results")).analyses("activity")[0][0]
    )
    assert arrays["clean.spikes"].shape == arrays["index"].shape == (clean["images"],)
    figure = Path("results/figures/digits-sparsity.png")
    assert not figure.exists()
    assert cli("analyze", "sparsity", "--models", USERS[0], "--dataset", "digits", "--no-run",
               "--attack", "fgsm").code == 0  # fmt: skip
    assert figure.exists()


def test_rasters_are_those_of_the_network(cli: Cli) -> None:
    few = ("--models", "digits/vgg16-stbp", "--limit", 4, "--clean", "--sample", 2)
    done = cli("analyze", "raster", *few, "--layer", "features.3")
    assert done.code == 0, done.err
    for name in ("raster", "rates"):
        assert Path(f"results/figures/digits-{name}.png").stat().st_size > 5000
    store = AnalysisStore(Path("results"))
    (found,), _ = store.analyses("raster")
    arrays, summary = store.arrays(found), found.summary
    model, x = load_model("digits/vgg16-stbp"), DIGITS.load("test").first(4).tensor()
    seen: list[torch.Tensor] = []
    layer = model.module.get_submodule("features.3")
    handle = layer.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        logits = model.call(x)
    handle.remove()
    spikes = (seen[0] != 0).flatten(2)
    assert [row["layer"] for row in summary["layers"]][1] == "features.3"
    assert np.array_equal(arrays["clean.1.fired"], spikes[:, 2][:, arrays["clean.1.neurons"]])
    assert arrays["clean.1.population"] == pytest.approx(spikes[:, 2].double().mean(1).numpy())
    assert arrays["clean.1.rates"] == pytest.approx(spikes.double().mean((1, 2)).numpy())
    assert arrays["clean.1.spikes"].sum() == spikes.shape[2]
    assert summary["predictions"] == {"clean": int(logits[2].argmax())}


def test_models_are_drawn_on_the_same_image(cli: Cli) -> None:
    models = "digits/vgg16-stbp,digits/flex-stbp"
    done = cli("analyze", "raster", "--models", models, "--attack", "fgsm", "--eps", "64/255",
               "--limit", 12)  # fmt: skip
    assert done.code == 0, done.err
    stored, _ = AnalysisStore(Path("results")).analyses("raster")
    samples = {analysis.summary["sample"] for analysis in stored}
    assert len(stored) == 2
    assert len(samples) == 1


def test_what_cannot_be_drawn_is_said(cli: Cli) -> None:
    of = ("--dataset", "digits", "--limit", 4)
    refused(cli("analyze", "energy", "--no-run"), "results has no activity", "--no-run")
    done = cli("analyze", "raster", "--models", "nets.py:plain", "--clean", *of)
    assert done.code == 1
    assert "no neuron was found that spikes" in done.err
    assert cli("analyze", "raster", "--models", USERS[0], "--clean", *of).code == 0
    refused(
        cli("analyze", "raster", "--models", USERS[0], "--clean", *of, "--layer", "9"),
        "--layer 9", "leaky",
    )  # fmt: skip
    done = cli("analyze", "raster", "--models", USERS[0], "--clean", *of, "--sample", 4)
    assert done.code == 1
    assert "--sample 4" in done.err


def test_the_others_are_measured_when_one_fails(cli: Cli) -> None:
    models = ",".join(("nets.py:faulty", USERS[0]))
    done = cli("analyze", "energy", "--dataset", "digits", "--models", models, "--limit", 30)
    assert done.code == 1
    assert "digits/faulty: ValueError: not so many" in done.err
    assert "1 of the models failed" in done.err
    assert "digits/snn-torch" in done.out


def test_models_are_drawn_together_only_on_the_same_image(cli: Cli) -> None:
    of = ("--limit", 6, "--clean")
    for model, sample in (("vgg16-stbp", 3), ("flex-stbp", 5), ("flex-stbp", 3)):
        assert (
            cli("analyze", "raster", "--models", f"digits/{model}", *of, "--sample", sample).code
            == 0
        )
    stored, _ = AnalysisStore(Path("results")).analyses("raster")
    chosen = comparable(stored)
    assert [a.identity.model for a in chosen] == ["digits/flex-stbp", "digits/vgg16-stbp"]
    assert {a.summary["sample"] for a in chosen} == {3}
    alone = ("analyze", "raster", "--no-run", "--models", "digits/*-stbp", *of, "--sample", 5)
    assert cli(*alone).code == 0
    refused(cli(*alone[:-1], 4), "results has no raster")
    refused(cli("analyze", "raster", "--no-run", "--models", "digits/*-stbp", "--clean",
                "--limit", 7), "results has no raster")  # fmt: skip


def test_what_is_stored_of_other_weights_is_not_drawn(cli: Cli) -> None:
    assert cli("analyze", "energy", "--models", "digits/vgg16-ann", "--limit", 4).code == 0
    store = AnalysisStore(Path("results"))
    (found,), _ = store.analyses("activity")
    arrays = store.arrays(found)
    shutil.rmtree("results")
    identity = found.identity.model_copy(update={"fingerprint": "0" * 64})
    store.write(found.model_copy(update={"identity": identity, "hash": identity.digest()}), arrays)
    done = cli("analyze", "energy", "--no-run", "--models", "digits/vgg16-ann")
    assert done.code == 2
    assert "digits/vgg16-ann has other weights today" in done.err


def test_the_leaderboard_takes_the_analysis_of_the_most_images(cli: Cli) -> None:
    for limit in (9, 4):
        assert cli("analyze", "energy", "--models", "digits/vgg16-ann", "--limit", limit).code == 0
    found, damaged = read_work(AnalysisStore(Path("results")))
    assert [work.images for work in found.values()] == [9]
    assert not damaged


def test_an_epsilon_without_an_attack_is_refused(cli: Cli) -> None:
    refused(cli("analyze", "energy", "--eps", "8/255"), "--eps", "--attack")


def test_damaged_files_are_measured_again(cli: Cli) -> None:
    of = ("--dataset", "digits", "--models", USERS[0], "--limit", 8)
    assert cli("analyze", "energy", *of).code == 0
    (path,) = Path("results").rglob("analyses/activity/*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    done = cli("analyze", "energy", *of, "--no-run")
    assert done.code == 2
    assert "its SHA-256 is not the one in the JSON" in done.err
    assert "kept" not in cli("analyze", "energy", *of).out
    assert "kept" in cli("analyze", "energy", *of).out


def test_the_leaderboard_shows_them_for_the_weights_they_were_measured_on(
    cli: Cli, builder: Builder
) -> None:
    model = load_model("digits/vgg16-ann")
    builder.add("digits/vgg16-ann", "pgd", fall(20), mode="ann", fingerprint=model.fingerprint)
    builder.add("digits/vgg16-stbp", "pgd", fall(30))  # with other weights
    before = render(build_report(builder.store))
    assert "SynOps" not in before
    root = builder.store.root
    done = cli("analyze", "energy", "--models", "digits/vgg16-ann,digits/vgg16-stbp", "--limit", 8,
               "--results", root)  # fmt: skip
    assert done.code == 0
    report = build_report(builder.store)
    text = render(report)
    assert "| Spikes | SynOps | Energy, µJ |" in text
    rows = {row.model: row for row in report.tables[0].rows}
    work = rows["digits/vgg16-ann"].work
    assert work is not None
    assert work.spikes is None
    assert rows["digits/vgg16-stbp"].work is None
    (line,) = [line for line in text.splitlines() if line.startswith("| 1 | digits/vgg16-")][:1]
    assert text.count("| — | — | — |") == 1
    assert f"| {work.energy_pj.value * 1e-6:.3g} |" in text
    data = json.loads(render(report, "json"))
    stored = [row["work"] for row in data["datasets"][0]["rows"]]
    assert sum(one is None for one in stored) == 1
    assert line
    assert "energy_pj" in render(report, "csv").splitlines()[0]


@pytest.mark.parametrize(
    ("count", "text"),
    [(7.0, "7.00"), (999.0, "999"), (1234, "1.23 k"), (34_152, "34.2 k"), (162_700, "163 k"),
     (2_200_000, "2.20 M"), (5e9, "5.00 G")],
)  # fmt: skip
def test_a_count_is_short(count: float, text: str) -> None:
    assert short(count) == text

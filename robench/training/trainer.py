"""Training a checkpoint from its recipe: data, weights to start from, phases, conversion, card."""

from __future__ import annotations

import csv
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from robench.architectures import VGG, build
from robench.datasets import Images, find_dataset
from robench.errors import ContentError, nearest
from robench.training.calibrate import calibrate
from robench.training.loop import (
    Samples,
    Score,
    evaluate,
    make_optimizer,
    reestimate_norms,
    train_epoch,
)
from robench.training.recipe import Recipe
from robench.zoo.card import CARD, WEIGHTS, AboutTable, ModelCard, read_weights, save_checkpoint
from robench.zoo.contents import model_folders

LOG = "training.csv"


@dataclass(frozen=True)
class Row:
    """One line of ``training.csv``: an epoch, or a step of the conversion behind the last one.

    Attributes:
        phase: ``ann``, ``twin``, ``T=4`` …; ``converted``, ``calibrated``,
            ``norms re-estimated``, ``init``.
        epoch: how many are done, over all phases.
        train_loss: mean over the epoch; None where nothing was trained.
        train_accuracy: of the same forward passes.
        test_loss: cross-entropy on the protocol slice, at the phase's own T.
        test_accuracy: on the same images.
        learning_rate: of the epoch's last step.
        seconds: for the epoch with its evaluation.
        firing_rate: spikes for each neuron and time step on the slice; None without spikes.
    """

    phase: str
    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    test_loss: float
    test_accuracy: float
    learning_rate: float | None
    seconds: float
    firing_rate: float | None


Progress = Callable[[Row], None]


def train(recipe: Recipe, folder: Path, progress: Progress = lambda row: None) -> ModelCard:
    """Train a checkpoint; its weights, card and log are written when all is done.

    Args:
        recipe: what to train and how.
        folder: the model's folder, ``…/<dataset>/<name>``.
        progress: is given each row of the log as soon as it is known.

    Returns:
        The card that was written.

    Raises:
        UsageError: the data set is not known.
        ContentError: the weights to start from are missing or do not fit.
    """
    started = time.perf_counter()
    dataset = find_dataset(recipe.model.dataset)
    train_images = dataset.load("train")
    test = _samples(dataset.load("test").first(dataset.protocol.slice))
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with _seeded(recipe), _log(folder / LOG) as write:

        def record(row: Row) -> None:
            rows.append(row)
            write(row)
            progress(row)

        net = _Run(recipe, _samples(train_images), test, record).network(folder)
        about = AboutTable(
            description=_describe(recipe, rows),
            clean_accuracy=rows[-1].test_accuracy,
            clean_samples=len(test.y),
            data=f"{len(train_images)} training images, SHA-256 {train_images.sha256}",
            seed=recipe.training.seed,
            epochs=recipe.training.epochs,
            hours=round((time.perf_counter() - started) / 3600, 4),
            hardware=f"{platform.machine()} CPU, {recipe.training.threads} thread(s)",
            control=recipe.about.control,
        )
        return save_checkpoint(folder, net, recipe.model, about)


@dataclass
class _Run:
    """One training: what all its steps share."""

    recipe: Recipe
    train: Samples
    test: Samples
    record: Callable[[Row], None]

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.recipe.training.seed)
        self.epoch = 0

    def network(self, folder: Path) -> VGG:
        """The trained network, as it is deployed."""
        config, table = self.recipe.model, self.recipe.training
        hybrid = config.mode == "hybrid"
        net = build(config, twin=hybrid)
        if table.init:
            load_initial(net, table.init, folder)
        if table.epochs:
            self.fit(net)
        else:
            self.examine(net, "init")
        if hybrid:
            twin, net = net, converted(net)
            self.examine(net, "converted")
            if table.calibration_steps:
                steps, rate = table.calibration_steps, table.calibration_rate
                calibrate(net, twin, self.train, steps, rate, self.generator)
                self.examine(net, "calibrated")
        if table.reestimate_norm:
            size = table.batch_size
            reestimate_norms(net, self.train, table.reestimate_norm, size, self.generator)
            self.examine(net, "norms re-estimated")
        return net

    def fit(self, net: VGG) -> None:
        """All phases; the network comes back with the T that it was built with."""
        table, deployed = self.recipe.training, net.timesteps
        optimizer = make_optimizer(net, table)
        for epochs, timesteps in self.recipe.phases():
            net.timesteps = timesteps
            for _ in range(epochs):
                began = time.perf_counter()
                score = train_epoch(net, self.train, optimizer, table, self.epoch, self.generator)
                self.epoch += 1
                rate = float(optimizer.param_groups[0]["lr"])
                self.examine(net, self._phase(timesteps), score, rate, began)
        net.timesteps = deployed

    def examine(
        self,
        net: VGG,
        phase: str,
        trained: Score | None = None,
        rate: float | None = None,
        began: float | None = None,
    ) -> None:
        """Evaluate on the test images and record the row."""
        began = time.perf_counter() if began is None else began
        score = evaluate(net, self.test)
        row = Row(
            phase=phase,
            epoch=self.epoch,
            train_loss=None if trained is None else trained.loss,
            train_accuracy=None if trained is None else trained.accuracy,
            test_loss=score.loss,
            test_accuracy=score.accuracy,
            learning_rate=rate,
            seconds=time.perf_counter() - began,
            firing_rate=score.firing_rate,
        )
        self.record(row)

    def _phase(self, timesteps: int) -> str:
        mode = self.recipe.model.mode
        return {"ann": "ann", "hybrid": "twin"}.get(mode, f"T={timesteps}")


def converted(twin: VGG) -> VGG:
    """The spiking network of a trained twin: its weights, its thresholds, IF neurons."""
    net = build(twin.config)
    net.load_state_dict(twin.state_dict(), strict=True)
    return net


def load_initial(net: VGG, model_id: str, folder: Path) -> None:
    """Load another model's weights; the thresholds of neurons that it does not have stay.

    Args:
        net: the network to fill.
        model_id: the other model, looked for beside ``folder`` first.
        folder: of the model that is trained, ``…/<dataset>/<name>``.

    Raises:
        ContentError: there is no such model, or its weights are damaged or do not fit.
    """
    known = model_folders(folder.resolve().parents[1])
    if model_id not in known:
        raise ContentError(
            f"init {model_id!r} has no card{nearest(model_id, known)}; "
            f"train it first: robench train {model_id}"
        )
    path = known[model_id] / WEIGHTS
    card = ModelCard.read(known[model_id] / CARD)
    own, stored = net.state_dict(), read_weights(path, card.weights.sha256)
    state = {key: value for key, value in stored.items() if key in own}
    absent = [key for key in own if key not in state and not key.endswith(".threshold")]
    misfit = [key for key, value in state.items() if value.shape != own[key].shape]
    if absent or misfit:
        raise ContentError(f"{path}: does not fit this recipe: {(absent + misfit)[0]}")
    net.load_state_dict(own | state)


def _samples(images: Images) -> Samples:
    return Samples(images.tensor(), images.targets())


def _describe(recipe: Recipe, rows: list[Row]) -> str:
    """The recipe's sentence, with what each step behind the training did to the accuracy."""
    steps = [row for row in rows if row.train_loss is None]
    if len(rows) == 1 or not steps:
        return recipe.about.description
    last = next(row for row in reversed(rows) if row.train_loss is not None)
    parts = [f"{row.phase} {row.test_accuracy:.1%}" for row in (last, *steps)]
    return f"{recipe.about.description} Test accuracy: {', '.join(parts)}."


@contextmanager
def _seeded(recipe: Recipe) -> Iterator[None]:
    """Seed torch's own generator and set its threads for a while; both come back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.training.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.training.seed)
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _log(path: Path) -> Iterator[Callable[[Row], None]]:
    """A CSV file of rows that takes its name when all went well and else goes."""
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            names = [field.name for field in fields(Row)]
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()

            def write(row: Row) -> None:
                values = asdict(row).items()
                writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in values})
                file.flush()

            yield write
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

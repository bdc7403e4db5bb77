"""Training a checkpoint from its recipe: data, weights to start from, phases, conversion, card."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from robench.allocation import give_back_memory, keep_freed_memory
from robench.architectures import VGG, build
from robench.atomic import remove_leftovers
from robench.datasets import find_dataset
from robench.errors import ContentError, UsageError, nearest
from robench.training.calibrate import calibrate
from robench.training.checkpoint import (
    Progress,
    checkpoint_file,
    facts,
    read_progress,
    restore,
    save,
)
from robench.training.log import LOG, Row, tensorboard, write_log
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
from robench.zoo.contents import model_folders, zoo_of

Start = Literal["new", "resume", "restart"]


def train(
    recipe: Recipe,
    folder: Path,
    progress: Callable[[Row], None] = lambda row: None,
    *,
    start: Start = "new",
    advance: Callable[[float], None] = lambda epochs: None,
    events: Path | None = None,
) -> ModelCard:
    """Train a checkpoint; its weights, card and log are written when all is done.

    Until then the state after each epoch and the log so far lie in ``.training`` in the model's
    folder. A training that goes on from there ends with the weights of an undisturbed one.

    Args:
        recipe: what to train and how.
        folder: the model's folder, ``…/<dataset>/<name>``, or one of its ``seeds``.
        progress: is given each row of the log as soon as it is known.
        start: ``resume`` goes on from the state of an unfinished training where there is one,
            and leaves a finished one as it is; ``restart`` drops that state; ``new`` begins where
            there is none.
        advance: is given after each step the epochs that are done, a fraction among them.
        events: a folder for TensorBoard.

    Returns:
        The card that was written.

    Raises:
        UsageError: the data set is not known or gives what the model does not take, or ``new``
            would drop an unfinished training.
        ContentError: the weights to start from are missing or do not fit; the state belongs to
            another recipe or to other images.
        MissingDataError: the data set's images are not at hand.
    """
    saved = checkpoint_file(folder)
    if start == "new" and saved.is_file():
        raise UsageError(
            f"{folder}: an unfinished training is there, {read_progress(saved).epochs} epochs "
            "done; go on with --resume or begin anew with --restart"
        )
    if start == "resume" and not saved.is_file() and (folder / WEIGHTS).is_file():
        return ModelCard.read(folder / CARD)
    if start == "restart":
        shutil.rmtree(saved.parent, ignore_errors=True)
    dataset = find_dataset(recipe.model.dataset)
    if reason := dataset.mismatch(recipe.model.input_kind, recipe.model.timesteps):
        raise UsageError(f"the recipe's model {reason}")
    images = dataset.load("train")
    slice_ = dataset.load("test").first(dataset.protocol.slice)
    done = Progress(facts(recipe), images.sha256, 0.0, ())
    if saved.is_file():
        done = _checked(read_progress(saved), done, saved)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, below=True)
    with _seeded(recipe), tensorboard(events, done.epochs) as show:
        run = _Run(recipe, Samples.of(images), Samples.of(slice_), folder, done, advance)
        run.listeners += [progress, show]
        net = run.network()
        encoding = f" ({images.encoding})" if images.encoding else ""
        about = AboutTable(
            description=_describe(recipe, run.rows),
            clean_accuracy=run.rows[-1].test_accuracy,
            clean_samples=len(slice_),
            data=f"{len(images)} training images{encoding}, SHA-256 {images.sha256}",
            init=run.done.init,
            seed=recipe.training.seed,
            epochs=recipe.training.epochs,
            hours=round(run.seconds() / 3600, 4),
            hardware=f"{platform.machine()} CPU, {recipe.training.threads} thread(s)",
            control=recipe.about.control,
        )
        card = save_checkpoint(folder, net, recipe.model, about)
        write_log(folder / LOG, run.rows)
    shutil.rmtree(saved.parent, ignore_errors=True)
    return card


def _checked(found: Progress, expected: Progress, path: Path) -> Progress:
    if found.images != expected.images:
        raise ContentError(f"{path}: was trained on other images; begin anew with --restart")
    for table in ("model", "training"):
        for key, value in expected.recipe[table].items():
            if found.recipe[table].get(key) != value:
                raise ContentError(
                    f"{path}: belongs to a recipe with another {table}.{key}; "
                    "begin anew with --restart"
                )
    return found


@dataclass
class _Run:
    """One training: what all its steps share."""

    recipe: Recipe
    train: Samples
    test: Samples
    folder: Path
    done: Progress
    advance: Callable[[float], None]
    listeners: list[Callable[[Row], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.recipe.training.seed)
        self.rows = list(self.done.rows)
        self.epoch = self.done.epochs
        self.began = time.perf_counter()

    def seconds(self) -> float:
        """Of training so far, over all attempts."""
        return self.done.seconds + time.perf_counter() - self.began

    def network(self) -> VGG:
        """The trained network, as it is deployed."""
        config, table = self.recipe.model, self.recipe.training
        hybrid = config.mode == "hybrid"
        net = build(config, twin=hybrid)
        if table.init and not self.epoch:
            digest = load_initial(net, table.init, self.folder)
            self.done = replace(self.done, init=f"{table.init}, weights SHA-256 {digest}")
        if config.architecture != "flex-vgg16":
            # VGG16 of width 1/4, batch 128, one AVX2 core: 0.23 s a step instead of 0.29, with
            # spikes at T = 4 1.06 instead of 1.33; FLEX loses by it
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        saved = checkpoint_file(self.folder)
        optimizer = make_optimizer(net, table)
        if self.epoch:
            restore(saved, net, optimizer, self.generator)
            self.advance(self.epoch)
        schedule = [timesteps for epochs, timesteps in self.recipe.phases() for _ in range(epochs)]
        for timesteps in schedule[self.epoch :]:
            began = time.perf_counter()
            net.timesteps = timesteps
            score = train_epoch(
                net, self.train, optimizer, table, self.epoch, self.generator, self.advance
            )
            self.epoch += 1
            rate = float(optimizer.param_groups[0]["lr"])
            self.examine(net, self._phase(timesteps), score, rate, began)
            done = replace(self.done, seconds=self.seconds(), rows=tuple(self.rows))
            save(saved, net, optimizer, self.generator, done)
            write_log(saved.with_name(LOG), self.rows)
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
        self.rows.append(row)
        for listener in self.listeners:
            listener(row)

    def _phase(self, timesteps: int) -> str:
        mode = self.recipe.model.mode
        name = {"ann": "ann", "hybrid": "twin"}.get(mode, f"T={timesteps}")
        epsilon = self.recipe.training.epsilon(self.epoch - 1)  # of the epoch that is done
        return f"{name} ε={epsilon.text}" if epsilon.value else name


def converted(twin: VGG) -> VGG:
    """The spiking network of a trained twin: its weights, its thresholds, IF neurons."""
    net = build(twin.config)
    net.load_state_dict(twin.state_dict(), strict=True)
    return net


def load_initial(net: VGG, model_id: str, folder: Path) -> str:
    """Load another model's weights; the thresholds of neurons that it does not have stay.

    Args:
        net: the network to fill.
        model_id: the other model, looked for beside ``folder`` first.
        folder: of the model that is trained, ``…/<dataset>/<name>``, or one of its ``seeds``.

    Returns:
        The SHA-256 of the weights.

    Raises:
        ContentError: there is no such model, or its weights are damaged or do not fit.
    """
    known = model_folders(zoo_of(folder))
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
    return card.weights.sha256


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
    keep_freed_memory()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.training.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        give_back_memory()

"""One training, from the initial weights to the deployed network, and its log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from robench.architectures import VGG
from robench.errors import TrainingError
from robench.training.calibrate import calibrate
from robench.training.checkpoint import Progress, checkpoint_file, restore, save
from robench.training.log import LOG, Row, write_log
from robench.training.loop import (
    Samples,
    Score,
    evaluate,
    make_optimizer,
    reestimate_norms,
    train_epoch,
)
from robench.training.recipe import Recipe
from robench.training.start import load_initial


@dataclass
class Run:
    """One training.

    Attributes:
        recipe: the recipe.
        train: the training images.
        test: the protocol's test images.
        folder: the model's folder.
        done: the progress of an interrupted training.
        advance: called after each step with the completed epochs, a fractional number.
        device: the device of the networks, as torch writes it.
        listeners: called with each row of the log.
        rows: the log so far.
    """

    recipe: Recipe
    train: Samples
    test: Samples
    folder: Path
    done: Progress
    advance: Callable[[float], None]
    device: str = "cpu"
    listeners: list[Callable[[Row], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.recipe.training.seed)
        self.rows = list(self.done.rows)
        self.epoch = self.done.epochs
        self.began = time.perf_counter()

    def seconds(self) -> float:
        """The training time so far, over all attempts."""
        return self.done.seconds + time.perf_counter() - self.began

    def first_network(self) -> VGG:
        """The network with the initial weights.

        Raises:
            ContentError: the weights of another model are missing or do not fit.
        """
        config, table = self.recipe.model, self.recipe.training
        net = VGG(config, counterpart=config.mode == "hybrid")
        if table.init and not self.epoch:
            digest = load_initial(net, table.init, self.folder)
            self.done = replace(self.done, init=f"{table.init}, weights SHA-256 {digest}")
        net = net.to(self.device)
        if config.architecture != "flex-vgg16":
            # VGG16 of width 1/4, batch 128, one AVX2 core: 0.23 s a step instead of 0.29, with
            # spikes at T = 4 1.06 instead of 1.33; FLEX gets slower
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net

    def trained(self, net: VGG) -> VGG:
        """The deployed network, trained from that of :meth:`first_network`.

        Raises:
            TrainingError: the loss is NaN or infinite.
            ContentError: the saved state is damaged.
        """
        table = self.recipe.training
        if table.epochs:
            self.fit(net)
        else:
            self.examine(net, "init")
        if self.recipe.model.mode == "hybrid":
            counterpart, net = net, converted(net).to(self.device)
            self.examine(net, "converted")
            if table.calibration_steps:
                steps, rate = table.calibration_steps, table.calibration_rate
                calibrate(net, counterpart, self.train, steps, rate, self.generator)
                self.examine(net, "calibrated")
        if table.reestimate_norm:
            size = table.batch_size
            reestimate_norms(net, self.train, table.reestimate_norm, size, self.generator)
            self.examine(net, "norms re-estimated")
        return net

    def fit(self, net: VGG) -> None:
        """Train all phases; afterwards the network has the T that it was built with."""
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
        for loss in [done.loss for done in (trained, score) if done is not None]:
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{self.folder}: the loss is {loss} in epoch {self.epoch} ({phase}); lower the "
                    "learning rate in the recipe and start again with --restart"
                )
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
        name = {"ann": "ann", "hybrid": "counterpart"}.get(mode, f"T={timesteps}")
        epsilon = self.recipe.training.epsilon(self.epoch - 1)  # of the completed epoch
        return f"{name} ε={epsilon.text}" if epsilon.value else name


def converted(counterpart: VGG) -> VGG:
    """The spiking network with the weights and thresholds of its ANN counterpart."""
    net = VGG(counterpart.config)
    net.load_state_dict(counterpart.state_dict(), strict=True)
    return net

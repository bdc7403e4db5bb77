"""Training of a checkpoint from its recipe: data, initial weights, phases, conversion, card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from robench.architectures import VGG
from robench.atomic import remove_leftovers
from robench.datasets import find_dataset
from robench.errors import TrainingError, UsageError
from robench.registry import AboutTable, ModelCard, save_checkpoint
from robench.runtime.allocator import give_back_memory, keep_freed_memory
from robench.runtime.batch_size import is_out_of_memory
from robench.runtime.device import find_device, hardware, repeatable
from robench.training.checkpoint import Progress, checkpoint_file, facts
from robench.training.log import LOG, Row, tensorboard, write_log
from robench.training.loop import Samples
from robench.training.recipe import Recipe
from robench.training.run import Run
from robench.training.start import Start, finished, refuse_to_replace, saved_progress


def train(
    recipe: Recipe,
    folder: Path,
    progress: Callable[[Row], None] = lambda row: None,
    *,
    start: Start = "new",
    advance: Callable[[float], None] = lambda epochs: None,
    events: Path | None = None,
    device: str = "cpu",
) -> ModelCard:
    """Train a checkpoint; its weights, card and log are written at the end.

    Until then the state after each epoch and the log are in ``.training`` in the model's folder. A
    resumed training ends with the same weights as an uninterrupted one.

    Args:
        recipe: the recipe.
        folder: the model's folder, ``…/<dataset>/<name>``, or one of its ``seeds``.
        progress: called with each row of the log.
        start: ``resume`` continues an unfinished training, if there is one, and keeps a finished
            one; ``restart`` discards the state of an unfinished training, and replaces the weights
            at the end; ``new`` refuses both.
        advance: called after each step with the completed epochs, a fractional number.
        events: a folder for TensorBoard.
        device: ``cpu``, ``cuda``, ``cuda:i``, or ``auto`` for CUDA if it is available.

    Returns:
        The card that was written.

    Raises:
        UsageError: the data set is unknown or does not fit the model, ``new`` would replace a
            training, or the device is not available.
        ContentError: the initial weights are missing or do not fit, or the folder has a training
            of another recipe or other images.
        TrainingError: the loss is NaN or infinite, or memory ran out; completed epochs are kept.
        MissingDataError: the data set's images are missing.
    """
    device, saved = find_device(device), checkpoint_file(folder)
    if start == "resume" and (card := finished(recipe, folder)) is not None:
        return card
    if start == "new":
        refuse_to_replace(folder)
    if reason := recipe.misfit():
        raise UsageError(f"the recipe's {reason}")
    dataset = find_dataset(recipe.model.dataset)
    images = dataset.read("train")
    slice_ = dataset.read("test").first(dataset.protocol.slice)
    done = Progress(facts(recipe), images.sha256, 0.0, ())
    if start == "resume":
        done = saved_progress(done, folder)
    with _seeded(recipe, device), repeatable(), tensorboard(events, done.epochs) as show:
        run = Run(recipe, Samples.of(images), Samples.of(slice_), folder, done, advance, device)
        run.listeners += [progress, show]
        net = run.first_network()
        if start == "restart":  # only now, when the new training can start
            shutil.rmtree(saved.parent, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, below=True)
        net = _trained(run, net)
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
            hardware=hardware(device),
            control=recipe.about.control,
        )
        card = save_checkpoint(folder, net, recipe.model, about)
        write_log(folder / LOG, run.rows)
    shutil.rmtree(saved.parent, ignore_errors=True)
    return card


def _trained(run: Run, net: VGG) -> VGG:
    """:meth:`Run.trained`, with a short message if memory runs out."""
    try:
        return run.trained(net)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        elsewhere = "" if run.device == "cpu" else ", or train with --device cpu"
        raise TrainingError(
            f"{run.folder}: memory ran out on {run.device}; lower batch_size in the recipe and "
            f"start again with --restart{elsewhere}"
        ) from error


def _describe(recipe: Recipe, rows: list[Row]) -> str:
    """The description of the recipe, with the accuracy after each step of the conversion."""
    steps = [row for row in rows if row.train_loss is None]
    if len(rows) == 1 or not steps:
        return recipe.about.description
    trained = [row for row in rows if row.train_loss is not None]
    parts = [f"{row.phase} {row.test_accuracy:.1%}" for row in (*trained[-1:], *steps)]
    return f"{recipe.about.description} Test accuracy: {', '.join(parts)}."


@contextmanager
def _seeded(recipe: Recipe, device: str) -> Iterator[None]:
    """Inside, torch's generators and threads are those of the recipe; both are restored."""
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.training.threads)
    keep_freed_memory()
    try:
        with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
            torch.manual_seed(recipe.training.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        give_back_memory()

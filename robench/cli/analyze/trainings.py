"""``robench analyze curves``."""

from __future__ import annotations

from robench.cli.options import (
    FIGURES,
    DatasetName,
    FigureFormat,
    Figures,
    Models,
    ModelsDir,
    look_in,
    split_patterns,
)


def curves(
    models: Models = "all",
    dataset: DatasetName = None,
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
) -> None:
    """Accuracy and loss against epoch of the trainings."""
    from robench.analysis import find_logs, write_training_figures

    dataset = look_in(dataset, None)
    logs = find_logs(split_patterns(models), dataset=dataset, models_dir=models_dir)
    for path in write_training_figures(logs, output, format):
        print(f"wrote {path}")

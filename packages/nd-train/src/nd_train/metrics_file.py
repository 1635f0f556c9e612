"""``metrics.csv`` of a run, which the parts before and after a kill write together."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

_STEP = "step"


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, which goes on with the file of a folder where an earlier part of the same run wrote.

    A run that is resumed in its folder, as a requeued SLURM job does, adds to the numbers that are there; Lightning's
    own logger deletes them.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of ``metrics.csv``."""
        if self._experiment is None:
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment

    @property
    def rows(self) -> int:
        """How many rows are in the file, once everything that was logged is."""
        self.save()
        return int(self.experiment.rows)

    @rank_zero_only
    def keep_first(self, rows: int) -> None:
        """Drop what comes behind so many rows, which a run that is resumed at that point logs anew."""
        self.save()
        self.experiment.keep(slice(0, rows))

    @rank_zero_only
    def forget_inherited(self) -> None:
        """Drop what an earlier process wrote, where a run begins anew in its folder."""
        self.save()
        self.experiment.keep(slice(self.experiment.inherited, None))


class _ContinuedWriter(ExperimentWriter):
    """Adds to a file that exists."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir=log_dir)
        self._learn_names()
        self.inherited = self.rows = len(_rows(Path(self.metrics_file_path)))

    def save(self) -> None:
        """Add what was logged to the file."""
        new = len(self.metrics)
        super().save()
        self.rows += new

    def keep(self, chosen: slice) -> None:
        """Drop all other rows, and one that a kill cut short."""
        path = Path(self.metrics_file_path)
        if path.is_file():
            rows = _rows(path)[chosen]
            self._replace(rows, self.metrics_keys)
            self.inherited, self.rows = 0, len(rows)

    def _check_log_dir_exists(self) -> None:
        """Leave what is there."""

    def _learn_names(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
            if _STEP not in self.metrics_keys:  # cut short in its first line
                path.unlink()
                self.metrics_keys = []

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(_rows(Path(self.metrics_file_path)), fieldnames)

    def _replace(self, rows: list[dict[str, Any]], names: list[str]) -> None:
        path = Path(self.metrics_file_path)
        unfinished = path.with_name(f".{path.name}.unfinished")
        with unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        unfinished.replace(path)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        # A kill may have cut the last line short.
        return list(csv.DictReader(line for line in file if line.endswith("\r\n")))

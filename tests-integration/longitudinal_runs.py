"""Forecast the next observation of real panels through ``nd-train fit``, beside last-value and person-mean baselines.

usage: python tests-integration/longitudinal_runs.py NAME --out FOLDER [--recordings FOLDER] [nd-train's options …]
NAME is diary or fertility.

Converts the data to a CSV, trains, validates the best checkpoint, and prints one JSON line: mean absolute error and
within-person correlation of every method, with 95 % intervals over persons, on steps that were held out.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from converters import diary_sampling, fertility
from nd_eval import cluster_bootstrap

METHODS = ("model", "last_value", "person_mean")


@dataclass(frozen=True)
class Panel:
    """The columns of a table and how to train on it; fold 0 is the test, fold 1 chooses the checkpoint."""

    sequence: str
    time: str
    outcomes: tuple[str, ...]
    arguments: tuple[str, ...]


# The checkpoint is chosen by the in-time steps of fold 1: no step that is scored below has a part in it.
CHOSEN_BY = ("--checkpoint.monitor=val_wt_ooss_mae", "--checkpoint.filename=best-{epoch:03d}")

PANELS = {
    "diary": Panel(
        sequence="person",
        time="answer",
        outcomes=tuple(diary_sampling.OUTCOMES.values()),
        arguments=("--model.args.early_stopping_patience=8",),
    ),
    "fertility": Panel(
        sequence="country",
        time="year",
        outcomes=("births",),
        # Next year's value is this year's and a little: learn the change.
        arguments=(
            "--data.features=[births]",
            "--model.args.do_shift=true",
            "--model.args.early_stopping_patience=20",
            "--trainer.max_epochs=150",
        ),
    ),
}


def train(name: str, table: Path, out: Path, more: list[str] | None = None) -> tuple[pd.DataFrame, float]:
    """Fit, then predict every sequence with the best checkpoint; returns the predictions and the seconds of the fit."""
    panel = PANELS[name]
    shared = [
        *("--config", "longitudinal", f"--data.table={table}"),
        *(f"--data.sequence={panel.sequence}", f"--data.time={panel.time}"),
        f"--data.outcomes={json.dumps(list(panel.outcomes))}",
        *("--data.fold=fold", "--data.val_folds=[1]", "--data.test_folds=[0]"),
        *("--data.val_fraction=0", "--data.test_fraction=0"),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={out / 'run'}"),
        *panel.arguments,
        *CHOSEN_BY,
        *(more or []),
    ]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nd_train", "fit", *shared], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - started
    (best,) = (out / "run").rglob("best-*.ckpt")
    predict = [*shared, f"--ckpt_path={best}", "--trainer.logger=false"]
    subprocess.run([sys.executable, "-m", "nd_train", "predict", *predict], check=True, stdout=sys.stderr)
    return pd.read_csv(out / "run" / "predict_predictions.csv"), seconds


def with_baselines(predictions: pd.DataFrame, table: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """Predictions of held-out, observed steps beside what the person's own past gives: its last value and its mean."""
    long = table.melt([panel.sequence, panel.time], list(panel.outcomes), "outcome", "value")
    long = long.sort_values([panel.sequence, "outcome", panel.time])
    past = long.groupby([panel.sequence, "outcome"])["value"]
    long["last_value"] = past.transform(lambda values: values.ffill().shift())
    long["person_mean"] = past.transform(lambda values: values.expanding().mean().shift())
    long = long.rename(columns={panel.sequence: "sequence", panel.time: "time"})
    both = predictions.rename(columns={"prediction": "model"}).merge(long, on=["sequence", "time", "outcome"])
    both = both[both.observed & (both.out_of_time | both.out_of_sequence)].dropna(subset=["last_value", "person_mean"])
    assert np.allclose(both.target, both.value, atol=1e-4)
    return both


def person_scores(both: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Mean absolute error and correlation over time of every person and method, averaged over the outcomes."""
    cells = both.groupby(["sequence", "outcome"])
    errors, correlations = {}, {}
    for method in METHODS:
        errors[method] = (both[method] - both.target).abs().groupby([both.sequence, both.outcome]).mean()
        correlations[method] = cells[[method, "target"]].apply(_correlation)
    return {
        "mae": pd.DataFrame(errors).groupby("sequence").mean(),
        # Where one method has no correlation (a constant), no method counts.
        "pearsonr": pd.DataFrame(correlations).dropna().groupby("sequence").mean(),
    }


def _correlation(pairs: pd.DataFrame) -> float:
    first, second = pairs.to_numpy(dtype=float).T
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def summary(both: pd.DataFrame) -> dict[str, Any]:
    """Every score with its interval, and the model's advantage over each baseline, person by person."""
    found: dict[str, Any] = {"points": len(both), "persons": both.sequence.nunique()}
    for metric, scores in person_scores(both).items():
        columns = {method: scores[method] for method in METHODS}
        columns |= {f"model_minus_{other}": scores["model"] - scores[other] for other in METHODS[1:]}
        for column, values in columns.items():
            interval = cluster_bootstrap(torch.tensor(values.to_numpy()))
            found.setdefault(metric, {})[column] = [
                *(round(number, 4) for number in (interval.value, interval.low, interval.high))
            ]
    for method in METHODS:
        residual = ((both[method] - both.target) ** 2).groupby(both.outcome).sum()
        spread = both.groupby("outcome").target.apply(lambda values: ((values - values.mean()) ** 2).sum())
        found.setdefault("pooled_r2", {})[method] = round(float((1 - residual / spread).mean()), 4)
    return found


def run(name: str, out: Path, recordings: Path | None = None, more: list[str] | None = None) -> dict[str, Any]:
    """Convert, train, score; returns what `main` prints."""
    path = out / f"{name}.csv"
    if name == "diary":
        if recordings is None:
            raise ValueError("the diary set needs --recordings FOLDER")
        diary_sampling.convert(recordings / "diary_sampling", path)
    else:
        fertility.convert(path)
    predictions, seconds = train(name, path, out, more)
    both = with_baselines(predictions, pd.read_csv(path), PANELS[name])
    # Fold 1 chose the checkpoint.
    folds = pd.read_csv(path).groupby(PANELS[name].sequence).fold.first()
    both = both[both.sequence.map(folds) != 1]
    return {
        "name": name,
        "known_persons_out_of_time": summary(both[~both.out_of_sequence]),
        "new_persons": summary(both[both.out_of_sequence]),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PANELS)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options, overrides = parser.parse_known_args()
    print(json.dumps(run(options.name, options.out, options.recordings, overrides)))


if __name__ == "__main__":
    main()

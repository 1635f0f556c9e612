"""The documented example of `MILightningModule` as written, but for imports, and training over two ranks."""

import json
import subprocess
import sys
from argparse import Namespace

import lightning
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from nd_models.longitudinal import Recurrent
from nd_train import LongitudinalDataModule, MILightningModule


@pytest.fixture
def pl(monkeypatch):
    """`pytorch_lightning` under the name of the guide, quiet and without files."""
    defaults = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}

    class Quiet:
        @staticmethod
        def Trainer(**keywords):  # noqa: N802  # the guide's own name
            return lightning.Trainer(**defaults, enable_checkpointing=False, log_every_n_steps=1, **keywords)

    return Quiet


@pytest.mark.parametrize("logger_name", ["false", "csv", "tensorboard"])
def test_the_example_of_the_guide_runs_as_written(logger_name, pl, tmp_path):
    rng = np.random.default_rng(0)
    lengths = [3, 1, 6, 5, 4, 2]
    data_module = LongitudinalDataModule(
        {
            "embeddings": [rng.normal(size=(length, 3)) for length in lengths],
            "outcomes": [rng.normal(size=(length, 1)) for length in lengths],
        },
        val_fraction=0.2,
        test_fraction=0.2,
    )
    args = Namespace(epochs=2, lr=0.01, optimizer="adamw", hidden_size=8)
    model = Recurrent(3, hidden_size=8)
    logger = {"false": False, "csv": CSVLogger(tmp_path), "tensorboard": TensorBoardLogger(tmp_path)}[logger_name]

    # Assume `args` is a namespace of hyperparameters and `model` is a model instance
    lightning_module = MILightningModule(args, model)

    trainer = pl.Trainer(max_epochs=args.epochs, logger=logger)
    trainer.fit(lightning_module, datamodule=data_module)

    trainer.validate(lightning_module, datamodule=data_module, verbose=False)
    trainer.test(lightning_module, datamodule=data_module, verbose=False)
    predictions = trainer.predict(lightning_module, datamodule=data_module)
    assert sum(len(batch["seq_id"]) for batch in predictions) == len(lengths)
    assert {"val", "test", "predict"} <= set(lightning_module.predictions)


RANKS = """
import json, sys, warnings
import numpy as np
import lightning as L
from nd_models.longitudinal import LastValue
from nd_train import LongitudinalDataModule, MILightningModule

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    lengths = [4, 7, 2, 5, 9]
    data = LongitudinalDataModule(
        {key: [rng.normal(size=(n, 1)) for n in lengths] for key in ("embeddings", "outcomes")},
        out_of_time_fraction=0.3, val_batch_size=2,
    )
    module = MILightningModule({}, LastValue(1))
    # Five sequences over two ranks: a sampler repeats one of them.
    trainer = L.Trainer(
        accelerator="cpu", devices=int(sys.argv[1]), strategy="ddp" if sys.argv[1] == "2" else "auto", logger=False,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
    )
    (scores,) = trainer.validate(module, datamodule=data, verbose=False)
    stored = module.predictions["val"]
    if trainer.is_global_zero:
        scores["steps"], scores["sum"] = len(stored), float(stored.predictions.sum())
        print("RESULT" + json.dumps(scores))
"""


@pytest.mark.slow
def test_two_ranks_score_and_keep_exactly_what_one_does(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    found = []
    for ranks in ("1", "2"):
        done = subprocess.run([sys.executable, str(script), ranks], capture_output=True, text=True, check=True)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        found.append(json.loads(line.removeprefix("RESULT")))
    assert found[0]["steps"] == 27
    assert found[1] == pytest.approx(found[0], rel=1e-6)

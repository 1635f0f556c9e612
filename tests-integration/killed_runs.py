"""A server that runs tiny trainings, each in a process of its own that may be killed: imports are paid for once.

Read from standard input: one JSON object a line, the arguments of `train`, or ``words`` of the command line. Written
for each: its process's number, and when it has ended its exit status, the signal's number below zero.
"""

import contextlib
import json
import os
import random
import signal
import sys
import traceback
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import LastCheckpoint, MultiTaskDecodingStitchEvaluator, RequeueBetweenSteps, StepSeeds
from nd_train.checkpoints.whole_checkpoints import newest_whole_checkpoint
from nd_train.cli import main
from nd_train.metrics_file import MetricsFile

NETWORK = {
    "architecture": "POYOPlus",
    "readout_specs": ["cursor_velocity_2d", "cursor_position_2d"],
    "sequence_length": 1.0,
    "latent_step": 0.5,
    "num_latents_per_step": 2,
    "dim": 16,
    "depth": 1,
    "dim_head": 8,
    "self_heads": 2,
    "ffn_dropout": 0.2,
    "lin_dropout": 0.2,
}
READOUTS = [{"readout_id": "cursor_velocity_2d"}, {"readout_id": "cursor_position_2d"}]


class DrawingDecoder(NeuralDecoder):
    """Draws from every global generator, so that none of them can be forgotten."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        noise = random.random() + np.random.rand() + float(torch.rand(()))  # noqa: NPY002  # the global ones are meant
        self.log("noise", noise)
        return loss * (1 + noise)

    def validation_step(self, batch, batch_idx):
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002  # as above
        return super().validation_step(batch, batch_idx)


class KillAt(L.Callback):
    """End the process as a power cut would, at a moment that is named by its kind and number; or send it a signal."""

    def __init__(self, kind, number, sent=signal.SIGKILL):
        self.kind, self.left, self.sent = kind, number, sent

    def reached(self, kind):
        if kind == self.kind:
            self.left -= 1
            if self.left == -1:
                os.kill(os.getpid(), self.sent)

    def on_train_batch_start(self, *_):
        self.reached("step begins")

    def on_before_optimizer_step(self, *_):
        self.reached("before the optimizer")

    def on_before_zero_grad(self, *_):
        self.reached("gradients are cleared")

    def on_train_batch_end(self, *_):
        self.reached("step ends")

    def on_validation_batch_end(self, *_):
        self.reached("validating")

    def on_validation_end(self, *_):
        self.reached("validated")

    def on_train_epoch_end(self, *_):
        self.reached("epoch ends")

    def watch_writing(self):
        """Count bytes and renames of checkpoints too."""
        save, replace = torch.save, Path.replace

        def killed_save(content, stream, **keywords):
            save(content, stream, **keywords)
            if self.kind == "half written" and self.left == 0:
                stream.truncate(stream.tell() // 2)
            self.reached("half written")
            self.reached("written")

        def killed_replace(path, target):
            result = replace(path, target)
            if str(target).endswith(".ckpt"):
                self.reached("renamed")
            return result

        torch.save, Path.replace = killed_save, killed_replace


def run(environment=(), words=None, output=None, **arguments):
    """Run one training, or a command."""
    os.environ.update(environment)
    if words is None:
        train(**arguments)
        return 0
    with Path(output).open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        return main(words)


def train(folder, recordings, *, workers=0, resume=False, kill=None, seed=0, **options):
    """Train for a moment; with `resume`, from the newest whole checkpoint of the folder."""
    L.seed_everything(seed, verbose=False)
    settings = {"max_epochs": 3, "val_check_interval": 4, "accumulate_grad_batches": 1, **options}
    decoder = {
        key: settings.pop(key) for key in ("optimizer", "schedule", "warmup", "schedule_steps") if key in settings
    }
    every = settings.pop("every_n_steps", 3)
    by_steps = settings.pop("checkpoint_steps", None)
    module = DrawingDecoder(NETWORK, lr=5e-3, **{"schedule": "one_cycle", **decoder})
    data = NeuralDataModule(
        recordings,
        {"config": {"multitask_readout": READOUTS}},
        batch_size=8,
        num_workers=workers,
        unit_dropout={"min_units": 5, "mode_units": 10},
    )
    folder = Path(folder)
    killer = KillAt(*(kill or ("never", 0)))
    killer.watch_writing()
    checkpoint = ModelCheckpoint(
        folder / "checkpoints",
        **(
            {"monitor": "average_val_metric", "mode": "max", "filename": "best-{step}"}
            if by_steps is None
            else {"every_n_train_steps": by_steps, "filename": "{step}", "save_top_k": -1}
        ),
    )
    callbacks = [MultiTaskDecodingStitchEvaluator(), killer, StepSeeds(), RequeueBetweenSteps()]
    callbacks += [checkpoint, LastCheckpoint(2, every)]
    trainer = L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=MetricsFile(folder, name="", version="", flush_logs_every_n_steps=2),
        callbacks=callbacks,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        **settings,
    )
    found = newest_whole_checkpoint(folder / "checkpoints")[0] if resume else None
    trainer.fit(module, datamodule=data, ckpt_path=None if found is None else str(found.path), weights_only=True)


def serve():
    """Run what is asked for until the input ends."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            try:
                os._exit(run(**json.loads(line)))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        # Workers of a loader whose process was killed may wait for it for ever.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()

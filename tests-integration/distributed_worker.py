"""Small runs on several gloo processes: imports everything once, then forks the ranks of each run that it is asked for.

Reads a JSON object a line: ``{"run": name, "ranks": n, "folder": path, "arguments": {…}}``. Each rank leaves what it
ended with in ``<folder>/rank<r>.pt``, or why it failed in ``<folder>/rank<r>.txt``. Answers with one line when all
ranks are done.
"""

import json
import multiprocessing
import os
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from nd_data import ArrayDict, Data, Dataset, Interval, IrregularTimeSeries, collate
from nd_data.samplers import SequentialFixedWindowSampler
from nd_models import POYO, model_from_config
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import DecodingStitchEvaluator, GradualUnfreezing, MultiTaskDecodingStitchEvaluator
from nd_train.cli import main as main_of_nd_train
from nd_train.sharding import FullyShardedStrategy

SECONDS = 40.0
TIMEOUT = 150.0

VELOCITY = {"readout_id": "cursor_velocity_2d", "weights": {"phases.reach": 5.0}}
POSITION = {"readout_id": "cursor_position_2d"}
CONFIGURATION = [
    # Only the first recording has both tasks.
    {"selection": [{"brainset": "a", "session": "both"}], "config": {"multitask_readout": [VELOCITY, POSITION]}},
    {"selection": [{"brainset": "a", "sessions": ["one", "few"]}], "config": {"multitask_readout": [VELOCITY]}},
]
SINGLE = {"config": {"readout": VELOCITY}}

MODEL = {
    "sequence_length": 1.0,
    "latent_step": 0.5,
    "num_latents_per_step": 2,
    "dim": 16,
    "depth": 1,
    "dim_head": 8,
    "self_heads": 2,
    "ffn_dropout": 0.0,
    "lin_dropout": 0.0,
    "emb_init_scale": 0.5,
}


def write_recordings(root: Path) -> None:
    """Three recordings: ``both`` tasks, ``one`` task, and one with ``few`` targets, so that windows are without any."""
    for number, name in enumerate(["both", "one", "few"]):
        rng = np.random.default_rng(number)
        domain = Interval(0.0, SECONDS)
        times = np.arange(0.0, SECONDS, 0.05) + 0.01
        if name == "few":
            times = times[times % 4.0 < 0.8]
        values = np.stack([np.sin(times + number), np.cos(1.3 * times)], axis=1)
        spikes = np.sort(rng.uniform(0.0, SECONDS, 2400))
        recording = Data(
            brainset=Data(id="a", domain=domain),
            subject=Data(id=name, domain=domain),
            session=Data(id=name, domain=domain),
            units=ArrayDict(id=np.array([f"unit_{unit}" for unit in range(6)])),
            spikes=IrregularTimeSeries(timestamps=spikes, unit_index=rng.integers(0, 6, len(spikes)), domain=domain),
            cursor=IrregularTimeSeries(timestamps=times, vel=values, pos=values[:, ::-1] * 2.0, domain=domain),
            phases=Data(
                reach=Interval(np.arange(0.0, SECONDS, 2.0), np.arange(0.0, SECONDS, 2.0) + 0.7), domain=domain
            ),
            domain=domain,
        )
        recording.set_train_domain(Interval(0.0, 24.0))
        recording.set_valid_domain(Interval(24.0, 32.0))
        recording.set_test_domain(Interval(32.0, 40.0))
        (root / "a").mkdir(parents=True, exist_ok=True)
        recording.save(root / "a" / f"{name}.h5")


class Notes(L.Callback):
    """Writes down every step: its loss on all ranks, and the windows of this one."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.windows: list[list[tuple[str, float]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        values = trainer.callback_metrics
        self.losses.append({name: float(values[name]) for name in values if name.startswith("train_loss")})
        starts = batch["absolute_start"].tolist()
        self.windows.append(list(zip(batch["session_id"], starts, strict=True)))


def make_model(single: bool = False) -> Any:
    torch.manual_seed(0)
    readouts: dict[str, Any] = {"readout_specs": ["cursor_velocity_2d", "cursor_position_2d"]}
    if single:
        readouts = {"readout_spec": "cursor_velocity_2d"}
    return model_from_config({"architecture": "POYO" if single else "POYOPlus", **MODEL, **readouts})


def make_trainer(folder: Path, ranks: int, *callbacks: L.Callback, strategy: str = "ddp", **settings: Any) -> L.Trainer:
    chosen: Any = FullyShardedStrategy() if strategy == "sharded" else strategy
    return L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=chosen if ranks > 1 else "auto",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        num_sanity_val_steps=0,
        **{"enable_checkpointing": any(isinstance(one, ModelCheckpoint) for one in callbacks), **settings},
    )


def evaluator_of(single: bool) -> DecodingStitchEvaluator | MultiTaskDecodingStitchEvaluator:
    return DecodingStitchEvaluator() if single else MultiTaskDecodingStitchEvaluator()


def described(evaluator: Any, stage: str, trainer: L.Trainer) -> dict[str, Any]:
    result = evaluator.results[stage]
    traces = {
        f"{recording}/{task}": dict(vars(trace))
        for recording, one in result.traces.items()
        for task, trace in one.items()
    }
    logged = {
        name: float(value) for name, value in trainer.callback_metrics.items() if name.endswith(("metric", stage))
    }
    return {"scores": result.scores, "score": result.score, "traces": traces, "logged": logged}


def fit(
    root: str,
    folder: Path,
    ranks: int,
    *,
    batch_size: int,
    steps: int,
    single: bool = False,
    strategy: str = "ddp",
    resume: str | None = None,
    settings: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    optimizer: str = "sparse_lamb",
    entries: int = 2,
    released: int | None = None,
) -> dict[str, Any]:
    """Train, then evaluate on the validation split; the state is saved under ``last.ckpt``.

    With `released` the backbone is frozen until that step.
    """
    data_module = NeuralDataModule(
        root, SINGLE if single else CONFIGURATION[:entries], batch_size=batch_size, eval_batch_size=4, **(data or {})
    )
    module = NeuralDecoder(make_model(single), 0.05, optimizer=optimizer, weight_decay=0.1)
    notes, evaluator = Notes(), evaluator_of(single)
    unfreezing = [] if released is None else [GradualUnfreezing(every=0, first=released, unit="step")]
    checkpoint = ModelCheckpoint(folder, filename="none", save_top_k=0, save_last=True, every_n_train_steps=1)
    trainer = make_trainer(
        folder,
        ranks,
        notes,
        evaluator,
        checkpoint,
        *unfreezing,
        strategy=strategy,
        max_steps=steps,
        max_epochs=-1,
        **(settings or {}),
    )
    trainer.fit(module, datamodule=data_module, ckpt_path=resume, weights_only=True)
    trainer.validate(module, datamodule=data_module, verbose=False)
    state = {}
    for name, value in module.state_dict().items():
        state[name] = value.full_tensor() if hasattr(value, "full_tensor") else value
    return {
        "losses": notes.losses,
        "windows": notes.windows,
        "state": {name: value for name, value in state.items() if isinstance(value, torch.Tensor)},
        "validation": described(evaluator, "val", trainer),
    }


def evaluate(
    root: str, folder: Path, ranks: int, *, batch_size: int = 4, single: bool = False, strategy: str = "ddp"
) -> dict[str, Any]:
    """Evaluate the first weights on the test split, with a data module."""
    data_module = NeuralDataModule(root, SINGLE if single else CONFIGURATION, eval_batch_size=batch_size, eval_step=0.3)
    model = make_model(single)
    data_module.link_model(model)
    model.unit_emb.initialize_vocab(data_module.get_unit_ids())
    model.session_emb.initialize_vocab(data_module.get_session_ids())
    evaluator = evaluator_of(single)
    trainer = make_trainer(folder, ranks, evaluator, strategy=strategy)
    trainer.test(NeuralDecoder(model), datamodule=data_module, verbose=False)
    return {**described(evaluator, "test", trainer), "batches": trainer.num_test_batches}


def predict(root: str, folder: Path, ranks: int, *, single: bool = False) -> dict[str, Any]:
    """Predict the test split with the first weights: stitched traces."""
    data_module = NeuralDataModule(root, SINGLE if single else CONFIGURATION, eval_batch_size=4, eval_step=0.3)
    model = make_model(single)
    data_module.link_model(model)
    model.unit_emb.initialize_vocab(data_module.get_unit_ids())
    model.session_emb.initialize_vocab(data_module.get_session_ids())
    traces = NeuralDecoder(model).predict_traces(make_trainer(folder, ranks), datamodule=data_module)
    return {
        f"{recording}/{task}": dict(vars(trace)) for recording, one in traces.items() for task, trace in one.items()
    }


def evaluate_plain_loader(root: str, folder: Path, ranks: int) -> dict[str, Any]:
    """The same with a plain loader of windows in order, around which Lightning puts a sampler of its own."""
    model = make_model(single=True)
    assert isinstance(model, POYO)
    dataset = Dataset(root, config=SINGLE, split="test", transform=model.tokenize)
    model.unit_emb.initialize_vocab(dataset.get_unit_ids())
    model.session_emb.initialize_vocab(dataset.get_session_ids())
    sampler = SequentialFixedWindowSampler(dataset.get_sampling_intervals(), 1.0, step=0.3)
    loader: DataLoader[Any] = DataLoader(dataset, sampler=sampler, batch_size=1, collate_fn=collate)
    evaluator = DecodingStitchEvaluator(session_ids=dataset.get_session_ids(), modality_spec=model.readout_spec)
    trainer = make_trainer(folder, ranks, evaluator)
    trainer.test(NeuralDecoder(model), loader, verbose=False)
    return {**described(evaluator, "test", trainer), "batches": trainer.num_test_batches}


def command_line(root: str, folder: Path, ranks: int, *, batch_size: int, strategy: str = "auto") -> dict[str, Any]:
    """``nd-train fit`` to its end: training, the test of the best state, and all that a run leaves."""
    (folder / "data.json").write_text(json.dumps(CONFIGURATION))
    words = f"""fit --config poyo_plus_small --data.root {root} --data.config {folder / "data.json"}
        --data.batch_size {batch_size} --data.eval_batch_size 4 --data.unit_dropout null --data.normalize train
        --model.network.dim 16 --model.network.depth 1 --model.network.ffn_dropout 0 --model.network.lin_dropout 0
        --trainer.accelerator cpu --trainer.devices {ranks} --trainer.strategy {strategy}
        --trainer.default_root_dir {folder} --trainer.max_steps 4 --trainer.val_check_interval 2
        --trainer.log_every_n_steps 1 --trainer.enable_progress_bar false --trainer.enable_model_summary false"""
    warnings.simplefilter("default")  # Lightning's and jsonargparse's own are none of this
    assert main_of_nd_train(["--debug", *words.split()]) == 0
    return {"files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())}


RUNS = {
    "command_line": command_line,
    "fit": fit,
    "evaluate": evaluate,
    "evaluate_plain_loader": evaluate_plain_loader,
    "predict": predict,
}


def be_rank(rank: int, order: dict[str, Any], port: int) -> None:
    folder = Path(order["folder"])
    ranks = order["ranks"]
    if ranks > 1:
        # What torchrun tells its processes.
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "TORCHELASTIC_RUN_ID": "test",
        }
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    harmless = (
        "does not have many workers",  # recordings are small
        "Using `DistributedSampler` with the dataloaders",  # repeated windows count once
        "`isinstance\\(treespec, LeafSpec\\)`",  # Lightning's own call
        "The dirpath has changed",  # every run has a folder of its own
    )
    for message in harmless:
        warnings.filterwarnings("ignore", message=f".*{message}")
    try:
        result = RUNS[order["run"]](folder=folder, ranks=ranks, **order["arguments"])
        torch.save(result, folder / f"rank{rank}.pt")
    except BaseException:
        (folder / f"rank{rank}.txt").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)  # without waiting for other ranks


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> None:
    context = multiprocessing.get_context("fork")
    write_recordings(Path(sys.argv[1]))
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        port = free_port()
        processes = [context.Process(target=be_rank, args=(rank, order, port)) for rank in range(order["ranks"])]
        for process in processes:
            process.start()
        failed = False
        for process in processes:
            # One that failed leaves the others waiting for it.
            process.join(5.0 if failed else TIMEOUT)
            failed = failed or process.exitcode != 0
        for process in processes:
            process.kill()
        print("failed" if failed else "done", file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Train torch_brain 0.1.2's POYO+ as a run of ours was trained: same recordings, splits, sizes, steps and schedule.

usage: python tests-integration/peer_runs.py --like RUN/config.yaml --out FOLDER
RUN is the folder of a run of ``nd-train fit``; torch_brain 0.1.2 has to be installed beside (nox -s compat).

Everything but the stitching is torch_brain's: dataset, samplers, transforms, tokenizer, collate, model, losses and,
where the run asks for it, SparseLamb. It learns from as many windows, validates as often, and keeps the best validated
state as the run does. It writes the stitched predictions of the test split to ``test_traces.h5`` and prints one JSON
line.
"""

import argparse
import copy
import dataclasses
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader

from nd_data.split_domain import split_names
from nd_eval import DataForMultiTaskDecodingStitchEvaluator, EvaluationResult, MultiTaskDecodingStitchEvaluation
from nd_train.traces import write_traces


def train_like(settings: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train and test; returns what `main` prints.

    Args:
        settings: The ``config.yaml`` of a run.
        out: Where the traces go.
    """
    with warnings.catch_warnings():
        # Its deprecations are its own.
        warnings.simplefilter("ignore")
        return _train_like(settings, out)


def _train_like(settings: dict[str, Any], out: Path) -> dict[str, Any]:
    from torch_brain.data import collate
    from torch_brain.data.sampler import RandomFixedWindowSampler
    from torch_brain.models import POYOPlus
    from torch_brain.transforms import Compose, UnitDropout

    network = {name: value for name, value in settings["model"]["network"].items() if name != "architecture"}
    data, trainer, seed = settings["data"], settings["trainer"], settings["seed_everything"]
    torch.manual_seed(seed)
    specs = readout_specs(network.pop("readout_specs"))
    model = POYOPlus(**network, readout_specs=specs)
    dropout = data.get("unit_dropout")
    before = [] if dropout is None else [UnitDropout(**{"seed": seed, **dropout})]
    train_set = dataset(data, "train", Compose([*before, model.tokenize]))
    model.unit_emb.initialize_vocab(train_set.get_unit_ids())
    model.session_emb.initialize_vocab(train_set.get_session_ids())
    loader = DataLoader(
        train_set,
        sampler=RandomFixedWindowSampler(
            sampling_intervals=train_set.get_sampling_intervals(),
            window_length=model.sequence_length,
            generator=torch.Generator().manual_seed(seed),
        ),
        batch_size=data["batch_size"],
        collate_fn=collate,
        num_workers=data.get("num_workers") or 0,
    )
    steps = trainer["max_steps"]
    optimizer, scheduler = optimizer_of(model, settings["model"], steps)
    validates = "valid" in splits_of(data)
    started, cpu = time.perf_counter(), time.process_time()
    best, best_score, step = None, -math.inf, 0
    while step < steps:
        for batch in loader:
            model.train()
            loss = loss_of(model, batch, specs)
            optimizer.zero_grad()
            loss.backward()
            if trainer.get("gradient_clip_val"):
                torch.nn.utils.clip_grad_norm_(model.parameters(), trainer["gradient_clip_val"])
            optimizer.step()
            scheduler.step()
            step += 1
            if validates and step % trainer["val_check_interval"] == 0:
                score = evaluate(model, data, "valid", specs).score
                if score > best_score:
                    best, best_score = copy.deepcopy(model.state_dict()), score
            if step == steps:
                break
    if best is not None:
        model.load_state_dict(best)
    result = evaluate(model, data, "test", specs)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    out.mkdir(parents=True, exist_ok=True)
    write_traces(out / "test_traces.h5", result.traces)
    return {"scores": result.scores, "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}


def readout_specs(wanted: Any) -> dict[str, Any]:
    """Its specifications of the readouts: registered names, or descriptions as ours."""
    import torch_brain
    from torch_brain.nn import loss as losses
    from torch_brain.registry import DataType, register_modality

    specs = {}
    for number, name in enumerate(wanted, start=1):
        if name not in torch_brain.MODALITY_REGISTRY:
            described = wanted[name]
            register_modality(
                name,
                dim=described["dim"],
                type=DataType[described["type"]],
                timestamp_key=described["timestamp_key"],
                value_key=described["value_key"],
                loss_fn=getattr(losses, _loss_name(described))(),
            )
        # It has one row of task embeddings for each readout, so that ids must count from 1.
        specs[name] = dataclasses.replace(torch_brain.MODALITY_REGISTRY[name], id=number)
    return specs


def _loss_name(described: dict[str, Any]) -> str:
    loss = described["loss_fn"]
    return loss["name"] if isinstance(loss, dict) else loss


def dataset(data: dict[str, Any], split: str, transform: Any = None) -> Any:
    """Its dataset of one split."""
    from omegaconf import OmegaConf
    from torch_brain.data import Dataset

    config = data["config"]
    entries = yaml.safe_load(Path(config).read_text()) if isinstance(config, str) else config
    found = Dataset(str(data["root"]), config=OmegaConf.create(entries), split=split, transform=transform)
    # Its check wants masks that only its own converters write; ours has looked at these splits.
    found.disable_data_leakage_check()
    return found


def splits_of(data: dict[str, Any]) -> set[str]:
    """The splits that all recordings have."""
    from nd_data import Dataset

    everything = Dataset(data["root"], config=data["config"])
    return set.intersection(*(set(split_names(everything.open_recording(name))) for name in everything.recording_ids))


def optimizer_of(model: Any, settings: dict[str, Any], steps: int) -> tuple[Any, Any]:
    """The run's optimizer and schedule; SparseLamb with its row-sparse group of embeddings, as its examples do."""
    from torch_brain.optim import SparseLamb

    rate, decay = settings["lr"], settings["weight_decay"]
    embeddings = [*model.unit_emb.parameters(), *model.session_emb.parameters()]
    known = {id(parameter) for parameter in embeddings}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    matrices = [parameter for parameter in others if parameter.ndim > 1]
    vectors = [parameter for parameter in others if parameter.ndim <= 1]
    if settings["optimizer"] == "sparse_lamb":
        groups = [{"params": embeddings, "sparse": True}, {"params": others, "weight_decay": decay}]
        optimizer: Any = SparseLamb(groups, lr=rate)
    else:
        groups = [{"params": [*embeddings, *vectors], "weight_decay": 0.0}, {"params": matrices, "weight_decay": decay}]
        optimizer = torch.optim.AdamW(groups, lr=rate)
    if settings["schedule"] == "constant":
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=steps, pct_start=settings["warmup"], cycle_momentum=False
    )
    return optimizer, schedule


def loss_of(model: Any, batch: dict[str, Any], specs: dict[str, Any]) -> torch.Tensor:
    """Each task's loss in proportion to the windows that hold it."""
    outputs = model(**batch["model_inputs"], unpack_output=False)
    index = batch["model_inputs"]["output_decoder_index"]
    total = torch.zeros(())
    for task, predicted in outputs.items():
        weights = batch["target_weights"].get(task)
        loss = specs[task].loss_fn(predicted, batch["target_values"][task].to(_dtype(specs[task])), weights)
        total = total + loss * (index == specs[task].id).any(dim=1).float().mean()
    return total


def _dtype(spec: Any) -> torch.dtype:
    return torch.float32 if spec.type.name == "CONTINUOUS" else torch.long


@torch.no_grad()
def evaluate(model: Any, data: dict[str, Any], split: str, specs: dict[str, Any]) -> EvaluationResult:
    """Predict overlapping windows of a split, and stitch and score them as ours are."""
    from torch_brain.data import collate
    from torch_brain.data.sampler import SequentialFixedWindowSampler

    model.eval()
    windows = dataset(data, split, model.tokenize)
    sampler = SequentialFixedWindowSampler(
        sampling_intervals=windows.get_sampling_intervals(),
        window_length=model.sequence_length,
        step=data.get("eval_step") or model.sequence_length / 2,
        drop_short=True,
    )
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids={task: spec.id for task, spec in specs.items()})
    batch_size = data.get("eval_batch_size") or data["batch_size"]
    for batch in DataLoader(windows, sampler=sampler, batch_size=batch_size, collate_fn=collate):
        inputs = batch["model_inputs"]
        evaluation.update(
            DataForMultiTaskDecodingStitchEvaluator(
                timestamps=inputs["output_timestamps"],
                preds=model(**inputs, unpack_output=True),
                targets=batch["target_values"],
                decoder_indices=inputs["output_decoder_index"],
                eval_masks=batch["eval_mask"],
                session_ids=batch["session_id"],
                absolute_starts=torch.as_tensor(batch["absolute_start"], dtype=torch.float64),
            )
        )
    return evaluation.compute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = yaml.safe_load(options.like.read_text())
    result = train_like(settings, options.out)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

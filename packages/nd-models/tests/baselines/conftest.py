"""Simulated recordings that the baselines are trained on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nd_data import Dataset, collate
from nd_data.samplers import RandomFixedWindowSampler, SequentialFixedWindowSampler
from nd_data.simulate import SimulatedRecording, simulate_recordings
from nd_models import DecoderModel

TASK = "cursor_velocity_2d"


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SimulatedRecording]]:
    """Two sessions of three minutes that share half of their units' tuning, under other names."""
    root = tmp_path_factory.mktemp("simulated")
    return root, simulate_recordings(root, sessions=2, minutes=3.0, units=40, kept_units=0.5, mean_rate=12.0, seed=3)


@pytest.fixture(scope="session")
def loader(recordings) -> Callable[..., DataLoader[Any]]:
    """A loader of one split's windows, tokenized by a model: random in training, one after the other otherwise."""

    def make(model: DecoderModel, split: str, batch_size: int = 16) -> DataLoader[Any]:
        config = {"multitask_readout": [{"readout_id": TASK}]}
        dataset = Dataset(
            recordings[0],
            config=[{"selection": [{"brainset": "simulated"}], "config": config}],
            split=split,
            transform=model.tokenize,
        )
        intervals = dataset.get_sampling_intervals()
        sampler: Any
        if split == "train":
            generator = torch.Generator().manual_seed(0)
            sampler = RandomFixedWindowSampler(
                sampling_intervals=intervals, window_length=model.sequence_length, generator=generator
            )
        else:
            sampler = SequentialFixedWindowSampler(sampling_intervals=intervals, window_length=model.sequence_length)
        return DataLoader(dataset, sampler=sampler, batch_size=batch_size, collate_fn=collate)

    return make


@pytest.fixture(scope="session")
def know_the_recordings(recordings) -> Callable[[DecoderModel], None]:
    """Give a model the vocabularies of the recordings."""

    def initialise(model: DecoderModel) -> None:
        dataset = Dataset(recordings[0])
        model.unit_emb.initialize_vocab(dataset.get_unit_ids())
        model.session_emb.initialize_vocab(dataset.get_session_ids())

    return initialise


@pytest.fixture(scope="session")
def held_out_r2(loader) -> Callable[[DecoderModel], float]:
    """R² of the velocity in the test split, by plain NumPy, both axes and sessions together."""

    def score(model: DecoderModel) -> float:
        predictions, targets = [], []
        model.eval()
        with torch.no_grad():
            for batch in loader(model, "test"):
                predictions.append(model(**batch["model_inputs"])[TASK].double().numpy())
                targets.append(batch["target_values"][TASK].double().numpy())
        predicted, target = np.concatenate(predictions), np.concatenate(targets)
        spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
        return float(np.mean(1 - ((target - predicted) ** 2).sum(axis=0) / spread))

    return score


@pytest.fixture
def train(loader) -> Callable[..., Iterator[float]]:
    """Train a model for some steps on random windows; returns the losses."""

    def run(model: DecoderModel, steps: int, lr: float) -> list[float]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        loss_fn = model.readout_specs[TASK].loss_fn
        model.train()
        losses: list[float] = []
        while len(losses) < steps:
            for batch in loader(model, "train"):
                outputs = model(**batch["model_inputs"])[TASK]
                loss = loss_fn(outputs, batch["target_values"][TASK].float(), batch["target_weights"][TASK])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                if len(losses) == steps:
                    break
        return losses

    return run

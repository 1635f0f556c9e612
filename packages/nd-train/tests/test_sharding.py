"""What a strategy that splits weights asks of optimizer and model; runs of several processes are tested elsewhere."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy

from nd_optim import SparseLamb
from nd_train.commands.run_trainer import RunTrainer
from nd_train.multitask_loss import in_precision_of
from nd_train.run_folder import run_folder
from nd_train.sharding import FullyShardedStrategy, check_whole_tensors, data_parallel_mesh


def with_optimizer(strategy, kind):
    strategy.optimizers = [kind([torch.nn.Parameter(torch.zeros(2))])]
    return strategy


def test_flat_pieces_of_parameters_are_kept_from_an_optimizer_that_needs_whole_ones():
    with pytest.raises(ValueError, match=r"FSDP1.*FullyShardedStrategy \(FSDP2\), 'ddp', or the optimizer 'adamw'"):
        check_whole_tensors(with_optimizer(FSDPStrategy(), SparseLamb))
    check_whole_tensors(with_optimizer(FSDPStrategy(), torch.optim.AdamW))
    check_whole_tensors(with_optimizer(DDPStrategy(), SparseLamb))


class Mesh(dict):
    """A mesh of two dimensions, by name."""

    def __init__(self, data, tensor):
        super().__init__(
            data_parallel=SimpleNamespace(size=lambda: data), tensor_parallel=SimpleNamespace(size=lambda: tensor)
        )


def test_only_a_strategy_that_splits_the_model_has_a_mesh_for_it():
    assert data_parallel_mesh(DDPStrategy()) is None
    strategy = ModelParallelStrategy()
    strategy._device_mesh = Mesh(4, 1)
    assert data_parallel_mesh(strategy).size() == 4
    strategy._device_mesh = Mesh(2, 2)
    with pytest.raises(
        ValueError, match="expected a strategy without tensor parallelism, found tensor_parallel_size=2"
    ):
        data_parallel_mesh(strategy)


def test_the_command_lines_trainer_knows_it_by_name(tmp_path):
    trainer = RunTrainer(strategy="fsdp2", accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path)
    assert isinstance(trainer.strategy, FullyShardedStrategy)


@pytest.mark.parametrize("logs", [True, False])
def test_the_folder_of_a_run_is_known_to_rank_0_without_asking_the_others(make_trainer, tmp_path, monkeypatch, logs):
    trainer = make_trainer(logger=CSVLogger(tmp_path, name="runs", version=3) if logs else False)
    expected = trainer.log_dir

    def asked(*_):
        raise AssertionError("another rank would not answer")

    monkeypatch.setattr(trainer.strategy, "broadcast", asked)
    assert str(run_folder(trainer)) == str(expected)


@pytest.mark.parametrize(
    ("predicted", "kept"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_targets_and_weights_keep_their_digits_where_predictions_have_few(predicted, kept):
    values = torch.tensor([1.0000001, 257.0], dtype=torch.float64)
    targets, weights = in_precision_of(torch.zeros(2, 1, dtype=predicted), values, values)
    assert torch.equal(targets, values.to(kept))
    assert torch.equal(weights, values.to(kept))
    classes, none = in_precision_of(torch.zeros(2, 1, dtype=predicted), torch.tensor([3, 4]), None)
    assert classes.dtype is torch.int64
    assert none is None

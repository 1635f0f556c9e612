"""The training guide, section by section: its calls run as written, with other import lines and smaller sizes."""

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from nd_data import Dataset, DatasetIndex, collate
from nd_data.samplers import (
    DistributedEvaluationSamplerWrapper,
    DistributedStitchingFixedWindowSampler,
    RandomFixedWindowSampler,
    SequentialFixedWindowSampler,
)
from nd_data.transforms import Compose, UnitDropout
from nd_eval import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator, stitch
from nd_models import MODALITY_REGISTRY, POYO, DataType, ModalitySpec, POYOPlus
from nd_models.loss import CrossEntropyLoss
from nd_optim import SparseLamb
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator
from nd_train.multitask_loss import multitask_loss

SIZES = {"sequence_length": 1.0, "latent_step": 0.25, "num_latents_per_step": 4, "dim": 32, "depth": 1, "dim_head": 16}
SPEC = MODALITY_REGISTRY["cursor_velocity_2d"]


class GuideDecoder(L.LightningModule):
    """The module that the guide has its readers write themselves."""

    def __init__(self, model_config, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.model = POYOPlus(**model_config)

    def forward(self, **kwargs):
        return self.model(**kwargs)

    def training_step(self, batch, batch_idx):
        output_values = self.model(**batch["model_inputs"], unpack_output=False)
        loss = self.compute_loss(output_values, batch)
        self.log("train_loss", loss, batch_size=len(batch["session_id"]))
        return loss

    def compute_loss(self, output_values, batch):
        total_loss = 0.0
        for task_name in output_values:
            spec = self.model.readout.readout_specs[task_name]
            weights = batch["target_weights"].get(task_name, None)
            task_loss = spec.loss_fn(output_values[task_name], batch["target_values"][task_name], weights)
            num_samples = torch.any(batch["model_inputs"]["output_decoder_index"] == spec.id, dim=1).sum()
            total_loss += task_loss * num_samples
        return total_loss / len(batch["session_id"])

    def validation_step(self, batch, batch_idx):
        return DataForMultiTaskDecodingStitchEvaluator(
            timestamps=batch["model_inputs"]["output_timestamps"],
            preds=self.model(**batch["model_inputs"], unpack_output=True),
            targets=batch["target_values"],
            decoder_indices=batch["model_inputs"]["output_decoder_index"],
            eval_masks=batch["eval_mask"],
            session_ids=batch["session_id"],
            absolute_starts=batch["absolute_start"],
        )

    def configure_optimizers(self):
        return SparseLamb(self.parameters(), lr=self.hparams.lr)


class GuideSingleTaskDecoder(L.LightningModule):
    """The same for one readout."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, batch_idx):
        mask = batch["model_inputs"]["output_mask"]
        output = self.model(**batch["model_inputs"])
        return self.model.readout_spec.loss_fn(
            output[mask], batch["target_values"][mask], batch["target_weights"][mask]
        )

    def validation_step(self, batch, batch_idx):
        output = self.model(**batch["model_inputs"], unpack_output=True)
        return DataForDecodingStitchEvaluator(
            timestamps=batch["model_inputs"]["output_timestamps"],
            preds=output,
            targets=batch["target_values"],
            eval_masks=batch["eval_mask"],
            session_ids=batch["session_id"],
            absolute_starts=batch["absolute_start"],
        )

    def configure_optimizers(self):
        return SparseLamb(self.parameters(), lr=1e-3)


def quiet_trainer(tmp_path, **keywords):
    settings = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
        "enable_checkpointing": False,
    }
    return L.Trainer(**{**settings, **keywords})


def loaders(model, *, config="config.yaml", batch_size=16):
    transform = Compose([UnitDropout(min_units=20, mode_units=100), model.tokenize])
    train_dataset = Dataset("./processed", config=config, split="train", transform=transform)
    val_dataset = Dataset("./processed", config=config, split="valid", transform=model.tokenize)
    model.unit_emb.initialize_vocab(train_dataset.get_unit_ids())
    model.session_emb.initialize_vocab(train_dataset.get_session_ids())
    train_sampler = RandomFixedWindowSampler(
        sampling_intervals=train_dataset.get_sampling_intervals(), window_length=1.0
    )
    val_sampler = SequentialFixedWindowSampler(
        sampling_intervals=val_dataset.get_sampling_intervals(), window_length=1.0, step=0.5
    )
    train_loader = DataLoader(train_dataset, sampler=train_sampler, batch_size=batch_size, collate_fn=collate)
    val_loader = DataLoader(val_dataset, sampler=val_sampler, batch_size=batch_size, collate_fn=collate)
    return train_loader, val_loader


def test_lightning_module_setup_a_module_of_ones_own_trains(workplace):
    module = GuideDecoder(SIZES, lr=1e-3)
    train_loader, val_loader = loaders(module.model)
    before = module.model.unit_emb.weight.detach().clone()
    evaluator = MultiTaskDecodingStitchEvaluator()
    trainer = quiet_trainer(workplace, max_epochs=1, callbacks=[evaluator])
    trainer.fit(module, train_loader, val_loader)
    assert trainer.global_step == len(train_loader) > 1
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    assert torch.isfinite(trainer.callback_metrics["average_val_metric"])
    assert not torch.equal(before, module.model.unit_emb.weight)


def test_loss_computation_weighs_each_task_by_the_windows_that_hold_it():
    specs = {
        "velocity": ModalitySpec(
            id=1, dim=2, type=DataType.CONTINUOUS, loss_fn=SPEC.loss_fn, timestamp_key="a.timestamps", value_key="a.b"
        ),
        "state": ModalitySpec(
            id=2,
            dim=3,
            type=DataType.MULTINOMIAL,
            loss_fn=CrossEntropyLoss(),
            timestamp_key="c.timestamps",
            value_key="c.d",
        ),
    }
    generator = torch.Generator().manual_seed(0)
    decoder_index = torch.tensor([[1, 1, 2, 0], [1, 0, 0, 0], [1, 1, 1, 2], [2, 0, 0, 0], [0, 0, 0, 0]])
    velocity, target = torch.randn(6, 2, generator=generator), torch.randn(6, 2, generator=generator)
    logits, state = torch.randn(3, 3, generator=generator), torch.tensor([0, 2, 1])
    weights = torch.rand(6, generator=generator)
    total, by_task = multitask_loss(
        {"velocity": velocity, "state": logits},
        {"velocity": target, "state": state},
        {"velocity": weights},
        output_decoder_index=decoder_index,
        readout_specs=specs,
    )
    # By hand, in float64: velocity is in three of five windows, state in three of five.
    w = weights.numpy().astype(np.float64)
    squared = ((velocity.double() - target.double()).numpy() ** 2).mean(axis=1)
    by_hand_velocity = (w * squared).sum() / w.sum()
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    by_hand_state = -np.log(probabilities[np.arange(3), state.numpy()]).mean()
    assert float(by_task["velocity"]) == pytest.approx(by_hand_velocity, rel=1e-5)
    assert float(by_task["state"]) == pytest.approx(by_hand_state, rel=1e-5)
    assert float(total) == pytest.approx((3 * by_hand_velocity + 3 * by_hand_state) / 5, rel=1e-5)


def test_sample_weights_follow_the_intervals_of_the_configuration(workplace):
    model = POYOPlus(**SIZES)
    dataset = Dataset("./processed", config="config.yaml", split="train", transform=model.tokenize)
    model.unit_emb.initialize_vocab(dataset.get_unit_ids())
    model.session_emb.initialize_vocab(dataset.get_session_ids())
    seen = set()
    for recording_id, intervals in dataset.get_sampling_intervals().items():
        recording = dataset.get_recording_data(recording_id)
        start = float(intervals.start[0]) + 3.0
        tokens = dataset[DatasetIndex(recording_id, start, start + 1.0)]
        batch = collate([tokens])
        weights = batch["target_weights"]["cursor_velocity_2d"].numpy()
        times = np.asarray(batch["model_inputs"]["output_timestamps"][0, : len(weights)], dtype=np.float64) + start
        expected, certain = np.ones(len(times)), np.ones(len(times), dtype=bool)
        for name, factor in (("reach_period", 5.0), ("hold_period", 0.1)):
            period = getattr(recording.movement_phases, name)
            for a, b in zip(period.start, period.end, strict=True):
                expected[(times >= a) & (times < b)] *= factor
                # `times` are sums of rounded numbers: at an edge they cannot say on which side they are.
                certain &= (np.abs(times - a) > 1e-6) & (np.abs(times - b) > 1e-6)
        assert certain.sum() > 80
        np.testing.assert_allclose(weights[certain], expected[certain], rtol=1e-6)
        seen |= set(np.round(np.unique(expected), 3))
    assert len(seen) > 1


def test_single_task_evaluation(workplace, single_task_configuration):
    readout_spec = SPEC
    model = POYO(readout_spec=readout_spec, **SIZES)
    train_loader, val_loader = loaders(model, config=single_task_configuration)
    dataset = train_loader.dataset
    evaluator = DecodingStitchEvaluator(session_ids=dataset.get_session_ids(), modality_spec=readout_spec)
    module = GuideSingleTaskDecoder(model)
    trainer = quiet_trainer(workplace, max_epochs=1, callbacks=[evaluator])
    trainer.fit(module, train_loader, val_loader)
    result = evaluator.results["val"]
    assert sorted(result.scores) == sorted(dataset.get_session_ids())
    assert torch.isfinite(trainer.callback_metrics["average_val_metric"])
    for session in dataset.get_session_ids():
        assert f"{session}/readout/r2/val" in trainer.callback_metrics


def test_multi_task_evaluation_with_the_data_modules_metrics(workplace):
    model = POYOPlus(**SIZES)
    train_loader, val_loader = loaders(model)
    datamodule = NeuralDataModule("./processed", "config.yaml")
    datamodule.link_model(model)
    evaluator = MultiTaskDecodingStitchEvaluator(metrics=datamodule.get_metrics())
    trainer = quiet_trainer(workplace, max_epochs=1, callbacks=[evaluator])
    trainer.fit(NeuralDecoder(model), train_loader, val_loader)
    sessions = train_loader.dataset.get_session_ids()
    for session in sessions:
        assert f"{session}/cursor_velocity_2d/r2/val" in trainer.callback_metrics
    # Every target time of the validation split's windows is evaluated once.
    for session in sessions:
        trace = evaluator.results["val"].traces[session]["cursor_velocity_2d"]
        recording = val_loader.dataset.get_recording_data(session)
        intervals = val_loader.dataset.get_sampling_intervals()[session]
        times = np.asarray(recording.cursor.timestamps)
        inside = (times >= intervals.start[0]) & (times < intervals.end[-1])
        np.testing.assert_allclose(np.asarray(trace.timestamps), times[inside], atol=1e-6)
        np.testing.assert_allclose(
            np.asarray(trace.targets), np.asarray(recording.cursor.vel)[inside], rtol=1e-5, atol=1e-6
        )


def test_stitching_averages_floats_and_lets_classes_vote():
    times = torch.tensor([0.2, 0.1, 0.2, 0.1, 0.1], dtype=torch.float64)
    unique, mean = stitch(times, torch.tensor([[1.0], [2.0], [3.0], [4.0], [6.0]]))
    assert unique.tolist() == [0.1, 0.2]
    assert mean.flatten().tolist() == pytest.approx([4.0, 2.0])
    _, vote = stitch(times, torch.tensor([3, 1, 3, 2, 2]))
    assert vote.tolist() == [2, 3]


def test_distributed_training_samplers(workplace):
    model = POYOPlus(**SIZES)
    train_loader, val_loader = loaders(model)
    train_dataset, val_dataset = train_loader.dataset, val_loader.dataset
    sequence_length, batch_size = 1.0, 4
    train_sampler = RandomFixedWindowSampler(
        sampling_intervals=train_dataset.get_sampling_intervals(),
        window_length=sequence_length,
    )
    assert len(list(train_sampler)) == len(train_sampler) > 0
    wrapped = DistributedEvaluationSamplerWrapper(val_loader.sampler, num_replicas=2, rank=1)
    assert len(list(wrapped)) == len(wrapped)
    windows = []
    for rank in range(2):
        val_sampler = DistributedStitchingFixedWindowSampler(
            sampling_intervals=val_dataset.get_sampling_intervals(),
            window_length=sequence_length,
            step=sequence_length / 2,
            batch_size=batch_size,
            num_replicas=2,
            rank=rank,
        )
        windows += [(index.recording_id, round(index.start, 9)) for index in val_sampler]
    expected = [(index.recording_id, round(index.start, 9)) for index in val_loader.sampler]
    assert set(windows) == set(expected)


def test_saving_and_loading_checkpoints(workplace):
    model = POYOPlus(**SIZES)
    train_loader, val_loader = loaders(model)
    evaluator = MultiTaskDecodingStitchEvaluator()
    checkpoint_callback = ModelCheckpoint(
        dirpath="checkpoints/",
        filename="model-{epoch:02d}-{average_val_metric:.2f}",
        monitor="average_val_metric",
        mode="max",
        save_top_k=3,
    )
    trainer = quiet_trainer(
        workplace, max_epochs=2, enable_checkpointing=True, callbacks=[checkpoint_callback, evaluator]
    )
    trainer.fit(NeuralDecoder(model, lr=1e-3), train_loader, val_loader)
    assert len(list((workplace / "checkpoints").glob("model-*.ckpt"))) == 2
    path = checkpoint_callback.best_model_path

    module = NeuralDecoder.load_from_checkpoint(path)
    assert module.hparams.lr == 1e-3
    assert module.model.unit_emb.vocab == model.unit_emb.vocab

    checkpoint = torch.load(path)
    state_dict = {k.removeprefix("model."): v for k, v in checkpoint["state_dict"].items()}
    fresh = POYOPlus(**SIZES)
    fresh.load_state_dict(state_dict)
    batch = next(iter(val_loader))
    for other in (module.model, fresh):
        other.eval()
    one, two = (m(**batch["model_inputs"])["cursor_velocity_2d"] for m in (module.model, fresh))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_loading_a_pretrained_poyo_with_a_new_readout(workplace, single_task_configuration):
    model = POYO(readout_spec=SPEC, **SIZES)
    train_loader, val_loader = loaders(model, config=single_task_configuration)
    trainer = quiet_trainer(workplace, max_epochs=1, callbacks=[DecodingStitchEvaluator()])
    trainer.fit(NeuralDecoder(model), train_loader, val_loader)
    trainer.save_checkpoint("checkpoint.ckpt")

    same = POYO.load_pretrained(checkpoint_path="checkpoint.ckpt", readout_spec=SPEC)
    torch.testing.assert_close(same.readout.weight, model.readout.weight)
    my_readout_spec = MODALITY_REGISTRY["cursor_position_2d"]
    loaded = POYO.load_pretrained(
        checkpoint_path="checkpoint.ckpt",
        readout_spec=my_readout_spec,
        skip_readout=True,
    )
    assert loaded.readout_spec == my_readout_spec
    assert not torch.equal(loaded.readout.weight, model.readout.weight)
    torch.testing.assert_close(loaded.unit_emb.weight, model.unit_emb.weight)
    assert loaded.unit_emb.vocab == model.unit_emb.vocab


def test_complete_training_script(workplace):
    # 1. Setup model and transforms
    model = POYOPlus(sequence_length=1.0, latent_step=0.25, dim=32, depth=1)

    transform = Compose([UnitDropout(min_units=20, mode_units=100), model.tokenize])

    # 2. Setup datasets
    train_dataset = Dataset("./processed", config="config.yaml", split="train", transform=transform)
    val_dataset = Dataset("./processed", config="config.yaml", split="valid", transform=transform)

    # 3. Initialize vocabularies
    model.unit_emb.initialize_vocab(train_dataset.get_unit_ids())
    model.session_emb.initialize_vocab(train_dataset.get_session_ids())

    # 4. Setup samplers and dataloaders
    train_sampler = RandomFixedWindowSampler(
        sampling_intervals=train_dataset.get_sampling_intervals(),
        window_length=1.0,
    )
    train_loader = DataLoader(train_dataset, sampler=train_sampler, batch_size=32, collate_fn=collate)
    # The guide never defines this loader; any sampler will do.
    val_loader = DataLoader(
        val_dataset,
        sampler=RandomFixedWindowSampler(sampling_intervals=val_dataset.get_sampling_intervals(), window_length=1.0),
        batch_size=32,
        collate_fn=collate,
    )

    # 5. Create Lightning module and trainer
    module = NeuralDecoder(model)
    evaluator = MultiTaskDecodingStitchEvaluator(metrics=None)
    trainer = L.Trainer(
        max_epochs=2,
        callbacks=[evaluator],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )

    # 6. Train
    trainer.fit(module, train_loader, val_loader)
    assert trainer.current_epoch == 2
    assert trainer.global_step == 2 * len(train_loader)
    assert torch.isfinite(trainer.callback_metrics["average_val_metric"])


def test_a_decoder_is_built_from_a_configuration_mapping(workplace):
    module = NeuralDecoder(SIZES, lr=2e-3)
    train_loader, val_loader = loaders(module.model)
    trainer = quiet_trainer(workplace, max_epochs=1, callbacks=[MultiTaskDecodingStitchEvaluator()])
    trainer.fit(module, train_loader, val_loader)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 2e-3
    assert isinstance(trainer.optimizers[0], SparseLamb)

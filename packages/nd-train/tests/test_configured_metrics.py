"""Metrics and readouts as the data's configuration names them."""

import json

import numpy as np
import pytest
import torch
import yaml

from nd_data import Data, Dataset
from nd_models import MODALITY_REGISTRY
from nd_train.cli import main
from nd_train.configured_metrics import configured_metrics, metrics_of_readout
from nd_train.configured_readouts import configured_readouts
from nd_train.ridge_baseline import ridge_scores
from nd_train.trace_attributes import target_scales

CONTINUOUS = MODALITY_REGISTRY["cursor_velocity_2d"]
CLASSES = MODALITY_REGISTRY["drifting_gratings_orientation"]


def values_of(metrics, predictions, targets):
    for metric in metrics.values():
        metric.update(torch.from_numpy(predictions), torch.from_numpy(targets))
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def test_metrics_by_name_compute_what_their_names_say():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 2)) * [1.0, 3.0]
    predictions = targets + rng.normal(size=(50, 2))
    errors = predictions - targets
    spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    found = values_of(metrics_of_readout(["r2", "mse", "mae"], CONTINUOUS), predictions, targets)
    expected = {
        "r2": np.mean(1 - (errors**2).sum(axis=0) / spread),
        "mse": np.mean(errors**2),
        "mae": np.mean(np.abs(errors)),
    }
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_readout_without_metrics_gets_r2_or_balanced_accuracy():
    assert list(metrics_of_readout(None, CONTINUOUS)) == ["r2"]
    metrics = metrics_of_readout(None, CLASSES)
    assert list(metrics) == ["balanced_accuracy"]
    targets = np.array([0, 0, 0, 1, 2])
    logits = np.eye(CLASSES.dim)[[0, 0, 1, 1, 0]]
    # Two of three, one of one, none of one.
    assert values_of(metrics, logits, targets) == pytest.approx({"balanced_accuracy": (2 / 3 + 1 + 0) / 3})


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"metric": {"_target_": "torchmetrics.R2Score"}}, "r2"),
        ({"metric": {"_target_": "torchmetrics.MeanSquaredError", "num_outputs": 2}}, "mse"),
        ({"metric": "mae"}, "mae"),
    ],
)
def test_the_old_form_of_a_metric_is_looked_up_in_the_table(entry, name):
    assert list(metrics_of_readout([entry], CONTINUOUS)) == [name]


def test_an_unknown_metric_is_an_error_with_the_nearest_name():
    with pytest.raises(KeyError, match=r"no metric 'pearson'.*did you mean 'pearsonr'.*known are r2, "):
        metrics_of_readout(["pearson"], CONTINUOUS)


def test_a_target_outside_the_table_is_refused_and_never_imported():
    with pytest.raises(KeyError, match=r"os\.system"):
        metrics_of_readout([{"metric": {"_target_": "os.system"}}], CONTINUOUS)


def test_a_metric_of_the_wrong_width_is_noticed():
    (metric,) = metrics_of_readout(["r2"], CONTINUOUS).values()
    with pytest.raises(ValueError, match="2"):
        metric(torch.zeros(5, 3), torch.zeros(5, 3))


def test_every_recording_and_task_gets_metrics_of_its_own(recordings):
    config = [
        {
            "selection": [{"brainset": "simulated", "session": "session_00"}],
            "config": {
                "multitask_readout": [
                    {"readout_id": "cursor_velocity_2d", "metrics": ["r2", "mse"]},
                    {"readout_id": "cursor_position_2d"},
                ]
            },
        },
        {
            "selection": [{"brainset": "simulated", "session": "session_01"}],
            "config": {"multitask_readout": [{"readout_id": "cursor_velocity_2d"}]},
        },
    ]
    metrics = configured_metrics(Dataset(recordings, config=config), MODALITY_REGISTRY)
    names = {session: {task: list(by_name) for task, by_name in tasks.items()} for session, tasks in metrics.items()}
    assert names == {
        "simulated/session_00": {"cursor_velocity_2d": ["r2", "mse"], "cursor_position_2d": ["r2"]},
        "simulated/session_01": {"cursor_velocity_2d": ["r2"]},
    }
    first = metrics["simulated/session_00"]["cursor_velocity_2d"]["r2"]
    assert first is not metrics["simulated/session_01"]["cursor_velocity_2d"]["r2"]


def test_a_single_readout_counts_as_one_task(recordings, single):
    metrics = configured_metrics(Dataset(recordings, config=single), {"cursor_velocity_2d": CONTINUOUS})
    assert {tuple(tasks) for tasks in metrics.values()} == {("cursor_velocity_2d",)}


def test_a_readout_that_the_model_lacks_is_an_error_with_recording_and_nearest_name(recordings):
    config = {"config": {"multitask_readout": [{"readout_id": "cursor_velocty_2d"}]}}
    with pytest.raises(KeyError, match=r"recording 'simulated/session_00'.*did you mean 'cursor_velocity_2d'"):
        configured_metrics(Dataset(recordings, config=config), {"cursor_velocity_2d": CONTINUOUS})


def test_readouts_are_listed_once_in_the_order_of_the_configuration():
    entry = {"config": {"multitask_readout": [{"readout_id": "b"}, {"readout_id": "a"}]}}
    other = {"config": {"multitask_readout": [{"readout_id": "a"}, {"readout_id": "c"}]}}
    assert configured_readouts([entry, other]) == ["b", "a", "c"]
    assert configured_readouts({"config": {"readout": {"readout_id": "b"}}}, single=True) == ["b"]


def test_a_configuration_without_readouts_is_an_error_that_names_the_key(single, multitask):
    with pytest.raises(ValueError, match=r"no 'multitask_readout'.*config/multitask_readout"):
        configured_readouts(single)
    with pytest.raises(ValueError, match="no 'readout'"):
        configured_readouts(multitask, single=True)


def test_two_readouts_for_a_model_with_one_are_an_error_that_names_them():
    entries = [{"config": {"readout": {"readout_id": name}}} for name in ("a", "b")]
    with pytest.raises(ValueError, match="cannot predict a, b: use POYOPlus"):
        configured_readouts(entries, single=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_of_poyo_is_scored_under_the_name_of_its_readout(recordings, single, make_model, tmp_path, capsys):
    config = tmp_path / "data.yaml"
    config.write_text(yaml.safe_dump(single))
    network = {key: value for key, value in make_model("POYO").to_config().items() if key != "readout_spec"}
    words = [
        *(f"--model.network={json.dumps(network)}", f"--data.root={recordings}", f"--data.config={config}"),
        *("--data.batch_size=4", "--trainer.accelerator=cpu", "--trainer.logger=csv", "--trainer.max_steps=2"),
        *("--trainer.val_check_interval=2", f"--trainer.default_root_dir={tmp_path / 'run'}"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    ]
    assert main(["fit", *words]) == 0
    assert "cursor_velocity_2d" in capsys.readouterr().out
    (file,) = (tmp_path / "run").rglob("test_scores.json")
    assert {tuple(tasks) for tasks in json.loads(file.read_text()).values()} == {("cursor_velocity_2d",)}
    assert "session_00/cursor_velocity_2d/r2/val" in (file.parent / "metrics.csv").read_text()


def test_a_file_may_have_another_name_than_its_session(recordings, tmp_path, multitask):
    recording = Data.load(recordings / "simulated" / "session_00.h5").materialize()
    recording.session.id = "monkey_1"
    (tmp_path / "simulated").mkdir()
    recording.save(tmp_path / "simulated" / "session_00.h5")
    dataset = Dataset(tmp_path, config=multitask)
    # By what its windows, and so its scores and traces, are called.
    assert list(configured_metrics(dataset, MODALITY_REGISTRY)) == ["simulated/monkey_1"]
    scaled = {"config": {"readout": {"readout_id": "cursor_velocity_2d", "normalize_std": 2.0}}}
    readouts = {"cursor_velocity_2d": CONTINUOUS}
    found = target_scales(Dataset(tmp_path, config=scaled), readouts)
    assert found == {"simulated/monkey_1": {"cursor_velocity_2d": {"normalize_std": 2.0}}}
    assert list(ridge_scores(tmp_path, multitask, CONTINUOUS, window_length=0.3)) == ["simulated/monkey_1"]

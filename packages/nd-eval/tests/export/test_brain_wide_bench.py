"""BrainWideBench files: tensors and descriptions in the benchmark's layout, and clear errors before a file is there."""

import math
import sys

import pytest
import torch

from nd_eval import StitchedTrace
from nd_eval.export import (
    BRAIN_WIDE_DECODING_TASKS,
    BRAIN_WIDE_REGIONS,
    BrainWideTrials,
    save_brain_wide_activity,
    save_brain_wide_decoding,
    save_brain_wide_regions,
)

safetensors = pytest.importorskip("safetensors", reason="the extra 'export' is not installed")


def read(path):
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def evaluated(task, recordings=("ibl/one", "ibl/two"), trials=5):
    outputs, steps = BRAIN_WIDE_DECODING_TASKS[task]
    traces, of_trials = {}, {}
    for number, recording in enumerate(recordings):
        generator = torch.Generator().manual_seed(number)
        times = 10.0 + 0.02 * torch.arange(600, dtype=torch.float64)
        preds = torch.randn(600, outputs, generator=generator)
        traces[recording] = {task: StitchedTrace(times, preds, preds)}
        places = torch.arange(trials)[:, None] * 100 + torch.arange(steps)
        ids = torch.tensor([40, 3, 11, 27, 8])[:trials] + number
        of_trials[f"bench-{number}"] = BrainWideTrials(recording, ids, times[places])
    return traces, of_trials


@pytest.mark.parametrize("task", list(BRAIN_WIDE_DECODING_TASKS))
def test_decoding_files_hold_each_trials_predictions(tmp_path, task):
    traces, trials = evaluated(task)
    paths = save_brain_wide_decoding(
        tmp_path, traces, task=task, trials=trials, label="mine", seed=44, metadata={"epochs": "3"}
    )
    outputs, steps = BRAIN_WIDE_DECODING_TASKS[task]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"mine/ts1-{task}/bench-{number}/seed_44.safetensors" for number in range(2)
    ]
    for number, path in enumerate(paths):
        tensors, metadata = read(path)
        assert set(tensors) == {"predictions", "trial_id"}
        assert torch.equal(tensors["trial_id"], trials[f"bench-{number}"].ids)
        assert tensors["trial_id"].dtype == torch.int64
        places = torch.arange(5)[:, None] * 100 + torch.arange(steps)
        preds = traces[trials[f"bench-{number}"].recording][task].preds
        assert torch.equal(tensors["predictions"], preds[places])
        assert tensors["predictions"].shape == (5, steps, outputs)
        assert (
            metadata.items()
            >= {
                "label": "mine",
                "task": f"ts1-{task}",
                "seed": "44",
                "recording_id": f"bench-{number}",
                "epochs": "3",
            }.items()
        )


def test_rates_become_logarithms_and_one_time_a_trial_may_be_flat(tmp_path):
    traces, trials = evaluated("licking_rate", recordings=("ibl/one",))
    one = traces["ibl/one"]["licking_rate"]
    rates = {"ibl/one": {"licks": StitchedTrace(one.timestamps, one.preds.abs().clamp(min=0.5) - 0.5, one.targets)}}
    (path,) = save_brain_wide_decoding(
        tmp_path, rates, task="licking_rate", readout="licks", trials=trials, label="a", seed=1, rates=True
    )
    places = torch.arange(5)[:, None] * 100 + torch.arange(50)
    expected = [[max(value, 1e-9) for value in row] for row in rates["ibl/one"]["licks"].preds[places][..., 0].tolist()]
    expected = torch.tensor([[math.log(value) for value in row] for row in expected])
    torch.testing.assert_close(read(path)[0]["predictions"][..., 0], expected)
    traces, trials = evaluated("choice", recordings=("ibl/one",))
    flat = BrainWideTrials("ibl/one", trials["bench-0"].ids, trials["bench-0"].times[:, 0])
    (path,) = save_brain_wide_decoding(tmp_path, traces, task="choice", trials={"b": flat}, label="a", seed=1)
    assert read(path)[0]["predictions"].shape == (5, 1, 2)


def test_activity_files_hold_windows_and_their_starts(tmp_path):
    log_rates = torch.randn(4, 50, 3, dtype=torch.float64)
    starts = torch.tensor([5.0, 5.02, 5.04, 9.0], dtype=torch.float64)
    path = save_brain_wide_activity(
        tmp_path,
        task="forecasting",
        recording_id="bench-0",
        window_timestamps=starts,
        log_rates=log_rates,
        label="mine",
        seed=45,
        unit_ids=["a", "bcd", "ef"],
    )
    assert path == tmp_path / "mine" / "ts2-forecasting" / "bench-0" / "seed_45.safetensors"
    tensors, metadata = read(path)
    assert torch.equal(tensors["predictions"], log_rates.float())
    assert torch.equal(tensors["window_timestamps"], starts.float())
    assert tensors["unit_ids"].tolist() == [[97, 0, 0], [98, 99, 100], [101, 102, 0]]
    assert metadata["task"] == "ts2-forecasting"


def test_region_files_hold_probabilities_by_unit_and_the_order_of_regions(tmp_path):
    probabilities = torch.rand(3, 10).softmax(1)
    path = save_brain_wide_regions(
        tmp_path, unit_ids=["u1", "u22", "u3"], probabilities=probabilities, label="m", seed=2
    )
    assert path == tmp_path / "m" / "ts3-unit_cosmos" / "seed_2.safetensors"
    tensors, metadata = read(path)
    assert torch.equal(tensors["pred_proba"], probabilities)
    assert bytes(tensors["entity_ids"][1].tolist()) == b"u22"
    assert metadata["label_names"].split(",") == list(BRAIN_WIDE_REGIONS)
    assert "recording_id" not in metadata


def decoding(**changes):
    traces, trials = evaluated("wheel_speed", recordings=("ibl/one",))
    one = trials["bench-0"]
    settings = {"task": "wheel_speed", "trials": trials, "label": "mine", "seed": 1} | {
        name: value for name, value in changes.items() if name not in ("ids", "times", "preds")
    }
    if "ids" in changes or "times" in changes:
        settings["trials"] = {
            "b": BrainWideTrials("ibl/one", changes.get("ids", one.ids), changes.get("times", one.times))
        }
    if "preds" in changes:
        whole = traces["ibl/one"]["wheel_speed"]
        traces = {"ibl/one": {"wheel_speed": StitchedTrace(whole.timestamps, changes["preds"], whole.targets)}}
    return lambda folder: save_brain_wide_decoding(folder, traces, **settings)


def activity(**changes):
    settings = {
        "task": "co_smoothing",
        "recording_id": "b",
        "window_timestamps": torch.arange(3.0),
        "log_rates": torch.ones(3, 5, 2),
        "label": "mine",
        "seed": 1,
    } | changes
    return lambda folder: save_brain_wide_activity(folder, **settings)


def regions(**changes):
    settings = {"unit_ids": ["a", "b"], "probabilities": torch.ones(2, 10), "label": "mine", "seed": 1} | changes
    return lambda folder: save_brain_wide_regions(folder, **settings)


TWICE = torch.tensor([1, 2, 3, 2, 5])
NAN = torch.full((600, 1), float("nan"))


@pytest.mark.parametrize(
    ("save", "kind", "message"),
    [
        (decoding(task="wheel_sped"), KeyError, r"decoding task 'wheel_sped' \(did you mean 'wheel_speed'"),
        (decoding(trials={}), ValueError, "no recordings to write"),
        (decoding(readout="speed"), KeyError, r"recording 'ibl/one' called 'speed' .*; there are wheel_speed"),
        (decoding(rates=True), ValueError, "only licking_rate is"),
        (decoding(ids=TWICE), ValueError, r"wheel_speed, recording 'b' \('ibl/one'\): trial ids must differ"),
        (decoding(ids=torch.ones(5)), ValueError, "expected integer trial ids"),
        (decoding(times=torch.ones(5, 49)), ValueError, r"times \(trials, 50\)"),
        (decoding(times=torch.full((5, 50), 99.0)), ValueError, "250 of 250 times have no prediction"),
        (decoding(preds=torch.ones(600, 2)), ValueError, r"floats \(times, 1\); found torch.float32 \(600, 2\)"),
        (decoding(preds=torch.ones(600).long()), ValueError, "predictions must be floats"),
        (decoding(preds=NAN), ValueError, "250 of 250 predictions are not finite"),
        (decoding(label="../mine"), ValueError, "plain names"),
        (decoding(label=".."), ValueError, "plain names"),
        (activity(task="smoothing"), KeyError, "called 'smoothing'"),
        (activity(log_rates=torch.ones(3, 5)), ValueError, r"log rates \(windows, bins, units\)"),
        (activity(window_timestamps=torch.ones(2)), ValueError, "a start for each window"),
        (activity(window_timestamps=torch.ones(3)), ValueError, "differ from each other"),
        (
            activity(window_timestamps=torch.tensor([9e7, 9e7 + 0.02, 9e7 + 9.0], dtype=torch.float64)),
            ValueError,
            r"differ from each other \(in float32\)",
        ),
        (activity(log_rates=-torch.full((3, 5, 2), float("inf"))), ValueError, "30 of 30 predictions are not finite"),
        (activity(unit_ids=["a"]), ValueError, "2 units were predicted, but 1 ids"),
        (activity(unit_ids=["a", "é"]), ValueError, "ASCII"),
        (activity(recording_id="a/b"), ValueError, "plain names"),
        (regions(probabilities=torch.ones(2, 9)), ValueError, r"\(2 units, 10 regions\); found \(2, 9\)"),
        (regions(unit_ids=["a", "a"]), ValueError, "differ from each other"),
        (regions(unit_ids=["a", ""]), ValueError, "not empty"),
    ],
)
def test_what_the_benchmark_would_not_take_is_refused_before_a_file_is_there(tmp_path, save, kind, message):
    with pytest.raises(kind, match=message):
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_bad_recording_keeps_all_files_from_being_written(tmp_path):
    traces, trials = evaluated("wheel_speed")
    del traces["ibl/two"]
    with pytest.raises(KeyError, match=r"there is no recording 'ibl/two' .*; there are ibl/one"):
        save_brain_wide_decoding(tmp_path, traces, task="wheel_speed", trials=trials, label="mine", seed=1)
    assert list(tmp_path.iterdir()) == []


def test_rates_below_zero_are_no_rates(tmp_path):
    traces, trials = evaluated("licking_rate", recordings=("ibl/one",))
    with pytest.raises(ValueError, match="a rate is negative; are these logarithms already"):
        save_brain_wide_decoding(tmp_path, traces, task="licking_rate", trials=trials, label="a", seed=1, rates=True)


def test_without_safetensors_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"pip install 'nd-eval\[export\]'"):
        regions()(tmp_path)

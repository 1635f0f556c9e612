"""``nd-train export``: a model as a folder, and traces as benchmarks want them."""

import json

import h5py
import numpy as np
import pytest
import torch
import yaml

from nd_data import Data
from nd_eval import StitchedTrace
from nd_eval.export import FALCON_DATASETS, FalconPredictions
from nd_models import add_lora, from_pretrained, save_pretrained
from nd_train import NeuralDecoder
from nd_train.benchmark_layout import BENCHMARKS
from nd_train.cli import main
from nd_train.commands.export import FORMATS
from nd_train.traces import write_traces


def same_state(one, other):
    return set(one) == set(other) and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def test_a_checkpoint_becomes_a_folder_that_holds_the_same_model(nd_train, pretrained, tmp_path, capsys):
    nd_train("export", pretrained, "--output", tmp_path / "shared")
    assert capsys.readouterr().out == f"written: {tmp_path / 'shared'}\n"
    assert sorted(file.name for file in (tmp_path / "shared").iterdir()) == ["config.json", "model.safetensors"]
    model = NeuralDecoder.load_from_checkpoint(pretrained).model
    again = from_pretrained(tmp_path / "shared")
    assert same_state(again.state_dict(), model.state_dict())
    assert again.to_config() == model.to_config()


@pytest.mark.parametrize("merged", [False, True])
def test_low_rank_changes_travel_along_or_become_part_of_the_weights(merged, nd_train, make_model, tmp_path):
    model = make_model()
    model.unit_emb.initialize_vocab(["a"])
    model.session_emb.initialize_vocab(["b"])
    add_lora(model, rank=2)
    save_pretrained(model, tmp_path / "one")
    nd_train("export", tmp_path / "one", "--output", tmp_path / "two", *(["--merge_lora"] * merged))
    assert ("lora" in json.loads((tmp_path / "two" / "config.json").read_text())["model"]) is not merged


@pytest.fixture
def layout(tmp_path):
    """Write a layout; returns its file."""

    def write(**content):
        path = tmp_path / "layout.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def rates(width, *, seconds=60, bin_size=0.02, seed=0):
    times = torch.arange(int(seconds / bin_size), dtype=torch.float64) * bin_size
    values = torch.rand(len(times), width, generator=torch.Generator().manual_seed(seed))
    return StitchedTrace(times, values, torch.zeros_like(values))


@pytest.mark.parametrize("intervals", [False, True])
def test_rates_become_a_submission_to_the_neural_latents_benchmark(intervals, nd_train, layout, tmp_path):
    heldin, heldout = rates(5), rates(3, seed=1)
    traces = write_traces(tmp_path / "traces.h5", {"nlb/maze": {"in": heldin, "out": heldout}})
    starts, train = [40.0, 42.0, 44.5], [1.0, 3.0]
    more = []
    if intervals:
        from nd_data import Interval

        data = Data(
            domain=Interval(0.0, 60.0),
            eval_trials=Interval(np.array(starts), np.array(starts) + 1),
            train_trials=Interval(np.array(train), np.array(train) + 1),
        )
        (tmp_path / "root" / "nlb").mkdir(parents=True)
        data.save(tmp_path / "root" / "nlb" / "maze.h5")
        more = ["--root", tmp_path / "root"]
    file = layout(
        dataset="mc_maze_20",
        recording="nlb/maze",
        heldin="in",
        heldout="out",
        bin=0.02,
        bins=30,
        forward_bins=10,
        eval_trials="eval_trials" if intervals else starts,
        train_trials="train_trials" if intervals else train,
    )
    out = tmp_path / "submission.h5"
    nd_train("export", traces, "--format", "nlb", "--layout", file, "--output", out, *more)
    with h5py.File(out) as submission:
        stored = {name: values[()] for name, values in submission["mc_maze_20"].items()}
    assert stored["eval_rates_heldin"].shape == (3, 30, 5)
    assert stored["train_rates_heldout"].shape == (2, 30, 3)
    first = round(starts[1] / 0.02)
    assert np.array_equal(stored["eval_rates_heldout"][1], heldout.preds.numpy()[first : first + 30])
    assert np.array_equal(stored["eval_rates_heldin_forward"][1], heldin.preds.numpy()[first + 30 : first + 40])


def test_traces_become_falcons_arrays(nd_train, layout, tmp_path):
    names = FALCON_DATASETS["m1"]["held_in"]
    traces = {f"falcon/{name}": {"emg": rates(16, seconds=10, seed=place)} for place, name in enumerate(names)}
    stored = write_traces(tmp_path / "traces.h5", traces)
    datasets = {name: {"recording": f"falcon/{name}", "bin": 0.02, "bins": 400, "start": 1.0} for name in names}
    datasets[names[0]]["evaluated"] = [[2.0, 3.0]]
    file = layout(split="m1", task="emg", datasets=datasets)
    nd_train("export", stored, "--format", "falcon", "--layout", file, "--output", tmp_path / "m1.npz")
    arrays = FalconPredictions.load(tmp_path / "m1.npz").arrays
    assert set(arrays) == set(names)
    assert np.array_equal(arrays[names[1]], traces[f"falcon/{names[1]}"]["emg"].preds.numpy()[50:450])


def test_traces_in_the_scale_of_their_scores_are_exported_in_the_units_of_the_data(nd_train, layout, tmp_path):
    names = FALCON_DATASETS["m1"]["held_in"]
    traces = {f"falcon/{name}": {"emg": rates(16, seconds=10, seed=place)} for place, name in enumerate(names)}
    scale = {"normalize_mean": np.linspace(0, 1, 16).tolist(), "normalize_std": np.linspace(1, 2, 16).tolist()}
    stored = write_traces(tmp_path / "test_traces.h5", traces, attributes={"emg": scale})
    datasets = {name: {"recording": f"falcon/{name}", "bin": 0.02, "bins": 400, "start": 1.0} for name in names}
    file = layout(split="m1", task="emg", datasets=datasets)
    nd_train("export", stored, "--format", "falcon", "--layout", file, "--output", tmp_path / "m1.npz")
    found = FalconPredictions.load(tmp_path / "m1.npz").arrays[names[0]]
    raw = traces[f"falcon/{names[0]}"]["emg"].preds.double().numpy()[50:450]
    expected = raw * np.array(scale["normalize_std"]) + np.array(scale["normalize_mean"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_traces_become_files_of_brain_wide_bench(nd_train, layout, tmp_path):
    from safetensors.torch import load_file

    speed = rates(1)
    stored = write_traces(tmp_path / "traces.h5", {"ibl/one": {"wheel": speed}})
    recordings = {"0802": {"recording": "ibl/one", "ids": [4, 9], "trials": [10.0, 20.0]}}
    file = layout(task="wheel_speed", readout="wheel", label="mine", seed=3, recordings=recordings)
    nd_train("export", stored, "--format", "brain_wide_bench", "--layout", file, "--output", tmp_path / "bwb")
    (path,) = (tmp_path / "bwb").rglob("*.safetensors")
    content = load_file(path)
    assert content["trial_id"].tolist() == [4, 9]
    assert torch.equal(content["predictions"][1], speed.preds[1000:1050])


def test_what_cannot_be_exported_is_an_error_that_says_what_to_do(nd_train, pretrained, layout, tmp_path, capsys):
    traces = write_traces(tmp_path / "t.h5", {"nlb/maze": {"in": rates(5)}})
    good = {"recording": "nlb/maze", "heldin": "in", "heldout": "out", "bin": 0.02, "bins": 30, "eval_trials": [1.0]}
    for words, message in (
        ([traces], "a file of traces is no model"),
        ([pretrained, "--format", "nlb"], f"write them with `nd-train predict {pretrained} --output traces.h5`"),
        ([traces, "--format", "nlb"], "needs --layout FILE.yaml, which says what times the benchmark scores"),
        ([traces, "--format", "nlb", "--layout", tmp_path / "no.yaml"], "no layout at"),
        ([traces, "--format", "nlb", "--layout", layout(**good)], "a layout for nlb lacks dataset"),
        ([traces, "--format", "nlb", "--merge_lora"], "--merge_lora belongs to a model"),
        ([pretrained, "--layout", "x.yaml"], "--layout and --root belong to the formats of benchmarks"),
        ([tmp_path / "no.ckpt"], "does not exist"),
    ):
        assert main(["export", *map(str, words), "--output", str(tmp_path / "out.h5")]) == 1
        assert message in capsys.readouterr().err
    misspelt = layout(**good, dataset="mc_maze_20", recordng="x")
    words = [traces, "--format", "nlb", "--layout", misspelt, "--output", tmp_path / "out.h5"]
    assert main(["export", *map(str, words)]) == 1
    assert "no 'recordng'; did you mean 'recording'?" in capsys.readouterr().err
    unknown = layout(**good, dataset="mc_maze_20")
    assert main(["export", *map(str, [*words[:4], unknown, *words[5:]])]) == 1
    assert "'out'" in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()


def test_every_benchmark_can_be_asked_for():
    assert ("model", *BENCHMARKS) == FORMATS

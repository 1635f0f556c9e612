"""NLB submissions: every rate in its place, and a clear error before anything is written."""

import sys

import numpy as np
import pytest
import torch

from nd_eval import StitchedTrace
from nd_eval.export import nlb_rates, save_nlb_submission

h5py = pytest.importorskip("h5py", reason="the extra 'export' is not installed")

STEP = 0.02


def traces(heldin=3, heldout=2, count=400):
    times = 50.0 + STEP * torch.arange(count, dtype=torch.float64)
    rates = torch.rand(count, heldin + heldout, generator=torch.Generator().manual_seed(0))
    of_recording = {
        "in": StitchedTrace(times, rates[:, :heldin], rates[:, :heldin]),
        "out": StitchedTrace(times, rates[:, heldin:], rates[:, heldin:]),
    }
    return {"nlb/maze": of_recording}, times, rates


def arrays(trials=4, bins=6, heldin=3, heldout=2, forward=False):
    generator = torch.Generator().manual_seed(1)
    kinds = [("eval", ""), ("train", ""), *([("eval", "_forward")] if forward else [])]
    return {
        f"{kind}_rates_{part}{end}": torch.rand(trials, bins, neurons, generator=generator)
        for kind, end in kinds
        for part, neurons in (("heldin", heldin), ("heldout", heldout))
    }


def test_rates_are_cut_at_the_times_of_the_trials():
    source, times, rates = traces()
    places = {"eval_times": [[3, 4, 5], [100, 101, 102]], "train_times": [[7, 8], [9, 10], [300, 301]]}
    asked = {name: times[torch.tensor(place)] for name, place in places.items()}
    found = nlb_rates(source, "nlb/maze", heldin="in", heldout="out", **asked)
    for kind in ("eval", "train"):
        place = torch.tensor(places[f"{kind}_times"])
        assert torch.equal(found[f"{kind}_rates_heldin"], rates[place][..., :3])
        assert torch.equal(found[f"{kind}_rates_heldout"], rates[place][..., 3:])
    assert len(found) == 4
    logs = nlb_rates(source, "nlb/maze", heldin="in", heldout="out", log_rates=True, **asked)
    torch.testing.assert_close(logs["eval_rates_heldin"], found["eval_rates_heldin"].exp())
    forward = nlb_rates(source, "nlb/maze", heldin="in", heldout="out", forward_times=asked["eval_times"], **asked)
    assert torch.equal(forward["eval_rates_heldout_forward"], found["eval_rates_heldout"])


def test_a_bin_without_a_rate_is_an_error_that_says_where():
    source, times, _ = traces()
    with pytest.raises(ValueError, match=r"recording 'nlb/maze', task 'in', eval_rates_heldin: 1 of 2 times have no"):
        nlb_rates(
            source, "nlb/maze", heldin="in", heldout="out", eval_times=times[-1:, None] + torch.tensor([[0.0, STEP]])
        )
    with pytest.raises(KeyError, match="there is no recording 'nlb/maz'"):
        nlb_rates(source, "nlb/maz", heldin="in", heldout="out", eval_times=times[:, None])
    with pytest.raises(KeyError, match=r"called 'heldout' .*; there are in, out"):
        nlb_rates(source, "nlb/maze", heldin="in", heldout="heldout", eval_times=times[:, None])
    with pytest.raises(ValueError, match=r"times must be \(trials, bins\)"):
        nlb_rates(source, "nlb/maze", heldin="in", heldout="out", eval_times=times)
    of_classes = {
        "nlb/maze": dict.fromkeys(("in", "out"), StitchedTrace(times, torch.ones(400).long(), torch.ones(400)))
    }
    with pytest.raises(ValueError, match="rates must be floats"):
        nlb_rates(of_classes, "nlb/maze", heldin="in", heldout="out", eval_times=times[:, None])


def test_the_file_holds_a_group_for_each_data_set_and_every_array(tmp_path):
    datasets = {"mc_maze_20": arrays(forward=True), "mc_rtt": arrays(trials=3), "dmfc_rsg": arrays()}
    datasets["dmfc_rsg"] = {name: rates for name, rates in datasets["dmfc_rsg"].items() if name.startswith("eval")}
    path = save_nlb_submission(tmp_path / "new" / "submission.h5", datasets)
    with h5py.File(path) as file:
        assert set(file) == set(datasets)
        for dataset, of_dataset in datasets.items():
            assert set(file[dataset]) == set(of_dataset)
            for name, rates in of_dataset.items():
                assert file[dataset][name].dtype == np.float32
                np.testing.assert_array_equal(file[dataset][name][()], rates.numpy())
    assert [file.name for file in path.parent.iterdir()] == ["submission.h5"]


def without(name):
    return {key: rates for key, rates in arrays().items() if key != name}


def changed(name, rates, **sizes):
    return {**arrays(**sizes), name: rates}


NEGATIVE = torch.rand(4, 6, 3)
NEGATIVE[2, 5, 1] = -0.5
NOT_FINITE = torch.rand(4, 6, 3)
NOT_FINITE[1, 0, 2] = float("nan")


@pytest.mark.parametrize(
    ("datasets", "kind", "message"),
    [
        ({}, ValueError, "needs one dataset or more"),
        ({"mc_mace": arrays()}, KeyError, r"called 'mc_mace' \(did you mean 'mc_maze'"),
        ({"mc_maze": without("train_rates_heldout")}, KeyError, "mc_maze: train_rates_heldout missing"),
        ({"mc_maze": without("eval_rates_heldin")}, KeyError, "mc_maze: eval_rates_heldin missing"),
        ({"dmfc_rsg": {}}, KeyError, "eval_rates_heldin, eval_rates_heldout missing; found nothing"),
        (
            {"mc_maze": {**arrays(), "eval_rates_heldin_forward": torch.ones(4, 2, 3)}},
            KeyError,
            "eval_rates_heldout_forward missing",
        ),
        ({"mc_maze": {**arrays(), "eval_rate": torch.ones(1, 1, 1)}}, KeyError, "called 'eval_rate'"),
        (
            {"mc_maze": changed("eval_rates_heldin", torch.ones(24, 3))},
            ValueError,
            r"expected \(trials, bins, neurons\)",
        ),
        ({"mc_maze": changed("eval_rates_heldout", torch.ones(5, 6, 2))}, ValueError, r"has \(5, 6\) trials and bins"),
        ({"mc_maze": changed("eval_rates_heldout", torch.ones(4, 7, 2))}, ValueError, r"has \(4, 7\) trials and bins"),
        ({"mc_maze": changed("train_rates_heldin", torch.ones(4, 6, 4))}, ValueError, "has 4 neurons, but eval_rates"),
        (
            {
                "mc_maze": {
                    **arrays(),
                    "eval_rates_heldin_forward": torch.ones(3, 2, 3),
                    "eval_rates_heldout_forward": torch.ones(3, 2, 2),
                }
            },
            ValueError,
            "has 3 trials, but eval_rates_heldin 4",
        ),
        (
            {"mc_maze": changed("eval_rates_heldin", NEGATIVE)},
            ValueError,
            r"found -0\.5 in trial 2, bin 5, neuron 1 \(are these log rates",
        ),
        ({"mc_maze": changed("eval_rates_heldin", NOT_FINITE)}, ValueError, "found nan in trial 1, bin 0, neuron 2$"),
    ],
)
def test_what_the_benchmark_would_not_take_is_refused_before_a_file_is_there(tmp_path, datasets, kind, message):
    with pytest.raises(kind, match=message):
        save_nlb_submission(tmp_path / "submission.h5", datasets)
    assert list(tmp_path.iterdir()) == []


def test_without_h5py_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'nd-eval\[export\]'"):
        save_nlb_submission(tmp_path / "submission.h5", {"mc_maze": arrays()})


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "submission.h5"
    path.write_text("older")

    def fail(self, *args, **settings):
        raise OSError("disk full")

    monkeypatch.setattr(h5py.Group, "create_dataset", fail)
    with pytest.raises(OSError, match="disk full"):
        save_nlb_submission(path, {"mc_maze": arrays()})
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]

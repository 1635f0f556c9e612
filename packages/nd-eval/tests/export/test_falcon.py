"""FALCON arrays: each bin's prediction in its row, whole groups of data sets, and the decoder that plays them back."""

import numpy as np
import pytest
import torch

from nd_eval import StitchedTrace
from nd_eval.export import FALCON_DATASETS, FALCON_DIMENSIONS, FalconBins, FalconPredictions, falcon_predictions

STEP = 0.02


def evaluated(split, *, groups=("held_in",), count=30):
    """Traces that lack the bins that are not scored, and the bins of all data sets."""
    generator = torch.Generator().manual_seed(0)
    traces, bins = {}, {}
    for number, name in enumerate(name for group in groups for name in FALCON_DATASETS[split][group]):
        times = 100.0 * number + STEP * torch.arange(count + number, dtype=torch.float64)
        preds = torch.randn(len(times), FALCON_DIMENSIONS[split], generator=generator)
        mask = torch.rand(len(times), generator=generator) > 0.4
        whole = StitchedTrace(times, preds, preds)
        traces[f"lab/{number}"] = {"output": whole.at(mask), "everywhere": whole}
        bins[name] = FalconBins(f"lab/{number}", times, mask)
    return traces, bins


@pytest.mark.parametrize("split", ["h1", "m1", "m2", "b1"])
def test_scored_bins_hold_their_prediction_and_others_nothing(split):
    traces, bins = evaluated(split, groups=("held_in", "held_out"))
    predictions = falcon_predictions(traces, split, task="output", bins=bins)
    assert set(predictions.arrays) == {name for group in FALCON_DATASETS[split].values() for name in group}
    for name, of_dataset in bins.items():
        rows = predictions.arrays[name]
        assert rows.dtype == np.float32
        assert rows.shape == (len(of_dataset.times), *((1,) if split == "b1" else ()), FALCON_DIMENSIONS[split])
        rows = rows.reshape(len(rows), -1)
        expected = traces[of_dataset.recording]["everywhere"].preds.numpy()
        mask = of_dataset.evaluated.numpy()
        np.testing.assert_array_equal(rows[mask], expected[mask])
        assert not rows[~mask].any()


def test_data_sets_are_in_the_order_in_which_falcon_counts_off_sessions():
    traces, bins = evaluated("h1", groups=("held_out",))
    names = list(falcon_predictions(traces, "h1", task="output", bins=bins).arrays)
    sessions = [name.split("_")[0] for name in names]
    assert sessions == sorted(sessions)
    assert names[:2] == ["S10_set_1", "S10_set_2"]
    traces, bins = evaluated("m2")
    names = list(falcon_predictions(traces, "m2", task="output", bins=bins).arrays)
    assert names[:3] == ["Run1_20201019", "Run2_20201019", "Run1_20201020"]


def test_every_bin_must_be_predicted_where_no_mask_is_given():
    traces, bins = evaluated("m1")
    every = {name: FalconBins(of.recording, of.times) for name, of in bins.items()}
    rows = falcon_predictions(traces, "m1", task="everywhere", bins=every).arrays["20120924"]
    np.testing.assert_array_equal(rows, traces["lab/0"]["everywhere"].preds)
    with pytest.raises(ValueError, match=r"FALCON m1, data set '20120924', recording 'lab/0': \d+ of 30 times have no"):
        falcon_predictions(traces, "m1", task="output", bins=every)


def test_a_prediction_that_is_not_finite_is_refused_only_where_it_is_scored():
    traces, bins = evaluated("m1")
    one, mask = traces["lab/0"]["everywhere"], bins["20120924"].evaluated
    one.preds[~mask] = float("nan")
    assert np.isfinite(falcon_predictions(traces, "m1", task="everywhere", bins=bins).arrays["20120924"]).all()
    one.preds[int(mask.nonzero()[0]), 3] = float("inf")
    with pytest.raises(ValueError, match=r"data set '20120924', .* not finite"):
        falcon_predictions(traces, "m1", task="everywhere", bins=bins)


def test_spectrograms_may_have_a_mask_for_each_frequency():
    traces, bins = evaluated("b1")
    spread = {
        name: FalconBins(of.recording, of.times, of.evaluated[:, None].expand(-1, 158)) for name, of in bins.items()
    }
    plain = falcon_predictions(traces, "b1", task="output", bins=bins)
    for name, rows in falcon_predictions(traces, "b1", task="output", bins=spread).arrays.items():
        np.testing.assert_array_equal(rows, plain.arrays[name])


def test_the_payload_is_a_split_of_data_sets_and_a_latency():
    traces, bins = evaluated("m1")
    predictions = falcon_predictions(traces, "m1", task="output", bins=bins)
    payload = predictions.payload(normalized_latency=0.25)
    assert list(payload) == ["m1"]
    assert payload["m1"].pop("normalized_latency") == 0.25
    assert all(payload["m1"][name] is rows for name, rows in predictions.arrays.items())
    payload["m1"].clear()
    assert len(predictions.arrays) == 4


def test_arrays_are_saved_and_loaded_without_pickle(tmp_path):
    traces, bins = evaluated("h1")
    predictions = falcon_predictions(traces, "h1", task="output", bins=bins)
    path = predictions.save(tmp_path / "new" / "h1.npz")
    loaded = FalconPredictions.load(path)
    assert loaded.split == "h1"
    assert list(loaded.arrays) == list(predictions.arrays)
    for name, rows in predictions.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], rows)
    assert [file.name for file in path.parent.iterdir()] == ["h1.npz"]
    with pytest.raises(ValueError, match=r"saved as \.npz; found 'h1\.pkl'"):
        predictions.save(tmp_path / "h1.pkl")
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="no predictions of one FALCON split; found weights"):
        FalconPredictions.load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", **{"m1/20120924": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        FalconPredictions.load(tmp_path / "objects.npz")


def test_the_decoder_plays_rows_back_file_by_file():
    traces, bins = evaluated("m1")
    predictions = falcon_predictions(traces, "m1", task="output", bins=bins)
    decoder = predictions.decoder(lambda path: path.stem.split("_")[1], batch_size=2)
    assert decoder.batch_size == 2
    names = ["20120924", "20120928"]
    decoder.reset(dataset_tags=[f"folder/L_{name}_held_in_eval.nwb" for name in names])
    played = []
    for _ in range(33):
        played.append(decoder.predict(np.zeros((2, 64))))
        decoder.on_done(np.zeros(2))
    played = np.stack(played, axis=1)
    np.testing.assert_array_equal(played[0, :30], predictions.arrays["20120924"])
    assert not played[0, 30:].any()  # padded to the longer file
    np.testing.assert_array_equal(played[1], predictions.arrays["20120928"])
    decoder.reset(dataset_tags=["L_20120926_held_in_eval.nwb"])
    decoder.observe(np.zeros((1, 64)))
    np.testing.assert_array_equal(decoder.predict(np.zeros((1, 64)))[0], predictions.arrays["20120926"][1])
    with pytest.raises(ValueError, match="open for 1 files, but 2 were served"):
        decoder.predict(np.zeros((2, 64)))
    with pytest.raises(KeyError, match="no predictions for 20121004; there are 20120924"):
        decoder.reset(dataset_tags=["L_20121004_held_out_eval.nwb"])
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        decoder.set_batch_size(0)


def test_spectrograms_cannot_be_played_back_bin_by_bin():
    traces, bins = evaluated("b1")
    with pytest.raises(ValueError, match="trial by trial"):
        falcon_predictions(traces, "b1", task="output", bins=bins).decoder(str)


def test_what_falcon_would_not_take_is_one_clear_error():
    traces, bins = evaluated("m1")
    with pytest.raises(ValueError, match="h2 is scored by the text"):
        falcon_predictions(traces, "h2", task="output", bins=bins)
    with pytest.raises(KeyError, match="there is no FALCON split 'm3'"):
        falcon_predictions(traces, "m3", task="output", bins=bins)
    with pytest.raises(KeyError, match=r"called '20120925' \(did you mean '2012092\d'"):
        falcon_predictions(traces, "m1", task="output", bins={"20120925": bins["20120924"]})
    chosen = {name: bins[name] for name in ("20120924", "20120927")}
    with pytest.raises(KeyError, match="held_in data sets together; missing are 20120926, 20120928"):
        falcon_predictions(traces, "m1", task="output", bins=chosen)
    with pytest.raises(KeyError, match="needs the held-in data sets, the held-out ones, or both"):
        falcon_predictions(traces, "m1", task="output", bins={})
    with pytest.raises(KeyError, match="there is no recording 'lab/3'"):
        falcon_predictions({n: t for n, t in traces.items() if n != "lab/3"}, "m1", task="output", bins=bins)
    with pytest.raises(ValueError, match=r"predictions must be floats \(times, 16\); found torch.float32 \(\d+, 7\)"):
        falcon_predictions(evaluated("h1")[0], "m1", task="output", bins=bins)
    short = {name: FalconBins(of.recording, of.times, of.evaluated[1:]) for name, of in bins.items()}
    with pytest.raises(ValueError, match=r"one entry, or row, for each of the 30 bins; found \(29,\)"):
        falcon_predictions(traces, "m1", task="output", bins=short)
    square = {name: FalconBins(of.recording, of.times[:, None]) for name, of in bins.items()}
    with pytest.raises(ValueError, match=r"bin times must be \(bins,\)"):
        falcon_predictions(traces, "m1", task="output", bins=square)

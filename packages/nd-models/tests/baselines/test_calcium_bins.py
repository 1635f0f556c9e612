"""The baselines on calcium traces: means in bins, and that they can be trained on them."""

import numpy as np
import pytest

from nd_data import ArrayDict, Data, Dataset, Interval, IrregularTimeSeries, RegularTimeSeries, collate
from nd_data.samplers import SequentialFixedWindowSampler
from nd_data.simulate_calcium import simulate_calcium_recordings
from nd_models import WienerDecoder
from nd_models.baselines.calcium_bins import mean_values


def window_with(times, values) -> Data:
    domain = Interval(0.0, 1.0)
    return Data(
        units=ArrayDict(id=np.array([f"cell_{cell}" for cell in range(np.shape(values)[1])])),
        calcium_traces=IrregularTimeSeries(np.asarray(times), df_over_f=np.asarray(values), domain=domain),
        session=Data(id="mouse/1"),
        domain=domain,
    )


def test_a_bin_holds_the_mean_of_its_frames_and_a_border_is_the_later_bins():
    rng = np.random.default_rng(0)
    times, values = np.arange(40) / 40.0, rng.normal(size=(40, 3))
    values[rng.random((40, 3)) < 0.2] = np.nan
    found = mean_values(window_with(times, values), sequence_length=1.0, bin_size=0.1)
    expected = [[np.nanmean(values[4 * number : 4 * number + 4, cell]) for number in range(10)] for cell in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_bins_without_a_value_lie_between_their_neighbours():
    values = [[1.0, np.nan], [4.0, np.nan]]
    found = mean_values(window_with([0.15, 0.45], values), sequence_length=1.0, bin_size=0.1)
    np.testing.assert_allclose(found[0], [1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0], atol=1e-6)
    assert not found[1].any()


def test_frames_that_fill_a_gap_do_not_count():
    window = window_with([0.0], [[1.0]])
    frames = np.array([0, 1, 8, 9]) / 10.0
    window.calcium_traces = RegularTimeSeries.from_gappy_timeseries(
        frames, 10.0, gap_value=-100.0, df_over_f=np.array([[1.0], [1.0], [3.0], [3.0]])
    )
    found = mean_values(window, sequence_length=1.0, bin_size=0.5)
    np.testing.assert_allclose(found, [[1.0, 3.0]])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("calcium")
    simulate_calcium_recordings(root, sessions=1, minutes=2.0, cells=20, noise=0.1, seed=2)
    return root


def test_a_wiener_decoder_reads_running_out_of_calcium(recordings):
    config = {"config": {"multitask_readout": [{"readout_id": "running_speed"}]}}
    model = WienerDecoder(sequence_length=2.0, bin_size=0.1, lags=range(-5, 6), readout_specs=["running_speed"])

    def batches(split):
        dataset = Dataset(recordings, config=config, split=split, transform=model.tokenize)
        sampler = SequentialFixedWindowSampler(dataset.get_sampling_intervals(), window_length=2.0)
        return [collate([dataset[index]]) for index in sampler]

    whole = Dataset(recordings, config=config)
    model.unit_emb.initialize_vocab(whole.get_unit_ids())
    model.session_emb.initialize_vocab(whole.get_session_ids())
    model.fit(batches("train"), batches("valid"))
    read, recorded = [], []
    for batch in batches("test"):
        read.append(model(**batch["model_inputs"])["running_speed"].detach().numpy().ravel())
        recorded.append(batch["target_values"]["running_speed"].numpy().ravel())
    predictions, targets = np.concatenate(read), np.concatenate(recorded)
    assert 1 - ((predictions - targets) ** 2).mean() / targets.var() > 0.5

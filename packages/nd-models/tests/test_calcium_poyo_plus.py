"""What only the calcium form of POYO+ promises: a token for each cell and frame, with the cell's value."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import ArrayDict, Data, Dataset, DatasetIndex, Interval, IrregularTimeSeries, RegularTimeSeries, collate
from nd_data.transforms import Compose, UnitDropout
from nd_models import MODALITY_REGISTRY, CalciumPOYOPlus

CONFIG = {"multitask_readout": [{"readout_id": "running_speed", "weights": {"bouts": 3.0}}]}
CELLS = {"mouse/one": 5, "mouse/two": 3}
RATE = 30.0


def make_recording(recording_id: str, cells: int, seed: int, dtype: str = "float32") -> Data:
    rng = np.random.default_rng(seed)
    domain = Interval(0.0, 20.0)
    brainset, session = recording_id.split("/")
    return Data(
        brainset=Data(id=brainset),
        session=Data(id=session),
        subject=Data(id="someone"),
        units=ArrayDict(id=np.array([f"cell_{cell}" for cell in range(cells)])),
        calcium_traces=RegularTimeSeries(
            sampling_rate=RATE, df_over_f=rng.normal(size=(600, cells)).astype(dtype), domain=domain
        ),
        running=IrregularTimeSeries(
            np.arange(400) * 0.05 + 0.003, running_speed=rng.normal(size=(400, 1)), domain=domain
        ),
        bouts=Interval(np.arange(0.0, 20.0, 2.0), np.arange(0.0, 20.0, 2.0) + 0.7),
        domain=domain,
    )


@pytest.fixture(scope="module")
def root(save_recordings):
    return save_recordings(
        {
            name: make_recording(name, cells, seed, "float64" if seed else "float32")
            for seed, (name, cells) in enumerate(CELLS.items())
        }
    )


def make_dataset(root, transform=None) -> Dataset:
    return Dataset(root, config=[{"selection": [{"brainset": "mouse"}], "config": CONFIG}], transform=transform)


@pytest.fixture(scope="module")
def setup(root):
    dataset = make_dataset(root)
    model = CalciumPOYOPlus(
        sequence_length=1.0,
        latent_step=0.25,
        num_latents_per_step=2,
        dim=16,
        dim_head=8,
        depth=1,
        readout_specs={"running_speed": MODALITY_REGISTRY["running_speed"]},
    )
    model.unit_emb.initialize_vocab(dataset.get_unit_ids())
    model.session_emb.initialize_vocab(dataset.get_session_ids())
    return dataset, model.eval()


def tokens_of(model, window) -> dict[str, np.ndarray]:
    return {
        key: getattr(value, "obj", value)
        for key, value in model.tokenize(window)["model_inputs"].items()
        if key in ("input_unit_index", "input_timestamps", "input_values")
    }


def assert_identical(one, other) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_identical(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, one.is_contiguous()) == (other.dtype, other.shape, other.is_contiguous())
        assert one.numpy().tobytes() == other.numpy().tobytes()
    else:
        assert one == other


def test_every_cell_has_a_token_in_every_frame(setup):
    dataset, model = setup
    window = dataset.get("mouse/two", 3.0, 4.0)
    found = tokens_of(model, window)
    expected = [
        (model.unit_emb.vocab[f"mouse/two/cell_{cell}"], frame / RATE, window.calcium_traces.df_over_f[frame, cell])
        for frame in range(30)
        for cell in range(3)
    ]
    assert found["input_unit_index"].tolist() == [row for row, _, _ in expected]
    np.testing.assert_allclose(found["input_timestamps"], [time for _, time, _ in expected], atol=1e-9)
    assert found["input_values"].tolist() == [[value] for _, _, value in expected]


windows = st.lists(
    st.tuples(st.sampled_from(sorted(CELLS)), st.integers(0, 150), st.sampled_from([0.0, 0.01, 0.5, 1.0])),
    min_size=1,
    max_size=5,
)


@settings(max_examples=30, deadline=None)
@given(chosen=windows)
def test_a_batch_is_that_of_its_windows(setup, chosen):
    dataset, model = setup
    cut = [dataset.get(name, start / 8, start / 8 + length) for name, start, length in chosen]
    assert_identical(model.tokenize_batch(cut), collate([model.tokenize(window) for window in cut]))


@pytest.mark.parametrize("gap_value", [np.nan, 0.0])
def test_what_was_not_measured_has_no_token(setup, gap_value):
    dataset, model = setup
    frames = np.array([0, 1, 2, 6, 7])
    values = np.arange(10.0).reshape(5, 2)
    values[1, 0] = np.nan
    window = dataset.get("mouse/two", 0.0, 1.0)
    window.units = ArrayDict(id=window.units.id[:2])
    window.calcium_traces = RegularTimeSeries.from_gappy_timeseries(
        frames / RATE, RATE, gap_value=gap_value, df_over_f=values
    )
    found = tokens_of(model, window)
    assert found["input_values"].ravel().tolist() == [0.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    np.testing.assert_allclose(found["input_timestamps"] * RATE, [0, 0, 1, 2, 2, 6, 6, 7, 7], atol=1e-6)
    first, second = (model.unit_emb.vocab[f"mouse/two/cell_{cell}"] for cell in (0, 1))
    assert found["input_unit_index"].tolist() == [first, second, second, *(first, second) * 3]
    other = dataset.get("mouse/one", 0.0, 1.0)
    assert_identical(model.tokenize_batch([window, other]), collate([model.tokenize(window), model.tokenize(other)]))


def test_frames_at_any_times_will_do(setup):
    dataset, model = setup
    window = dataset.get("mouse/two", 0.0, 1.0)
    times = np.array([0.0, 0.11, 0.5])
    window.calcium_traces = IrregularTimeSeries(times, df_over_f=np.ones((3, 3)), domain=Interval(0.0, 1.0))
    np.testing.assert_array_equal(tokens_of(model, window)["input_timestamps"], np.repeat(times, 3))


def test_cells_can_be_dropped_by_the_transforms_for_units(setup, root):
    _, model = setup
    dropout = UnitDropout(field="calcium_traces.df_over_f", min_units=1, mode_units=1, max_units=1, seed=0)
    dataset = make_dataset(root, Compose([dropout, model.tokenize]))
    batch = collate(dataset.__getitems__([DatasetIndex(name, 1.0, 2.0) for name in CELLS]))
    rows, mask = batch["model_inputs"]["input_unit_index"], batch["model_inputs"]["input_mask"]
    assert mask.sum(dim=1).tolist() == [30, 30]
    for cells, real in zip(rows, mask, strict=True):
        assert len(set(cells[real].tolist())) == 1


def test_values_in_double_precision_are_taken_by_a_model_in_single(setup):
    dataset, model = setup
    batch = collate([model.tokenize(dataset.get("mouse/two", 0.0, 1.0))])["model_inputs"]
    assert batch["input_values"].dtype == torch.float64
    single = {**batch, "input_values": batch["input_values"].float()}
    with torch.no_grad():
        torch.testing.assert_close(model(**batch), model(**single), rtol=0, atol=0)


def test_the_value_of_a_cell_reaches_only_the_first_half_of_its_token(setup):
    _, model = setup
    units, values = torch.tensor([[1, 2, 1]]), torch.tensor([[[0.5], [0.5], [-2.0]]])
    tokens = model.embed_inputs(units, values)
    assert tokens.shape == (1, 3, 16)
    torch.testing.assert_close(tokens[0, 0, :8], tokens[0, 1, :8])
    torch.testing.assert_close(tokens[0, 0, 8:], tokens[0, 2, 8:])
    assert not torch.equal(tokens[0, 0, :8], tokens[0, 2, :8])


def test_what_nobody_reads_is_kept_in_the_state_and_does_not_learn(setup):
    _, model = setup
    assert model.state_dict()["token_type_emb.weight"].shape == (4, 16)
    assert "token_type_emb.weight" not in dict(model.named_parameters())


@pytest.mark.parametrize(
    ("traces", "message"),
    [
        (np.zeros((30, 4)), r"one column for each of 3 units, got float64 of shape \(30, 4\)"),
        (np.zeros((30, 3), dtype=np.int64), "must be floating point .* got int64"),
        (np.zeros(30), r"of shape \(30,\)"),
    ],
)
def test_traces_that_do_not_fit_the_cells_are_refused(setup, traces, message):
    dataset, model = setup
    window = dataset.get("mouse/two", 0.0, 1.0)
    window.calcium_traces = RegularTimeSeries(sampling_rate=RATE, df_over_f=traces)
    with pytest.raises(ValueError, match=f"recording 'mouse/two': calcium_traces.df_over_f.*{message}"):
        model.tokenize(window)


def test_a_recording_without_traces_says_what_it_has(setup, make_window):
    _, model = setup
    data = Data(
        units=ArrayDict(id=np.array(["mouse/one/cell_0"])), session=Data(id="mouse/one"), domain=Interval(0.0, 1.0)
    )
    data.config = {"multitask_readout": []}
    with pytest.raises(KeyError, match=r"'mouse/one' has no calcium_traces.df_over_f, .*; known"):
        model.tokenize(data)


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="dim must be even"):
        CalciumPOYOPlus(sequence_length=1.0, latent_step=0.5, dim=15, dim_head=8)

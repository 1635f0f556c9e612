"""Traces that are scored in another scale are drawn in the units of the data."""

import json

import numpy as np
import pytest
import torch

from nd_eval import StitchedTrace
from nd_train.report import figures, write_report
from nd_train.traces import read_traces, write_traces

VELOCITY = "cursor_velocity_2d"
SCALES = {
    "lab/day_1": {VELOCITY: {"normalize_mean": [1.5, -2.0], "normalize_std": [4.0, 0.5]}},
    "lab/day_2": {VELOCITY: {"normalize_mean": 10.0}},
}


@pytest.fixture
def scaled_run(make_run):
    """A run whose recordings are scaled each in its own way; and its traces in the units of the data."""
    folder = make_run(*SCALES, classes=False)
    path = folder / "test_traces.h5"
    traces = read_traces(path)
    write_traces(path, traces, attributes={VELOCITY: {"unit": "cm/s"}}, of_recordings=SCALES)
    restored = {}
    for name, by_task in traces.items():
        scale = SCALES[name][VELOCITY]
        mean, std = (np.array(scale.get(key, usual)) for key, usual in (("normalize_mean", 0.0), ("normalize_std", 1)))
        restored[name] = by_task[VELOCITY].targets.double().numpy() * std + mean
    return folder, restored


def test_the_page_draws_them_in_the_units_of_the_data(scaled_run):
    folder, restored = scaled_run
    write_report(folder, baselines=False)
    page = (folder / "report.html").read_text()
    content = json.loads(page.split('id="content">')[1].split("</script>")[0])
    assert "The traces do not give the stored scores again" not in page  # they are compared in the scale of the scores
    for trace in content["traces"]:
        assert trace["unit"] == "cm/s"
        for dimension, values in zip(trace["dimensions"], restored[trace["recording"]].T, strict=True):
            assert dimension["low"] <= values.min() + 1e-5
            assert dimension["high"] >= values.max() - 1e-5
            assert dimension["high"] - dimension["low"] < 2.5 * np.ptp(values)


def test_figures_draw_them_in_the_units_of_the_data(scaled_run, tmp_path, monkeypatch):
    folder, restored = scaled_run
    seen = {}
    draw = figures.plot_traces
    monkeypatch.setattr(
        figures, "plot_traces", lambda source, **how: seen.update(source, how=how) or draw(source, **how)
    )
    write_report(folder, tmp_path / "figures", format="png", baselines=False)
    assert seen.pop("how")["unit"] == "cm/s"
    assert set(seen) == set(SCALES)
    for name, trace in seen.items():
        np.testing.assert_allclose(trace.targets.double().numpy(), restored[name], rtol=1e-5, atol=1e-5)


def test_names_of_labels_are_names_of_their_lines(make_run, tmp_path, monkeypatch):
    folder = make_run("lab/day_1", left_out=("test_traces.h5", "test_scores.json"))
    labels = (torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    trace = StitchedTrace(torch.arange(300).double() / 100, labels - 0.25, labels)
    known = {"licks": {"class_names": ["left", "right"]}}
    write_traces(folder / "test_traces.h5", {"lab/day_1": {"licks": trace}}, attributes=known)
    write_report(folder, baselines=False)
    content = json.loads((folder / "report.html").read_text().split('id="content">')[1].split("</script>")[0])
    assert content["traces"][0]["names"] == ["left", "right"]
    seen = {}
    draw = figures.plot_traces
    monkeypatch.setattr(figures, "plot_traces", lambda source, **how: seen.update(how) or draw(source, **how))
    write_report(folder, tmp_path / "figures", format="png", baselines=False)
    assert (seen["dimension_names"], seen["class_names"]) == (["left", "right"], None)

"""Forecasts of persons out of a table of predictions."""

import json

import numpy as np
import pytest

from nd_train.report import write_report
from nd_train.report.forecasts import read_forecasts

HEADING = "sequence,time,outcome,prediction,target,observed,out_of_time,out_of_sequence,infilled\n"


def table(tmp_path, *lines):
    path = tmp_path / "test_predictions.csv"
    path.write_text(HEADING + "".join(f"{line}\n" for line in lines))
    return path


def test_every_person_and_outcome_is_a_trace_in_the_order_of_time(tmp_path):
    lines = ["anna,2,mood,0.5,1.5,True,True,False,False", "anna,1,mood,0.25,,False,False,False,False"]
    found = read_forecasts(table(tmp_path, *lines, "bert,1,sleep,7,8,True,False,True,False"))
    trace = found.traces["anna"]["mood"]
    assert trace.timestamps.tolist() == [1.0, 2.0]
    assert trace.preds[:, 0].tolist() == [0.25, 0.5]
    assert np.isnan(trace.targets[0].item())
    assert trace.targets[1, 0] == 1.5
    assert found.traces["bert"]["sleep"].preds.tolist() == [[7.0]]


def test_the_score_is_the_mean_over_persons_of_their_own_error_on_held_out_points(tmp_path):
    lines = [
        f"p{person},{time},mood,{person},0,True,{time > 2},False,False" for person in range(5) for time in range(4)
    ]
    # A long sequence counts as much as a short one, and what was trained on does not count.
    lines += [f"p4,{time},mood,4,0,True,True,False,False" for time in range(4, 60)]
    found = read_forecasts(table(tmp_path, *lines))
    score = found.scores["mood"]
    assert (score.value, score.persons) == (2.0, 5)
    assert 0.0 < score.low < 2.0 < score.high < 4.0


def test_classes_are_counted_right_or_wrong(tmp_path):
    lines = ["a,1,stage,2,2,True,True,False,False", "a,2,stage,1,2,True,True,False,False"]
    found = read_forecasts(table(tmp_path, *lines), classes=True)
    assert found.metric == "accuracy"
    assert found.scores["stage"].value == 0.5


def test_dates_become_days_since_the_first(tmp_path):
    lines = [f"a,2024-03-{day:02d},mood,1,1,True,True,False,False" for day in (1, 3)]
    found = read_forecasts(table(tmp_path, *lines))
    assert found.time_label == "days since 2024-03-01"
    assert found.traces["a"]["mood"].timestamps.tolist() == [0.0, 2.0]


def test_a_table_of_something_else_is_refused(tmp_path):
    path = tmp_path / "test_predictions.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="found no sequence, time"):
        read_forecasts(path)


def test_the_page_has_a_headline_and_a_trace_of_every_person(tmp_path):
    lines = [
        f"p{person},{time},mood,{time + 1},{time},True,True,False,False" for person in range(30) for time in range(9)
    ]
    folder = table(tmp_path, *lines).parent
    (folder / "test_scores.json").write_text(json.dumps({"test_loss": 1.0, "epoch": 3, "sanity_check": False}))
    (folder / "config.yaml").write_text("system: longitudinal\n")
    (page,) = write_report(folder)
    text = page.read_text()
    assert '<span class="value">1.000</span> <span class="label">mean absolute error</span>' in text
    assert "Mean over 30 sequences" in text
    assert text.count('<script type="text/plain" id="trace-') == 30
    assert "sanity_check" not in text.split("</main>")[0].split("test_loss")[1].split("</dl>")[0]

"""Classes on the page and in figures: which were taken for which, by name."""

import json

import numpy as np
import torch

from nd_eval import StitchedTrace
from nd_train.report import write_report
from nd_train.report.confusion_tables import MOST_CLASSES, confusion_tables
from nd_train.report.run_folder import read_run_folder
from nd_train.report.score_sheet import score_sheet
from nd_train.traces import read_traces, write_traces

PHASE = "movement_phase"
NAMES = ["rest", "<reach>", "hold & wait", "return"]


def table_of(folder):
    run = read_run_folder(folder)
    (table,) = confusion_tables(run, score_sheet(run, resamples=100))
    return table


def test_the_table_counts_every_true_and_predicted_class_of_all_recordings(make_run):
    folder = make_run("lab/day_1", "lab/day_2", known={PHASE: {"class_names": NAMES}})
    expected = np.zeros((4, 4), dtype=int)
    for by_task in read_traces(folder / "test_traces.h5").values():
        np.add.at(expected, (by_task[PHASE].targets.numpy(), by_task[PHASE].preds.numpy().argmax(axis=1)), 1)
    table = table_of(folder)
    assert (table["task"], table["recordings"], table["labels"]) == (PHASE, "2 recordings", NAMES)
    for name, row, counts in zip(NAMES, table["rows"], expected, strict=True):
        assert row["name"] == name
        assert row["total"] == f"{counts.sum():,}"
        assert [cell["count"] for cell in row["cells"]] == [f"{count:,}" for count in counts]
        assert [cell["share"] for cell in row["cells"]] == [round(100 * count / counts.sum()) for count in counts]


def test_names_of_classes_stand_on_the_page_as_they_are(make_run):
    folder = make_run("lab/day_1", known={PHASE: {"class_names": NAMES}})
    write_report(folder, baselines=False)
    page = (folder / "report.html").read_text()
    for name in ("rest", "&lt;reach&gt;", "hold &amp; wait", "return"):
        assert f'<th scope="row">{name}</th>' in page
    content = json.loads(page.split('id="content">')[1].split("</script>")[0])
    (trace,) = (one for one in content["traces"] if one["task"] == PHASE)
    assert trace["class_names"] == {str(place): name for place, name in enumerate(NAMES)}


def test_classes_that_never_come_up_are_shown_where_they_have_a_name(make_run, tmp_path):
    folder = make_run("lab/day_1", known={PHASE: {"class_names": [*NAMES, "sleep"]}})
    table = table_of(folder)
    assert table["labels"] == [*NAMES, "sleep"]
    assert table["rows"][-1]["total"] == "0"
    assert {cell["known"] for cell in table["rows"][-1]["cells"]} == {False}
    write_report(folder, tmp_path / "figures", format="png", baselines=False)
    assert (tmp_path / "figures" / f"confusion_{PHASE}.png").is_file()


def test_without_names_classes_have_numbers_and_without_classes_there_is_no_table(make_run, make_run_in, tmp_path):
    assert table_of(make_run("lab/day_1"))["labels"] == ["0", "1", "2", "3"]
    run = read_run_folder(make_run_in(tmp_path / "other", "lab/day_1", classes=False))
    assert confusion_tables(run, score_sheet(run, resamples=100)) == []


def test_more_classes_than_anyone_reads_are_counted_only(make_run):
    folder = make_run("lab/day_1", left_out=("test_traces.h5", "test_scores.json"))
    targets = torch.arange(400) % (MOST_CLASSES + 1)
    frames = StitchedTrace(torch.arange(400).double(), torch.eye(MOST_CLASSES + 1)[targets], targets)
    write_traces(folder / "test_traces.h5", {"lab/day_1": {"frame": frames}})
    table = table_of(folder)
    assert (table["rows"], table["classes"]) == ([], MOST_CLASSES + 1)
    write_report(folder, baselines=False)
    assert f"{MOST_CLASSES + 1} classes are too many for a table" in (folder / "report.html").read_text()

"""``metrics.csv``, which a run before and after a kill write together."""

import csv

import pytest

from nd_train.metrics_file import MetricsFile


@pytest.fixture
def logger(tmp_path):
    """A new logger of the same folder, each time."""
    return lambda: MetricsFile(tmp_path, name="", version="")


def rows(tmp_path):
    with (tmp_path / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def write(logger, *steps, name="loss"):
    for step in steps:
        logger.log_metrics({name: step / 2}, step=step)
    logger.save()


def test_a_second_logger_adds_to_the_file_of_the_first(tmp_path, logger):
    write(logger(), 0, 1)
    second = logger()
    write(second, 2)
    write(second, 2, name="accuracy")
    assert rows(tmp_path) == [
        *({"loss": step / 2, "step": step} for step in range(3)),
        {"accuracy": 1.0, "step": 2.0},
    ]


def test_numbers_are_on_the_disk_before_a_second_logger_says_anything(tmp_path, logger):
    write(logger(), 0, 1)
    assert logger().experiment is not None
    assert [row["step"] for row in rows(tmp_path)] == [0, 1]


def test_what_comes_behind_a_checkpoint_is_forgotten_and_written_anew(tmp_path, logger):
    first = logger()
    write(first, *range(3))
    assert first.rows == 3
    write(first, 3, 4)
    second = logger()
    second.keep_first(3)
    write(second, 3, 4)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert second.rows == 5


def test_a_run_that_begins_anew_forgets_what_another_process_wrote_and_nothing_of_its_own(tmp_path, logger):
    write(logger(), *range(3))
    second = logger()
    write(second, 0, name="own")
    second.forget_inherited()
    second.forget_inherited()
    assert rows(tmp_path) == [{"own": 0.0, "step": 0.0}]


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path, logger, cut):
    write(logger(), *range(3))
    file = tmp_path / "metrics.csv"
    file.write_bytes(file.read_bytes()[:-cut])
    second = logger()
    second.keep_first(3)
    write(second, 2)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2]


def test_a_file_without_its_first_line_is_begun_anew(tmp_path, logger):
    (tmp_path / "metrics.csv").write_text("lo")
    write(logger(), 0)
    assert [row["step"] for row in rows(tmp_path)] == [0]

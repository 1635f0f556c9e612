"""Handles: opened on first use, bounded in number, closed when asked."""

from pathlib import Path

import numpy as np
import pytest

from nd_data import (
    Data,
    IrregularTimeSeries,
)
from nd_data.storage import OPEN_FILES, OpenFiles, RecordingFile


def open_descriptors(folder):
    """How many descriptors and maps of this process lead into a folder, by what the system says."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith(str(folder))
        except OSError:
            continue
    return count


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors through /proc")


@needs_proc
def test_opening_a_recording_holds_no_descriptor_until_something_is_read(path):
    OPEN_FILES.close()
    data = Data.load(path)
    window = data.slice(1.0, 2.0)
    assert open_descriptors(path.parent) == 0
    _ = window.spikes.timestamps
    assert open_descriptors(path.parent) == 1
    data.close()
    assert open_descriptors(path.parent) == 0
    assert len(data.slice(2.0, 3.0).spikes) > 0  # opens again


@needs_proc
@pytest.mark.parametrize("compress", [False, True])
def test_no_more_files_than_the_limit_are_open(tmp_path, compress, compressed_copy):
    recordings = []
    for number in range(12):
        path = tmp_path / f"{number}.h5"
        Data(row=np.full(3, number), spikes=IrregularTimeSeries([0.5], n=[number], domain="auto"), domain="auto").save(
            path
        )
        recordings.append(Data.load(compressed_copy(path) if compress else path))
        if compress:
            path.unlink()
            (tmp_path / "compressed.h5").rename(path)
            recordings[-1] = Data.load(path)
    OPEN_FILES.close()
    limit, OPEN_FILES.limit = OPEN_FILES.limit, 4
    try:
        for _ in range(2):
            for number, data in enumerate(recordings):
                assert data.slice(0.0, 1.0).spikes.n.tolist() == [number]
                assert open_descriptors(tmp_path) <= 4
        assert len(OPEN_FILES) == 4
    finally:
        OPEN_FILES.limit = limit


def test_the_least_recently_used_file_is_closed_first(tmp_path, make_recording):
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.h5"
        make_recording().slice(0.0, 1.0).save(path)
        files.append(RecordingFile(path))
    held = OpenFiles(limit=2)
    first = held.open(files[0])
    held.open(files[1])
    assert held.open(files[0]) is first
    held.open(files[2])
    assert held.open(files[0]) is first
    assert len(held) == 2
    held.close(files[0])
    assert len(held) == 1
    with pytest.raises(ValueError, match="at least 1"):
        held.limit = 0


def test_a_context_closes_the_file(path):
    with Data.load(path) as data:
        assert data.file == path
        assert len(data.spikes.timestamps) == 5000
    assert len(OPEN_FILES) == 0 or data.file is not None
    Data(id="x").close()
    with pytest.raises(RuntimeError, match="not read from a file"):
        Data(id="x").close(strict=True)


def test_a_file_that_is_removed_or_renamed_while_open_is_read_to_the_end(path, make_recording):
    expected = make_recording().spikes.slice(20.0, 40.0).unit_index
    data = Data.load(path)
    _ = data.slice(0.0, 1.0).spikes.timestamps
    path.rename(path.with_name("elsewhere.h5"))
    assert np.array_equal(data.slice(20.0, 40.0).spikes.unit_index, expected)
    path.with_name("elsewhere.h5").unlink()
    assert np.array_equal(data.slice(20.0, 40.0).spikes.unit_index, expected)
    data.close()
    with pytest.raises(FileNotFoundError, match=r"no recording at .*recording\.h5"):
        _ = data.slice(0.0, 1.0).spikes.timestamps


def test_a_file_that_is_replaced_while_open_keeps_its_content_until_it_is_opened_again(path, make_recording):
    data = Data.load(path)
    _ = data.slice(0.0, 1.0).spikes.timestamps
    other = make_recording()
    other.spikes.unit_index = other.spikes.unit_index + 100
    other.save(path)
    assert data.slice(0.0, 60.0).spikes.unit_index.max() < 100
    data.close()
    with pytest.raises(ValueError, match="was changed since it was opened: load the recording again"):
        _ = data.slice(0.0, 1.0).spikes.timestamps
    assert Data.load(path).slice(0.0, 60.0).spikes.unit_index.min() >= 100


def test_closing_twice_and_holding_are_told_apart(path):
    file = RecordingFile(path)
    held = OpenFiles()
    assert not held.holds(file)
    held.open(file)
    assert held.holds(file)
    held.close(file)
    held.close(file)
    assert not held.holds(file)

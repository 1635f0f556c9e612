"""Recordings in several processes: handles never travel."""

import os
import pickle
import subprocess
import sys

import pytest

from nd_data import (
    Data,
)
from nd_data.storage import read_layout


def test_a_pickle_holds_the_way_to_the_file_and_not_its_content(path, make_recording, assert_same):
    data = Data.load(path)
    _ = data.slice(0.0, 10.0).spikes.timestamps
    sent = pickle.dumps(data)
    assert len(sent) < 10_000
    assert len(pickle.dumps(data.slice(0.0, 30.0))) < 10_000
    received = pickle.loads(sent)  # noqa: S301 our own bytes
    assert_same(received.spikes, make_recording().spikes)


READ_IN_ANOTHER_PROCESS = """
import pickle, sys
from nd_data.storage import OPEN_FILES
recordings = pickle.load(sys.stdin.buffer)
assert len(OPEN_FILES) == 0
for data in recordings:
    window = data.slice(7.0, 8.0)
    sys.stdout.buffer.write(window.spikes.timestamps.tobytes() + window.cursor.vel.tobytes())
"""


def test_a_spawned_process_reads_the_same_windows(path, compressed_copy):
    recordings = [Data.load(path), Data.load(compressed_copy(path))]
    windows = [data.slice(7.0, 8.0) for data in recordings]
    expected = b"".join(window.spikes.timestamps.tobytes() + window.cursor.vel.tobytes() for window in windows)
    found = subprocess.run(  # noqa: S603 our own script
        [sys.executable, "-c", READ_IN_ANOTHER_PROCESS], input=pickle.dumps(recordings), capture_output=True, check=True
    )
    assert found.stdout == expected


READ_AFTER_FORK = """
import os, sys
from nd_data import Data
from nd_data.storage import OPEN_FILES

recordings = [Data.load(path) for path in sys.argv[1:]]

def read(k):
    return [data.slice(k, k + 1.0).spikes.timestamps.tobytes() for data in recordings]

expected = [read(k) for k in range(8)]
held = len(OPEN_FILES)
assert held == 2
children = []
for k in range(8):
    child = os.fork()
    if child == 0:
        own = len(OPEN_FILES) == 0
        same = all(read(j) == expected[j] for j in range(8))
        os._exit(0 if own and same and len(OPEN_FILES) == 2 else 1)
    children.append(child)
    assert read(k) == expected[k]
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
assert len(OPEN_FILES) == held
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_processes_open_files_of_their_own(path, compressed_copy):
    paths = [str(path), str(compressed_copy(path))]
    subprocess.run([sys.executable, "-c", READ_AFTER_FORK, *paths], check=True)  # noqa: S603 our own script


def test_a_layout_tells_where_everything_lies_without_reading_it(path):
    layout = read_layout(path)
    assert layout.groups["spikes"].arrays["timestamps"].shape == (5000,)
    assert layout.groups["spikes"].arrays["timestamps"].offset % 8 == 0
    assert layout.groups["units"].arrays["id"].is_text
    assert layout.groups["session"].attributes["id"] == "monday"

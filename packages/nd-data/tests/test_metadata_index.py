"""The index beside the recordings: it spares opening them, and is never believed when they have changed."""

import json
import logging
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from nd_data import ArrayDict, Data, Dataset, Interval
from nd_data.metadata_index import INDEX_NAME, MetadataIndex
from nd_data.recording_metadata import MOST_ROWS
from nd_data.storage import OPEN_FILES

OPERATIONS = [
    {"intersect": "movement_periods.reach_period"},
    {"subtract": "trials"},
    {"dilate": 0.25},
    {"min_length": 0.5},
]
CONFIGURATION = {"config": {"sampling_intervals": OPERATIONS}}


def age(root, seconds=3600.0):
    """Make all recordings look as if they were written a while ago."""
    for path in root.rglob("*.h5"):
        os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def old_root(save_recording, tmp_path):
    trials = Interval([3.0, 41.0, 62.0], [4.0, 42.0, 63.0], kind=["a", "b", "ä"])
    save_recording("alpha", "s1", subject="monkey_a", seed=1, trials=trials)
    save_recording("alpha", "s2", subject="monkey_b", seed=2, units=3, trials=trials)
    save_recording("beta", "t1", seed=3, trials=trials)
    path = tmp_path / "beta" / "t1.h5"
    data = Data.load(path, lazy=False)
    data.units = ArrayDict(id=np.array(["ünit", "b" * 40]))
    data.save(path)
    age(tmp_path)
    return tmp_path


def listing(dataset):
    return {
        "units": dataset.get_unit_ids(),
        "sessions": dataset.get_session_ids(),
        "subjects": dataset.get_subject_ids(),
        "brainsets": dataset.get_brainset_ids(),
        "intervals": {
            name: (one.start.tolist(), one.end.tolist()) for name, one in dataset.get_sampling_intervals().items()
        },
    }


def opened_listing(root, **options):
    """The same from every recording as it is opened, without any index: the independent answer."""
    dataset = Dataset(root, **options)
    recordings = {name: Data.load(root / f"{name}.h5", lazy=False) for name in dataset.recording_ids}
    intervals = {}
    for name, data in recordings.items():
        domain = data.domain if dataset.split is None else getattr(data, f"{dataset.split}_domain")
        intervals[name] = (domain.start.tolist(), domain.end.tolist())
    return {
        "units": sorted(f"{name}/{unit}" for name, data in recordings.items() for unit in data.units.id.tolist()),
        "sessions": sorted(recordings),
        "subjects": sorted({f"{data.brainset.id}/{data.subject.id}" for data in recordings.values()}),
        "brainsets": sorted({data.brainset.id for data in recordings.values()}),
        "intervals": intervals,
    }


def indexes(root):
    return sorted(root.rglob(INDEX_NAME))


def ruin(path):
    """Other content of the same size and time: whoever opens it fails."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# What it spares.


@pytest.mark.parametrize("split", [None, "train", "valid"])
def test_listings_from_the_index_are_those_of_opened_recordings(old_root, split):
    expected = opened_listing(old_root, split=split)
    assert indexes(old_root) == []
    assert listing(Dataset(old_root, split=split)) == expected
    assert [path.parent.name for path in indexes(old_root)] == ["alpha", "beta"]
    assert listing(Dataset(old_root, split=split)) == expected


def test_a_dataset_with_an_index_lists_without_opening_any_recording(old_root):
    config = {"selection": [{"brainset": "alpha", "subject": "monkey_b"}, {"brainset": "beta"}], **CONFIGURATION}
    expected = listing(Dataset(old_root, config=config, split="train"))
    assert expected["sessions"] == ["alpha/s2", "beta/t1"]
    for path in old_root.rglob("*.h5"):
        ruin(path)
    assert listing(Dataset(old_root, config=config, split="train")) == expected


def test_sampling_intervals_after_operations_are_the_same_with_and_without_index(old_root):
    first = Dataset(old_root, config=CONFIGURATION, split="train").get_sampling_intervals()
    warm = Dataset(old_root, config=CONFIGURATION, split="train").get_sampling_intervals()
    for name in first:
        data = Data.load(old_root / f"{name}.h5", lazy=False)
        times = np.arange(0.0, 100.0, 0.0625) + 0.03125
        domain, reach, trials = data.train_domain, data.movement_periods.reach_period, data.trials

        def inside(interval, times=times):
            return ((times[:, None] >= interval.start) & (times[:, None] < interval.end)).any(axis=1)

        # A slow answer without dilation: all that is left of it lies in the domain, and the core is kept.
        core = inside(domain) & inside(reach) & ~inside(trials)
        for found in (first[name], warm[name]):
            assert not (inside(found) & ~inside(domain)).any()
            assert not (core & ~inside(found)).any()
        assert np.array_equal(first[name].start, warm[name].start)
        assert np.array_equal(first[name].end, warm[name].end)


def test_indexing_leaves_no_file_open(old_root):
    OPEN_FILES.close()
    held = Data.load(old_root / "alpha" / "s1.h5")
    _ = held.slice(1.0, 2.0).spikes.timestamps
    listing(Dataset(old_root, split="train"))
    assert len(OPEN_FILES) == 1


def test_other_prefix_functions_see_the_opened_recording(old_root):
    listing(Dataset(old_root))
    dataset = Dataset(
        old_root,
        unit_id_prefix_fn=lambda data: f"{len(data.trials)}:",
        session_id_prefix_fn=lambda data: f"{data.subject.id}:",
        subject_id_prefix_fn=lambda data: f"{data.domain.end[0]:g}:",
    )
    assert "3:unit_4" in dataset.get_unit_ids()
    assert dataset.get_session_ids() == ["monkey_a:s1", "monkey_a:t1", "monkey_b:s2"]
    assert dataset.get_subject_ids() == ["100:monkey_a", "100:monkey_b"]


# What it must not do.


def test_a_recording_that_changed_is_read_again(old_root, save_recording):
    before = listing(Dataset(old_root, split="train"))
    save_recording("alpha", "s2", subject="monkey_c", units=2, train_domain=Interval(0.0, 30.0))
    os.utime(old_root / "alpha" / "s2.h5", (1e9, 1e9))  # even to a time long ago
    after = listing(Dataset(old_root, split="train"))
    assert after == opened_listing(old_root, split="train")
    assert after["subjects"] == ["alpha/monkey_a", "alpha/monkey_c", "beta/monkey_a"]
    assert len(after["units"]) == len(before["units"]) - 1
    assert listing(Dataset(old_root, split="train")) == after


def test_a_change_of_time_alone_is_enough(old_root):
    listing(Dataset(old_root))
    ruin(old_root / "alpha" / "s1.h5")
    os.utime(old_root / "alpha" / "s1.h5", (1e9, 1e9))
    with pytest.raises(ValueError, match=r"s1\.h5 cannot be read as HDF5"):
        Dataset(old_root).get_unit_ids()


def test_a_recording_that_changed_just_now_is_not_relied_on(root):
    assert len(Dataset(root).get_unit_ids()) == 13
    assert indexes(root) == []
    age(root)
    os.utime(root / "beta" / "t1.h5", (time.time() + 1e4,) * 2)  # a clock that runs ahead
    Dataset(root).get_unit_ids()
    assert [path.parent.name for path in indexes(root)] == ["alpha"]


def test_recordings_come_and_go(old_root, save_recording):
    listing(Dataset(old_root))
    (old_root / "alpha" / "s1.h5").unlink()
    save_recording("alpha", "s3", seed=4)
    age(old_root)
    assert Dataset(old_root).get_session_ids() == ["alpha/s2", "alpha/s3", "beta/t1"]
    table = json.loads(indexes(old_root)[0].read_bytes().splitlines()[1])
    assert sorted(table) == ["s2", "s3"]


def test_a_selection_keeps_what_the_index_holds_of_other_recordings(old_root):
    listing(Dataset(old_root))
    save = json.loads(indexes(old_root)[0].read_bytes().splitlines()[1])
    os.utime(old_root / "alpha" / "s1.h5", (1e9, 1e9))
    listing(Dataset(old_root, recording_id="alpha/s1"))
    table = json.loads(indexes(old_root)[0].read_bytes().splitlines()[1])
    assert table["s2"][:2] == save["s2"][:2]
    assert table["s1"][1] == 10**18


def damages(content):
    yield "empty", b""
    yield "truncated", content[: len(content) // 2]
    yield "another version", content.replace(b"index 1", b"index 9", 1)
    yield "no index", b"\x89HDF\r\n" + os.urandom(300)
    lines = content.split(b"\n", 2)
    table = json.loads(lines[1])
    for entry in table.values():
        entry[2] = 10**9
    body = json.dumps(table).encode() + b"\n" + lines[2]
    yield "places beyond its end", b"nd-data index 1 %08x\n%s" % (zlib.crc32(body), body)
    for body in (b"[]\n", b'{"s1": 3}\n', b"{\n", lines[1] + b"\n" + b"{}" * len(lines[2])):
        yield "a right checksum of wrong content", b"nd-data index 1 %08x\n%s" % (zlib.crc32(body), body)
    for position in range(0, len(content), max(1, len(content) // 40)):
        yield f"byte {position}", content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def test_a_damaged_index_is_made_anew(old_root):
    expected = listing(Dataset(old_root, split="train"))
    index = indexes(old_root)[0]
    content = index.read_bytes()
    for what, damaged in damages(content):
        index.write_bytes(damaged)
        assert listing(Dataset(old_root, split="train")) == expected, what
        assert index.read_bytes() == content, what


def test_a_folder_that_cannot_be_written_needs_no_index(old_root, caplog):
    for brainset in ("alpha", "beta"):
        (old_root / brainset / INDEX_NAME).mkdir()  # nothing can take its place
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert listing(Dataset(old_root, split="train")) == opened_listing(old_root, split="train")
    assert caplog.text == ""
    names = {path.name for path in (old_root / "alpha").iterdir()}
    assert names == {"s1.h5", "s2.h5", INDEX_NAME}


def test_a_folder_without_permission_to_write_needs_no_index(old_root, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    assert listing(Dataset(old_root)) == opened_listing(old_root)
    assert indexes(old_root) == []
    assert not list(old_root.rglob("*.partial"))


LIST_IN_SIX_PROCESSES = """
import os, sys
from nd_data import Dataset

def listing():
    dataset = Dataset(sys.argv[1], split="train")
    return len(dataset.get_unit_ids()), {k: len(v) for k, v in dataset.get_sampling_intervals().items()}

children = []
for _ in range(6):
    child = os.fork()
    if child == 0:
        found = [listing() for _ in range(20)]
        os._exit(0 if all(one == (10, {"alpha/s1": 1, "alpha/s2": 1, "beta/t1": 1}) for one in found) else 1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_many_processes_may_write_it_at_once(old_root):
    subprocess.run([sys.executable, "-c", LIST_IN_SIX_PROCESSES, str(old_root)], check=True)  # noqa: S603 our own script
    expected = listing(Dataset(old_root, split="train"))
    for path in old_root.rglob("*.h5"):
        ruin(path)
    assert listing(Dataset(old_root, split="train")) == expected
    assert not list(old_root.rglob("*.partial"))


# What has to be refused is refused, with and without it.


def overlapping(data):
    data.valid_domain = Interval(50.0, 70.0)


def without_session_id(data):
    del data.session.id


def without_subject(data):
    del data.subject


def without_units(data):
    del data.units


def without_train_domain(data):
    del data.train_domain


@pytest.mark.parametrize(
    ("change", "method", "message"),
    [
        (overlapping, "get_sampling_intervals", r"'alpha/s1': splits 'train' and 'valid' overlap"),
        (without_session_id, "get_unit_ids", r"'alpha/s1': unit_id_prefix_fn cannot make a prefix"),
        (without_subject, "get_subject_ids", r"'alpha/s1' has no subject\.id"),
        (without_units, "get_unit_ids", r"'alpha/s1' has no units"),
        (without_train_domain, "get_sampling_intervals", r"'alpha/s1': unknown split 'train'"),
    ],
)
def test_what_is_missing_or_leaks_is_the_same_error_with_an_index(old_root, change, method, message):
    path = old_root / "alpha" / "s1.h5"
    data = Data.load(path, lazy=False)
    change(data)
    data.save(path)
    age(old_root)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            getattr(Dataset(old_root, split="train"), method)()
    assert len(indexes(old_root)) >= 1


def test_overlapping_splits_may_be_listed_once_the_check_is_off(old_root):
    path = old_root / "alpha" / "s1.h5"
    data = Data.load(path, lazy=False)
    overlapping(data)
    data.save(path)
    age(old_root)
    for _ in range(2):
        dataset = Dataset(old_root, split="valid")
        with pytest.warns(UserWarning, match="leakage check is off"):
            dataset.disable_data_leakage_check()
        assert list(dataset.get_sampling_intervals()["alpha/s1"]) == [(50.0, 70.0)]


def test_unknown_paths_of_operations_are_the_same_error_with_an_index(old_root):
    config = {"config": {"sampling_intervals": [{"intersect": "movement_periods.reach"}]}}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'alpha/s1': there are no intervals .*'movement_periods.reach_period'"):
            Dataset(old_root, config=config, split="train").get_sampling_intervals()


def test_splits_with_further_arrays_or_very_many_intervals_come_from_the_recording(old_root):
    path = old_root / "alpha" / "s1.h5"
    edges = np.linspace(0.0, 60.0, MOST_ROWS + 2)
    data = Data.load(path, lazy=False)
    data.train_domain = Interval(edges[:-1], edges[1:])
    data.valid_domain = Interval([60.0, 70.0], [65.0, 80.0], kind=["a", "b"])
    data.save(path)
    age(old_root)
    for _ in range(2):
        assert len(Dataset(old_root, split="train").get_sampling_intervals()["alpha/s1"]) == MOST_ROWS + 1
        assert Dataset(old_root, split="valid").get_sampling_intervals()["alpha/s1"].kind.tolist() == ["a", "b"]


def test_what_is_listed_can_be_changed_without_changing_the_next_listing(old_root):
    dataset = Dataset(old_root, split="train")
    for _ in range(3):
        interval = dataset.get_sampling_intervals()["alpha/s1"]
        assert list(interval) == [(0.0, 60.0)]
        interval.start[0] = 7.0


def test_missing_and_foreign_files_have_no_metadata(old_root):
    (old_root / "alpha" / "text.h5").write_text("no recording")
    with h5py.File(old_root / "alpha" / "part.h5", "w") as file:
        ArrayDict(id=["a"]).to_hdf5(file)
    index = MetadataIndex(old_root / "alpha")
    assert [index.find(name) for name in ("nothing", "text", "part")] == [None] * 3
    assert index.find("s1").subject_id == "monkey_a"
    assert MetadataIndex(old_root / "nowhere").find("s1") is None

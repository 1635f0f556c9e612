"""Recordings on disk: round trips, lazy reading, damaged files, handles, processes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nd_data import (
    ArrayDict,
    Data,
    Interval,
    IrregularTimeSeries,
    LazyArrayDict,
    LazyInterval,
    LazyIrregularTimeSeries,
    LazyRegularTimeSeries,
    RegularTimeSeries,
)
from nd_data.storage import OPEN_FILES, OpenFiles, RecordingFile, read_layout

CONTAINERS = {
    ArrayDict: LazyArrayDict,
    Interval: LazyInterval,
    IrregularTimeSeries: LazyIrregularTimeSeries,
    RegularTimeSeries: LazyRegularTimeSeries,
}

dtypes = st.sampled_from(["?", "i1", "<i4", ">i8", "u2", "<f4", ">f8", "f2", "c16", "S3"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@st.composite
def arrays(draw, length):
    if draw(st.booleans()):
        return np.array(draw(st.lists(texts, min_size=length, max_size=length)), dtype=np.str_)
    shape = (length, *draw(st.lists(st.integers(0, 3), max_size=2)))
    return draw(hnp.arrays(draw(dtypes), shape))


@st.composite
def containers(draw):
    """One object of each kind, with arrays of any kind, and empty ones among them."""
    length = draw(st.integers(0, 12))
    named = {f"array_{k}": draw(arrays(length)) for k in range(draw(st.integers(0, 3)))}
    times = np.sort(np.array(draw(st.lists(st.floats(-5, 70), min_size=length, max_size=length))))
    domain = Interval(-5.0, 70.0)
    return {
        "dictionary": ArrayDict(**named, anchor=np.arange(length)),
        "interval": Interval(times, times + 1.0, **named),
        "irregular": IrregularTimeSeries(times, domain=domain, extra=times + 1, timekeys=["extra"], **named),
        "regular": RegularTimeSeries(sampling_rate=7.0, domain_start=-2.0, anchor=np.arange(length), **named),
    }


def assert_same(found, expected):
    assert set(found.keys()) == set(expected.keys())
    names = expected.keys()
    for name in names:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype.kind == b.dtype.kind
        assert a.shape == b.shape
        assert a.dtype.kind == "U" or a.dtype.itemsize == b.dtype.itemsize or b.dtype.kind == "S"
        assert np.array_equal(a, b, equal_nan=b.dtype.kind in "fc"), name
        assert a.flags.writeable
    if hasattr(expected, "domain"):
        assert list(found.domain) == list(expected.domain)
    if hasattr(expected, "sampling_rate"):
        assert found.sampling_rate == expected.sampling_rate
    if hasattr(expected, "_timekeys"):
        assert set(found.timekeys()) == set(expected.timekeys())


@settings(max_examples=60, deadline=None)
@given(objects=containers(), compress=st.booleans())
def test_every_container_comes_back_as_it_was_saved(tmp_path_factory, objects, compress):
    path = tmp_path_factory.mktemp("round_trip") / "recording.h5"
    Data(**objects, domain=Interval(-10.0, 80.0)).save(path)
    if compress:
        path = compressed_copy(path)
    lazy, eager = Data.load(path), Data.load(path, lazy=False)
    pickled = pickle.loads(pickle.dumps(lazy))  # noqa: S301 our own bytes
    for name, expected in objects.items():
        assert type(getattr(lazy, name)) is CONTAINERS[type(expected)]
        assert type(getattr(eager, name)) is type(expected)
        for data in (lazy, eager, pickled):
            assert_same(getattr(data, name), expected)
        window = (1.25, 20.5)
        assert hasattr(expected, "slice") is (name != "dictionary")
        if name != "dictionary":
            assert_same(getattr(Data.load(path).slice(*window), name), expected.slice(*window))


def compressed_copy(path: Path) -> Path:
    target = path.with_name("compressed.h5")
    with h5py.File(path) as source, h5py.File(target, "w") as copy:

        def put(name, item):
            if isinstance(item, h5py.Group):
                copy.require_group(name).attrs.update(item.attrs)
            else:
                options = {"compression": "gzip", "chunks": True} if item.size else {}
                copy.create_dataset(name, data=item[()], **options)

        copy.attrs.update(source.attrs)
        source.visititems(put)
    return target


def make_recording():
    rng = np.random.default_rng(0)
    return Data(
        spikes=IrregularTimeSeries(
            np.sort(rng.uniform(0, 60, 5000)), unit_index=rng.integers(0, 9, 5000), domain=Interval(0.0, 60.0)
        ),
        cursor=RegularTimeSeries(sampling_rate=100.0, vel=rng.standard_normal((6000, 2))),
        units=ArrayDict(id=[f"unit_{k}" for k in range(9)]),
        session=Data(id="monday"),
        domain=Interval(0.0, 60.0),
    )


@pytest.fixture
def path(tmp_path):
    make_recording().save(tmp_path / "recording.h5")
    return tmp_path / "recording.h5"


@settings(max_examples=40, deadline=None)
@given(start=st.floats(-3, 65), length=st.floats(0, 10))
def test_windows_of_compressed_times_agree_with_a_mask(shared_compressed, start, length):
    path, spikes = shared_compressed
    inside = (spikes.timestamps >= start) & (spikes.timestamps < start + length)
    window = Data.load(path).slice(start, start + length).spikes
    assert np.array_equal(window.unit_index, spikes.unit_index[inside])
    assert np.array_equal(window.timestamps, spikes.timestamps[inside] - start)


@pytest.fixture(scope="module")
def shared_compressed(tmp_path_factory):
    path = tmp_path_factory.mktemp("compressed") / "recording.h5"
    data = make_recording()
    data.save(path)
    return compressed_copy(path), data.spikes


def test_windows_do_not_depend_on_the_index_by_seconds(path):
    expected = Data.load(path, lazy=False).slice(3.2, 7.9).spikes
    for stored in (path, compressed_copy(path)):
        with h5py.File(stored, "r+") as file:
            del file["spikes/timestamp_indices_1s"]
        assert np.array_equal(Data.load(stored).slice(3.2, 7.9).spikes.unit_index, expected.unit_index)


def test_an_index_by_seconds_that_is_wrong_gives_no_wrong_window(path):
    expected = Data.load(path, lazy=False).slice(30.2, 37.9).spikes
    for stored in (path, compressed_copy(path)):
        with h5py.File(stored, "r+") as file:
            index = file["spikes/timestamp_indices_1s"]
            index[...] = index[...] // 3
        assert np.array_equal(Data.load(stored).slice(30.2, 37.9).spikes.unit_index, expected.unit_index)


def test_arrays_at_odd_bytes_are_searched_and_read(path):
    # Other writers align nothing: after seven bytes of text, times begin wherever they do.
    recording = make_recording().slice(0.0, 1.0)
    odd = path.with_name("odd.h5")
    with h5py.File(odd, "w") as file:
        for count in range(1, 8):
            file.create_dataset(f"padding_{count}", data=np.array([b"seven b"] * count))
        recording.to_hdf5(file)
        assert any(file[f"spikes/{name}"].id.get_offset() % 8 for name in ("timestamps", "unit_index"))
    expected = recording.slice(0.25, 0.5).spikes
    window = Data.load(odd).slice(0.25, 0.5).spikes
    assert np.array_equal(window.timestamps, expected.timestamps)
    assert np.array_equal(window.unit_index, expected.unit_index)


def test_files_with_a_user_block_are_read(path):
    behind = path.with_name("behind.h5")
    with h5py.File(behind, "w", userblock_size=1024) as file:
        make_recording().to_hdf5(file)
    assert_same(Data.load(behind).spikes, make_recording().spikes)


def test_text_written_as_variable_length_is_read(path):
    with h5py.File(path, "r+") as file:
        del file["units/id"]
        file["units"].create_dataset("id", data=["ä", "bc", *"defghij"], dtype=h5py.string_dtype())
    assert Data.load(path).units.id.tolist() == ["ä", "bc", *"defghij"]


def test_values_of_a_data_object_come_back(tmp_path):
    data = Data(
        text="grün",
        whole=3,
        fraction=0.5,
        flag=True,
        names=["a", "b"],
        image=np.ones((2, 3)),
        labels=np.array(["x", "ÿ"]),
    )
    data.nothing = None
    data.save(tmp_path / "values.h5")
    for lazy in (True, False):
        found = Data.load(tmp_path / "values.h5", lazy=lazy)
        assert (found.text, found.whole, found.fraction, found.flag) == ("grün", 3, 0.5, True)
        assert list(found.names) == ["a", "b"]
        assert found.labels.tolist() == ["x", "ÿ"]
        assert np.array_equal(found.image, np.ones((2, 3)))
        assert "nothing" not in found


def test_an_array_may_be_called_split(tmp_path):
    trials = Interval([0.0, 2.0], [1.0, 3.0], split=["train", "test"])
    Data(trials=trials, domain="auto").save(tmp_path / "trials.h5")
    for lazy in (True, False):
        window = Data.load(tmp_path / "trials.h5", lazy=lazy).slice(1.5, 4.0)
        assert window.trials.split.tolist() == ["test"]
        assert window.trials.start.tolist() == [0.5]


def test_absolute_start_and_windows_are_saved(tmp_path, path):
    window = Data.load(path).slice(20.0, 30.0)
    window.save(tmp_path / "window.h5")
    found = Data.load(tmp_path / "window.h5")
    assert found.absolute_start == 20.0
    assert np.array_equal(found.spikes.timestamps, make_recording().slice(20.0, 30.0).spikes.timestamps)
    assert list(found.domain) == [(0.0, 10.0)]
    assert found.slice(1.0, 2.0).absolute_start == 21.0


def test_a_recording_can_be_saved_over_itself(path):
    data = Data.load(path)
    data.note = "checked"
    data.save(path)
    assert_same(data.spikes, make_recording().spikes)
    assert Data.load(path).note == "checked"


def test_values_that_hdf5_cannot_hold_are_named_and_leave_nothing_behind(path):
    before = path.read_bytes()
    data = make_recording()
    data.session.extra = {"a": 1}
    with pytest.raises(TypeError, match=r"'session/extra' of type dict cannot be written.*serialize_fn_map"):
        data.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["recording.h5"]
    data.session.extra = np.array([{"a": 1}], dtype=object)
    with pytest.raises(TypeError, match="'session/extra' of dtype object"):
        data.save(path.with_name("other.h5"))
    assert not path.with_name("other.h5").exists()


def test_values_can_be_turned_into_ones_that_hdf5_can_hold(tmp_path):
    data = Data(place=Path("/somewhere"), inner=Data(places=[Path("a"), Path("b")]))
    data.save(tmp_path / "x.h5", serialize_fn_map={Path: lambda value, serialize_fn_map: value.as_posix()})
    found = Data.load(tmp_path / "x.h5")
    assert found.place == "/somewhere"
    assert list(found.inner.places) == ["a", "b"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder"):
        make_recording().save(tmp_path / "missing" / "x.h5")


def test_open_groups_are_read_lazily_and_may_be_closed(path):
    with h5py.File(path) as file:
        spikes = LazyIrregularTimeSeries.from_hdf5(file["spikes"])
        data = Data.from_hdf5(file)
        eager = RegularTimeSeries.from_hdf5(file["cursor"])
    assert_same(spikes.slice(1.0, 2.0), make_recording().spikes.slice(1.0, 2.0))
    assert_same(data.cursor, make_recording().cursor)
    assert_same(eager, make_recording().cursor)


def test_a_file_that_is_being_written_is_read_at_once_only(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make_recording().to_hdf5(file)
        with pytest.raises(ValueError, match="mode 'r'"):
            Data.from_hdf5(file)
        with pytest.raises(ValueError, match="mode 'r'"):
            LazyArrayDict.from_hdf5(file["units"])
        assert_same(Data.from_hdf5(file, lazy=False).spikes, make_recording().spikes)
        assert_same(ArrayDict.from_hdf5(file["units"]), make_recording().units)


def test_another_kind_of_object_is_refused(path):
    with h5py.File(path) as file:
        for cls in (ArrayDict, LazyInterval, RegularTimeSeries, LazyArrayDict):
            with pytest.raises(ValueError, match="'spikes' holds an object of kind IrregularTimeSeries, expected "):
                cls.from_hdf5(file["spikes"])
        with pytest.raises(ValueError, match="expected Data"):
            Data.from_hdf5(file["spikes"])
    with pytest.raises(TypeError, match="comes from a file"):
        LazyArrayDict(id=["a"])


# Damaged, foreign and missing files: one error each, which names file and key.


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording at .*nothing\.h5"):
        Data.load(tmp_path / "nothing.h5")
    with pytest.raises(ValueError, match="is a folder"):
        Data.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_named(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"recording\.h5 cannot be read as HDF5"):
        Data.load(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "text.h5").write_text("no recording at all" * 100)
    with pytest.raises(ValueError, match=r"text\.h5 cannot be read as HDF5"):
        Data.load(tmp_path / "text.h5")


HOLD_FOR_WRITING = """
import sys, h5py
with h5py.File(sys.argv[1], "r+"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_another_process_is_writing_is_named(path):
    command = [sys.executable, "-c", HOLD_FOR_WRITING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:  # noqa: S603 our own script
        assert writer.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=r"recording\.h5 cannot be read .*or locked"):
            Data.load(path)
        writer.stdin.close()
    assert Data.load(path).session.id == "monday"


def remove_kind(file):
    del file["spikes"].attrs["object"]


def unknown_kind(file):
    file["spikes"].attrs["object"] = "IregularTimeSeries"


def remove_times(file):
    del file["spikes/timestamps"]


def remove_domain(file):
    del file["cursor/domain"]


def remove_rate(file):
    del file["cursor"].attrs["sampling_rate"]


def shorten(file):
    del file["spikes/unit_index"]
    file["spikes"].create_dataset("unit_index", data=np.zeros(7, dtype=int))


def flatten(file):
    del file["spikes/unit_index"]
    file["spikes"].create_dataset("unit_index", data=7)


def name_missing_time(file):
    file["spikes"].attrs["timekeys"] = np.array([b"timestamps", b"onset"])


def empty_array(file):
    file["units"].create_dataset("nothing", data=h5py.Empty("f8"))


def name_like_a_method(file):
    file.attrs["slice"] = 3


def link_elsewhere(file):
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/spikes")


def link_to_nothing(file):
    file["elsewhere"] = h5py.SoftLink("/nothing")


def link_in_a_circle(file):
    file["session/again"] = file["session"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (name_like_a_method, "'slice' has the name of an attribute of every Data"),
        (link_elsewhere, "'elsewhere' is a link into another file"),
        (link_to_nothing, "'elsewhere' cannot be read"),
        (link_in_a_circle, "'session/again/.*' lies deeper than 32 groups"),
        (remove_kind, "'spikes' has no attribute 'object'"),
        (unknown_kind, r"'spikes' holds .*unknown kind 'IregularTimeSeries'.*nearest: IrregularTimeSeries"),
        (remove_times, "'spikes' is of kind IrregularTimeSeries but has no dataset 'timestamps'"),
        (remove_domain, "'cursor' is of kind RegularTimeSeries but has no Interval 'domain'"),
        (remove_rate, "'cursor' .* no attribute 'sampling_rate'"),
        (shorten, r"'spikes': all arrays must have the same first dimension.*'timestamps': 5000.*'unit_index': 7"),
        (flatten, "'spikes': all arrays must have the same first dimension"),
        (name_missing_time, "'spikes/onset' is listed in 'timekeys'"),
        (empty_array, "'units/nothing' is an empty dataset"),
    ],
)
def test_what_does_not_follow_the_layout_is_named(path, damage, message):
    with h5py.File(path, "r+") as file:
        damage(file)
    for lazy in (True, False):
        with pytest.raises(ValueError, match=rf"recording\.h5: {message}"):
            Data.load(path, lazy=lazy)


def test_an_array_that_hides_a_needed_method_is_named(path):
    with h5py.File(path, "r+") as file:
        file["units"].create_dataset("keys", data=np.zeros(9))
    for lazy in (True, False):
        with pytest.raises(ValueError, match=r"recording\.h5: 'units': 'keys' is an attribute of every"):
            _ = Data.load(path, lazy=lazy).units


def test_private_attributes_of_a_file_are_left_alone(path):
    with h5py.File(path, "r+") as file:
        file.attrs["_version"] = "2"
    for lazy in (True, False):
        assert "_version" not in Data.load(path, lazy=lazy)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_times_that_are_unsorted_or_nan_are_named(path, value):
    with h5py.File(path, "r+") as file:
        file["spikes/timestamps"][2500] = value
    with pytest.raises(ValueError, match=r"recording\.h5: 'spikes"):
        Data.load(path, lazy=False)
    with pytest.raises(ValueError, match=r"recording\.h5: 'spikes/timestamps' is not sorted, or holds NaN"):
        _ = Data.load(path).spikes.timestamps


def test_a_domain_that_overlaps_itself_is_named(path):
    with h5py.File(path, "r+") as file:
        del file["spikes/domain"]
        Interval([0.0, 5.0], [10.0, 60.0]).to_hdf5(file.create_group("spikes/domain"))
    with pytest.raises(ValueError, match=r"recording\.h5: 'spikes/domain' has intervals that overlap"):
        _ = Data.load(path).spikes.domain


def test_text_that_is_not_utf8_is_named(path):
    with h5py.File(path, "r+") as file:
        file["units/id"][3] = b"\xff\xfe"
    with pytest.raises(ValueError, match=r"recording\.h5: 'units/id' should hold UTF-8"):
        _ = Data.load(path).units.id


def test_a_file_that_changed_after_it_was_opened_is_never_read_by_its_old_layout(path):
    data = Data.load(path)
    OPEN_FILES.close()
    smaller = make_recording().slice(0.0, 20.0)
    smaller.save(path)
    with pytest.raises(ValueError, match=r"recording\.h5 was changed since it was opened"):
        _ = data.spikes.timestamps
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"recording\.h5"):
        _ = data.cursor.vel


# Handles.


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
def test_no_more_files_than_the_limit_are_open(tmp_path, compress):
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


def test_the_least_recently_used_file_is_closed_first(tmp_path):
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


# Processes.


def test_a_pickle_holds_the_way_to_the_file_and_not_its_content(path):
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


def test_a_spawned_process_reads_the_same_windows(path):
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
def test_forked_processes_open_files_of_their_own(path):
    paths = [str(path), str(compressed_copy(path))]
    subprocess.run([sys.executable, "-c", READ_AFTER_FORK, *paths], check=True)  # noqa: S603 our own script


def test_a_layout_tells_where_everything_lies_without_reading_it(path):
    layout = read_layout(path)
    assert layout.groups["spikes"].arrays["timestamps"].shape == (5000,)
    assert layout.groups["spikes"].arrays["timestamps"].offset % 8 == 0
    assert layout.groups["units"].arrays["id"].is_text
    assert layout.groups["session"].attributes["id"] == "monday"

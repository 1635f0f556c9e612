"""Damaged, foreign and missing files: one error each, which names file and key."""

import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from nd_data import (
    Data,
    Interval,
)
from nd_data.storage import OPEN_FILES, read_layout


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
        (unknown_kind, r"'spikes' holds .*unknown kind 'IregularTimeSeries'.*did you mean 'IrregularTimeSeries'"),
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


def test_a_file_that_changed_after_it_was_opened_is_never_read_by_its_old_layout(path, make_recording):
    data = Data.load(path)
    OPEN_FILES.close()
    smaller = make_recording().slice(0.0, 20.0)
    smaller.save(path)
    with pytest.raises(ValueError, match=r"recording\.h5 was changed since it was opened"):
        _ = data.spikes.timestamps
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"recording\.h5"):
        _ = data.cursor.vel


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP", b"SNOD", b"GCOL"])
def test_damage_to_any_structure_of_the_file_is_one_error_that_names_it(path, signature):
    content = path.read_bytes()
    places = [match.start() for match in re.finditer(re.escape(signature), content)]
    assert places
    refused = 0
    for place in places[:6]:
        path.write_bytes(content[:place] + b"XXXX" + content[place + 4 :])
        try:
            Data.load(path).materialize()
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 not every structure is needed
            refused += 1
    assert refused


def test_all_that_does_not_follow_the_layout_can_be_reported_at_once(path):
    with h5py.File(path, "r+") as file:
        for damage in (remove_kind, remove_rate, empty_array, link_elsewhere):
            damage(file)
    found = []
    layout = read_layout(path, report=found.append)
    assert [error.key for error in found] == ["cursor", "elsewhere", "spikes", "units/nothing"]
    assert all(str(error) == f"{path}: {error.what}" for error in found)
    assert sorted(layout.groups) == ["domain", "session", "units"]
    assert list(layout.groups["units"].arrays) == ["id"]


def test_only_the_parts_that_are_asked_for_are_looked_at(path):
    with h5py.File(path, "r+") as file:
        remove_kind(file)
    layout = read_layout(path, parts=lambda name: name in ("units", "domain"))
    assert sorted(layout.groups) == ["domain", "units"]
    with pytest.raises(ValueError, match="'spikes' has no attribute"):
        read_layout(path)

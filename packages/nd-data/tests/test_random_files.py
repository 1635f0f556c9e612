"""Two hundred and forty random recordings: written, read in every way, and every slice against a plain NumPy answer."""

import copy
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries
from nd_data.storage import OPEN_FILES
from nd_data.validation import validate_recording

FILES, FILES_A_TEST = 240, 20
DTYPES = ["?", "i1", "<i2", "<i8", "u1", "<u4", "<f4", "<f8", ">f8", "<c8", "U", "S"]
WORDS = np.array(["", "a", "bc", "déf", "神経", "unit 7"])


class Plain:
    """What a recording holds, as NumPy arrays only: kind, times and arrays of each part."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.start = float(rng.choice([0.0, -3.5, 1e5]))
        self.length = float(rng.uniform(1.0, 30.0))
        self.end = self.start + self.length
        self.parts: dict[str, dict[str, Any]] = {}
        for number in range(rng.integers(1, 5)):
            kind = ["irregular", "regular", "gappy", "interval", "rows"][rng.integers(0, 5)]
            self.parts[f"{kind}_{number}"] = getattr(self, kind)()

    def array(self, length: int) -> np.ndarray:
        rng = self.rng
        dtype = DTYPES[rng.integers(0, len(DTYPES))]
        shape = (length, *rng.integers(0, 4, rng.choice([0, 0, 1, 2])))
        if dtype == "U":
            return rng.choice(WORDS, shape)
        if dtype == "S":
            return rng.choice(np.array([b"", b"a", b"bcd"]), shape)
        values = np.round(rng.normal(0, 100, shape), 3)
        if dtype.endswith(("f4", "f8")) and values.size and rng.random() < 0.3:
            values.flat[rng.integers(0, values.size)] = rng.choice([np.nan, np.inf])
            return values.astype(dtype)
        if "u" in dtype or "i" in dtype:
            return rng.integers(0, 100, shape).astype(dtype)
        return values.astype(dtype)

    def arrays(self, length: int) -> dict[str, np.ndarray]:
        return {f"a{number}": self.array(length) for number in range(self.rng.integers(0, 4))}

    def irregular(self) -> dict[str, Any]:
        length = int(self.rng.choice([0, 1, 2, 40, 300]))
        times = np.sort(self.rng.uniform(self.start, self.end, length))
        if length > 2 and self.rng.random() < 0.5:
            times[1] = times[0]
            times = np.round(times, 2)
        arrays = self.arrays(length)
        if self.rng.random() < 0.4:
            arrays["onset"] = times - 0.25
        return {"timestamps": np.clip(times, self.start, self.end), **arrays}

    def regular(self) -> dict[str, Any]:
        rate = float(self.rng.choice([1.0, 7.0, 50.0]))
        length = int(self.rng.integers(0, max(int(self.length * rate), 1)))
        return {"sampling_rate": rate, "first": self.start, "anchor": np.arange(length), **self.arrays(length)}

    def gappy(self) -> dict[str, Any]:
        rate = float(self.rng.choice([2.0, 20.0]))
        length = int(self.rng.integers(2, 60))
        kept = self.rng.random(length) < 0.7
        kept[[0, 1, -1]] = True
        rows, x = np.flatnonzero(kept), self.rng.normal(size=kept.sum())
        return {"sampling_rate": rate, "first": self.start, "rows": rows, "x": x}

    def interval(self) -> dict[str, Any]:
        length = int(self.rng.choice([0, 1, 5, 30]))
        edges = np.sort(self.rng.uniform(self.start, self.end, 2 * length))
        return {"start": edges[::2], "end": edges[1::2], **self.arrays(length)}

    def rows(self) -> dict[str, Any]:
        length = int(self.rng.integers(0, 9))
        return {"anchor": np.arange(length), **self.arrays(length)}

    def recording(self) -> Data:
        """The same with the containers."""
        domain = Interval(self.start, self.end)
        parts: dict[str, Any] = {}
        for name, part in self.parts.items():
            part, kind = dict(part), name.partition("_")[0]
            if kind == "irregular":
                timekeys = ["timestamps", "onset"] if "onset" in part else None
                parts[name] = IrregularTimeSeries(**part, domain=domain, timekeys=timekeys)
            elif kind == "regular":
                rate, first = part.pop("sampling_rate"), part.pop("first")
                parts[name] = RegularTimeSeries(sampling_rate=rate, domain_start=first, **part)
            elif kind == "gappy":
                rate, first, rows = (part.pop(key) for key in ("sampling_rate", "first", "rows"))
                parts[name] = RegularTimeSeries.from_gappy_timeseries(first + rows / rate, rate, **part)
            elif kind == "interval":
                parts[name] = Interval(**part)
            else:
                parts[name] = ArrayDict(**part)
        nested = Data(**{name: copy.copy(part) for name, part in list(parts.items())[:1]}, depth=2, domain=domain)
        return Data(**parts, nested=nested, text="Ä", number=3, domain=domain)

    def windows(self) -> list[tuple[float, float]]:
        rng, out = self.rng, [(self.start, self.end), (self.end + 1.0, self.end + 2.0)]
        for _ in range(3):
            start = rng.uniform(self.start - 1.0, self.end)
            out.append((start, start + rng.uniform(0.0, self.length)))
        times = [part["timestamps"] for part in self.parts.values() if len(part.get("timestamps", ()))]
        return [*out, (float(times[0][0]), float(times[0][-1]))] if times else out

    def whole(self, name: str) -> dict[str, np.ndarray]:
        """A part's arrays."""
        return {key: one for key, one in self.parts[name].items() if isinstance(one, np.ndarray) and key != "rows"}

    def cut(self, name: str, start: float, end: float) -> dict[str, np.ndarray]:
        """A part's arrays between two times, row by row; times count from the start."""
        part, kind = self.parts[name], name.partition("_")[0]
        arrays = self.whole(name)
        if kind == "irregular":
            mask = (part["timestamps"] >= start) & (part["timestamps"] < end)
            times = ("timestamps", "onset")
        elif kind == "interval":
            mask = (part["end"] > start) & (part["start"] < end)
            times = ("start", "end")
        elif kind in ("regular", "gappy"):
            rows = part["rows"] if kind == "gappy" else np.arange(len(part["anchor"]))
            # Half a microsecond: a sample's time is only known up to rounding.
            stamps = part["first"] + rows / part["sampling_rate"]
            mask = (stamps >= start - 5e-7) & (stamps < end - 5e-7)
            times = ()
        else:
            mask, times = np.ones(len(part["anchor"]), dtype=bool), ()
        return {key: values[mask] - start if key in times else values[mask] for key, values in arrays.items()}


def assert_equal_arrays(found: Any, expected: dict[str, np.ndarray], where: str) -> None:
    if isinstance(found, RegularTimeSeries) and found.is_gappy():
        found = found.to_irregular()
    for key, values in expected.items():
        got = getattr(found, key)
        assert got.shape == values.shape, (where, key)
        assert got.dtype.kind == values.dtype.kind, (where, key)
        assert np.array_equal(got, values, equal_nan=values.dtype.kind in "fc"), (where, key)


def repack(path: Path, target: Path, options: dict[str, Any]) -> None:
    """The same recording with its datasets stored in another way."""
    with h5py.File(path) as source, h5py.File(target, "w") as copied:

        def put(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                copied.require_group(name).attrs.update(item.attrs)
            else:
                copied.create_dataset(name, data=item[()], **(options if item.size else {}))

        copied.attrs.update(source.attrs)
        source.visititems(put)


STORED = [{"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True}, {"compression": "lzf"}]


@pytest.mark.parametrize("first", range(0, FILES, FILES_A_TEST))
def test_random_recordings_come_back_and_are_cut_as_numpy_would(tmp_path, first):
    for seed in range(first, first + FILES_A_TEST):
        plain = Plain(seed)
        path = tmp_path / f"{seed}.h5"
        plain.recording().save(path)
        repack(path, tmp_path / f"packed_{seed}.h5", STORED[seed % len(STORED)])
        readings = {
            "lazy": Data.load(path),
            "eager": Data.load(path, lazy=False),
            "packed": Data.load(tmp_path / f"packed_{seed}.h5"),
        }
        if seed % 4 == 0:
            readings["sent"] = pickle.loads(pickle.dumps(Data.load(path)))  # noqa: S301 our own bytes
        errors = [problem for problem in validate_recording(path) if problem.severity == "error"]
        assert {problem.kind for problem in errors} <= {"missing-id"}
        for how, data in readings.items():
            for start, end in plain.windows():
                window = data.slice(start, end)
                assert window.absolute_start == start
                for name in plain.parts:
                    where = f"file {seed}, {how}, [{start!r}, {end!r}), {name}"
                    assert_equal_arrays(getattr(window, name), plain.cut(name, start, end), where)
                nested = next(iter(plain.parts))
                assert_equal_arrays(getattr(window.nested, nested), plain.cut(nested, start, end), f"{where}, nested")
            for name in plain.parts:
                assert_equal_arrays(getattr(data, name), plain.whole(name), f"file {seed}, {how}, whole {name}")
            assert (data.text, data.number, data.nested.depth) == ("Ä", 3, 2)
    OPEN_FILES.close()

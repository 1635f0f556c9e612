"""Mouse ADn and CA1, head direction (Peyrache lab; shipped with pynapple): the wake part of an NWB file to HDF5.

The file is read with h5py: an NWB file is HDF5, and three of its tables are all that is needed.
"""

from pathlib import Path

import h5py
import numpy as np

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries

BRAINSET = "head_direction"
SESSION = "A2929-200711"


def convert(source: Path, root: Path) -> list[Path]:
    """Write ``<root>/head_direction/A2929-200711.h5``: behaviour time only, split 68 / 12 / 20 % in time."""
    with h5py.File(source / f"{SESSION}.nwb", "r") as nwb:
        series = nwb["acquisition/CompassDirection/ry"]
        angle, times = series["data"][()], series["timestamps"][()]
        ends = nwb["units/spike_times_index"][()].astype(np.int64)
        spike_times = nwb["units/spike_times"][()]
        location = nwb["units/location"].asstr()[()]
    unit_index = np.repeat(np.arange(len(ends)), np.diff(np.r_[0, ends]))
    start, end = float(times[0]), float(times[-1]) + 1 / 120
    inside = (spike_times >= start) & (spike_times < end)
    spike_times, unit_index = spike_times[inside], unit_index[inside]
    order = np.argsort(spike_times, kind="stable")
    domain = Interval(start, end)
    first, second = start + 0.68 * (end - start), start + 0.80 * (end - start)
    data = Data(
        brainset=Data(id=BRAINSET, domain=domain),
        subject=Data(id="A2929", domain=domain),
        session=Data(id=SESSION, domain=domain),
        units=ArrayDict(id=np.array([f"{area}_{unit:02d}" for unit, area in enumerate(location)])),
        spikes=IrregularTimeSeries(timestamps=spike_times[order], unit_index=unit_index[order], domain=domain),
        head=IrregularTimeSeries(timestamps=times, heading=np.stack([np.cos(angle), np.sin(angle)], 1), domain=domain),
        domain=domain,
    )
    data.set_train_domain(Interval(start, first))
    data.set_valid_domain(Interval(first, second))
    data.set_test_domain(Interval(second, end))
    path = root / BRAINSET / f"{SESSION}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return [path]

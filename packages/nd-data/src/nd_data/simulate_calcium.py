"""Recordings of calcium imaging to try things on: cells tuned to running and to drifting gratings, seen through ΔF/F.

A cell spikes at random with a rate that is log-linear in the running speed and von Mises-tuned to the grating's
direction. Each spike adds a transient that decays exponentially, and the camera adds noise of its own.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries
from nd_data.simulated_session import TimeSplits, save_session
from nd_data.smooth_motion import SmoothMotion

FloatArray = NDArray[np.float64]

#: Directions of the gratings, as in the registered readout.
DIRECTIONS = 8
#: Seconds that a grating is shown, and from the start of one to the start of the next.
GRATING, TRIAL = 2.0, 3.0


@dataclass(frozen=True)
class SimulatedCalciumRecording:
    """What :func:`simulate_calcium_recordings` wrote.

    Args:
        path: The file.
        recording_id: ``<brainset>/<session>``.
        cells: Number of cells.
        frames: Number of frames.
        minutes: Length in minutes.
    """

    path: Path
    recording_id: str
    cells: int
    frames: int
    minutes: float


def simulate_calcium_recordings(
    root: str | os.PathLike[str],
    *,
    sessions: int = 2,
    minutes: float = 5.0,
    cells: int = 40,
    seed: int = 0,
    brainset: str = "simulated_calcium",
    frame_rate: float = 30.0,
    decay: float = 0.4,
    noise: float = 0.3,
    splits: Sequence[float] = (0.7, 0.1, 0.2),
) -> list[SimulatedCalciumRecording]:
    """Write simulated recordings of calcium imaging as ``<root>/<brainset>/session_<number>.h5``.

    Each holds ``calcium_traces`` (``df_over_f``, shape (frames, cells), float32), ``units`` (``id``), ``running``
    (``running_speed`` in cm/s, at the frames), ``drifting_gratings`` (``orientation_id``, 0 to 7, ten times a second
    while a grating is shown), ``trials`` (a grating each), the ids of brainset, subject and session, and
    ``train_domain``, ``valid_domain`` and ``test_domain`` one after the other. Every session has cells of its own.

    Args:
        root: Folder of the data; made where it does not exist.
        sessions: Number of recordings.
        minutes: Length of each.
        cells: Number of cells in each.
        seed: The same seed gives the same recordings, however many there are.
        brainset: Name of the brainset.
        frame_rate: Frames a second.
        decay: Time constant of a transient in seconds.
        noise: Standard deviation of the camera's noise, where a spike's transient begins with 1.
        splits: Shares of the time for training, validation and test.

    Returns:
        What was written, in order of sessions.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     recording = simulate_calcium_recordings(root, sessions=1, minutes=0.5, cells=5)[0]
        ...     Data.load(recording.path).calcium_traces.df_over_f.shape
        (900, 5)
    """
    frames = round(minutes * 60.0 * frame_rate)
    if sessions < 1 or cells < 1 or not (frame_rate > 0 and decay > 0 and noise >= 0):
        raise ValueError(
            "expected at least one session and one cell, a positive frame rate and decay, and noise of 0 or more, got "
            f"{sessions}, {cells}, {frame_rate}, {decay} and {noise}"
        )
    time_splits = TimeSplits(splits)
    if frames * min(splits) < TRIAL * frame_rate:
        raise ValueError(f"{minutes} minutes leave a split shorter than a trial of {TRIAL} s: make them longer")
    written = []
    for number in range(sessions):
        generator = np.random.default_rng([seed, number])
        data = _session(frames, cells, frame_rate, decay=decay, noise=noise, splits=time_splits, generator=generator)
        data.units = ArrayDict(id=np.array([f"cell_{number:02d}_{cell:03d}" for cell in range(cells)]))
        path, recording_id = save_session(data, Path(root), brainset, number)
        written.append(SimulatedCalciumRecording(path, recording_id, cells, frames, float(minutes)))
    return written


def _session(
    frames: int,
    cells: int,
    frame_rate: float,
    *,
    decay: float,
    noise: float,
    splits: TimeSplits,
    generator: np.random.Generator,
) -> Data:
    step = 1.0 / frame_rate
    duration = frames * step
    motion = SmoothMotion.with_velocity(1.0, time_constant=max(1.0, step), step=step)
    effort = motion.sample(frames, generator)[1][:, 0]  # mean 0, standard deviation 1
    starts = np.arange(0.5, duration - GRATING, TRIAL)
    directions = generator.integers(0, DIRECTIONS, len(starts))
    traces = _traces(effort, starts, directions, cells, step, decay=decay, noise=noise, generator=generator)
    shown = (starts[:, np.newaxis] + np.arange(0.05, GRATING, 0.1)).ravel()
    calcium_traces = RegularTimeSeries(sampling_rate=frame_rate, df_over_f=traces.astype(np.float32))
    domain = Interval(0.0, float(calcium_traces.domain.end[0]))
    return Data(
        calcium_traces=calcium_traces,
        running=RegularTimeSeries(
            sampling_rate=frame_rate, running_speed=(10.0 * np.logaddexp(0.0, effort)).astype(np.float32)
        ),
        drifting_gratings=IrregularTimeSeries(
            shown, orientation_id=np.repeat(directions, len(shown) // max(len(starts), 1)), domain=domain
        ),
        trials=Interval(starts, starts + GRATING, orientation_id=directions),
        **splits.domains(frames, step, domain),
        domain=domain,
    )


def _traces(
    effort: FloatArray,
    starts: FloatArray,
    directions: NDArray[np.int64],
    cells: int,
    step: float,
    *,
    decay: float,
    noise: float,
    generator: np.random.Generator,
) -> FloatArray:
    # Shape: (frames, cells).
    times = np.arange(len(effort)) * step
    trial = starts.searchsorted(times, side="right") - 1
    is_shown = (trial >= 0) & (times - starts[np.maximum(trial, 0)] < GRATING)
    angle = np.where(is_shown, directions[np.maximum(trial, 0)], 0) * (2.0 * np.pi / DIRECTIONS)
    rate = generator.gamma(2.0, 0.5, cells)
    to_effort = generator.normal(0.0, 0.7, cells)
    preferred = generator.uniform(0.0, 2.0 * np.pi, cells)
    sharpness = generator.uniform(0.0, 2.0, cells)
    tuned = sharpness * (np.cos(angle[:, np.newaxis] - preferred) * is_shown[:, np.newaxis])
    spikes = generator.poisson(rate * np.exp(np.clip(np.outer(effort, to_effort) + tuned, -5.0, 3.0)) * step)
    kept = np.exp(-step / decay)
    traces = np.empty(spikes.shape)
    level = spikes[0].astype(np.float64)
    for frame, new in enumerate(spikes):
        if frame:
            level = kept * level + new
        traces[frame] = level
    return traces + noise * generator.standard_normal(traces.shape)


__all__ = ["SimulatedCalciumRecording", "simulate_calcium_recordings"]

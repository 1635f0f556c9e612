"""Recordings to try things on: units tuned to a smooth movement, and how well their spikes could be decoded at best.

Rates are log-linear in the velocity of a cursor, ``rate = mean_rate · exp(gain · v - |gain|² σ² / 2)``, so that each
unit fires at its mean rate on average. Spikes are Poisson. A unit that is kept from one session to the next keeps its
id and its tuning.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.ideal_decoder import LogLinearTuning, coefficient_of_determination, decode_velocity
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries
from nd_data.simulated_session import TimeSplits, save_session
from nd_data.smooth_motion import SmoothMotion

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedRecording:
    """What :func:`simulate_recordings` wrote.

    Args:
        path: The file.
        recording_id: ``<brainset>/<session>``.
        units: Number of units.
        spikes: Number of spikes.
        minutes: Length in minutes.
        ideal_r2: R² of the velocity in the test domain that an ideal decoder of the same spikes reaches, averaged over
            the two axes.
        ideal_r2_per_axis: The same for each axis.
    """

    path: Path
    recording_id: str
    units: int
    spikes: int
    minutes: float
    ideal_r2: float
    ideal_r2_per_axis: tuple[float, float]


@dataclass(frozen=True)
class Population:
    """Units that sessions record from.

    Args:
        ids: Names. Shape: (U,).
        mean_rate: Spikes a second, on average over the movement. Shape: (U,).
        gain: Change of the log rate with the velocity. Shape: (U, 2).
    """

    ids: NDArray[np.str_]
    mean_rate: FloatArray
    gain: FloatArray


def simulate_recordings(
    root: str | os.PathLike[str],
    *,
    sessions: int = 4,
    minutes: float = 5.0,
    units: int = 60,
    seed: int = 0,
    brainset: str = "simulated",
    mean_rate: float = 8.0,
    kept_units: float = 0.7,
    tuning_depth: float = 0.6,
    time_constant: float = 0.3,
    velocity_std: float = 1.0,
    sampling_rate: float = 100.0,
    splits: Sequence[float] = (0.7, 0.1, 0.2),
) -> list[SimulatedRecording]:
    """Write simulated recordings as ``<root>/<brainset>/session_<number>.h5``.

    Each holds ``spikes`` (``timestamps``, ``unit_index``), ``units`` (``id``, ``mean_rate``, ``tuning``), ``cursor``
    (``vel``, ``pos``), ``movement_phases`` (``hold_period``, ``reach_period``, ``return_period``), ``trials``, the
    ids of brainset, subject and session, ``train_domain``, ``valid_domain`` and ``test_domain`` one after the other,
    and ``simulation`` with all settings and the ideal decoder's R² (``ideal_r2``, ``ideal_r2_per_axis``).

    Args:
        root: Folder of the data; made where it does not exist.
        sessions: Number of recordings.
        minutes: Length of each.
        units: Number of units in each.
        seed: The same seed gives the same recordings, however many there are.
        brainset: Name of the brainset.
        mean_rate: Mean of the units' rates in spikes a second; rates are gamma distributed with shape 2.
        kept_units: Share of the units that the next session still sees.
        tuning_depth: Typical size of the log rate's standard deviation over the movement.
        time_constant: Lag in seconds at which the velocity's autocorrelation is 1/e.
        velocity_std: Standard deviation of the velocity along each axis.
        sampling_rate: Samples a second of the cursor; rates are constant between two samples.
        splits: Shares of the time for training, validation and test.

    Returns:
        What was written, in order of sessions.

    Raises:
        ValueError: an argument is out of its range.
    """
    check_settings(sessions=sessions, minutes=minutes, units=units, mean_rate=mean_rate, kept_units=kept_units)
    time_splits = TimeSplits(splits)
    if not sampling_rate > 0 or tuning_depth < 0:
        raise ValueError(
            f"expected a positive sampling rate and a tuning depth >= 0, got {sampling_rate}, {tuning_depth}"
        )
    if round(minutes * 60 * sampling_rate * min(splits)) < 10:
        raise ValueError(
            f"{minutes} minutes at {sampling_rate} Hz leave fewer than 10 samples to a split: make them longer"
        )
    motion = SmoothMotion.with_velocity(velocity_std, time_constant=time_constant, step=1.0 / sampling_rate)
    settings: dict[str, Any] = {
        "seed": seed,
        "mean_rate": float(mean_rate),
        "kept_units": float(kept_units),
        "tuning_depth": float(tuning_depth),
        "time_constant": float(time_constant),
        "velocity_std": float(velocity_std),
    }
    written = []
    population: Population | None = None
    for number in range(sessions):
        generator = np.random.default_rng([seed, number])
        population = next_population(
            population, units, mean_rate, kept_units, tuning_depth / velocity_std, generator, session=number
        )
        data, ideal = simulate_session(
            population, motion, minutes * 60.0, sampling_rate=sampling_rate, splits=time_splits, generator=generator
        )
        data.simulation = Data(ideal_r2=float(ideal.mean()), ideal_r2_per_axis=ideal, **settings)
        path, recording_id = save_session(data, Path(root), brainset, number)
        written.append(
            SimulatedRecording(
                path=path,
                recording_id=recording_id,
                units=units,
                spikes=len(data.spikes),
                minutes=float(minutes),
                ideal_r2=float(ideal.mean()),
                ideal_r2_per_axis=(float(ideal[0]), float(ideal[1])),
            )
        )
    return written


def simulate_session(
    population: Population,
    motion: SmoothMotion,
    duration: float,
    *,
    sampling_rate: float,
    splits: TimeSplits,
    generator: np.random.Generator,
) -> tuple[Data, FloatArray]:
    """One recording, without the names of what it belongs to.

    Args:
        population: The units.
        motion: The statistics of the movement, in steps of one sample.
        duration: Seconds.
        sampling_rate: Samples a second.
        splits: How the time is split.
        generator: Where the random numbers come from.

    Returns:
        The recording, and the R² of the ideal decoder in the test domain along each axis, shape (2,).
    """
    steps = round(duration * sampling_rate)
    step = 1.0 / sampling_rate
    position, velocity = motion.sample(steps, generator)
    variance = motion.stationary[1, 1] * motion.velocity_scale**2
    tuning = LogLinearTuning(
        offset=np.log(population.mean_rate) - 0.5 * variance * (population.gain**2).sum(axis=1), gain=population.gain
    )
    counts = generator.poisson(tuning.rates(velocity) * step)
    cells = np.repeat(np.arange(counts.size), counts.ravel())
    sample, unit_index = np.divmod(cells, len(population.ids))
    times = (sample + generator.random(len(cells))) * step
    order = np.argsort(times, kind="stable")

    cursor = RegularTimeSeries(sampling_rate=sampling_rate, vel=velocity, pos=position)
    domain = Interval(0.0, float(cursor.domain.end[0]))
    _, first_test = splits.firsts(steps)
    phases = movement_phases(position, velocity, np.sqrt(variance))
    data = Data(
        spikes=IrregularTimeSeries(timestamps=times[order], unit_index=unit_index[order], domain=domain),
        cursor=cursor,
        units=ArrayDict(id=population.ids, mean_rate=population.mean_rate, tuning=population.gain),
        movement_phases=Data(
            hold_period=runs(phases == 0, step),
            reach_period=runs(phases == 1, step),
            return_period=runs(phases == 2, step),
            domain=domain,
        ),
        trials=trials(phases, velocity, step),
        **splits.domains(steps, step, domain),
        domain=domain,
    )
    decoded = decode_velocity(counts[first_test:], tuning, motion, step=step)
    return data, coefficient_of_determination(decoded, velocity[first_test:])


def next_population(
    before: Population | None,
    units: int,
    mean_rate: float,
    kept_units: float,
    gain: float,
    generator: np.random.Generator,
    *,
    session: int,
) -> Population:
    """The units of the next session: some of the last one's, in their order, and new ones.

    Args:
        before: The units of the last session, or None.
        units: How many units there are.
        mean_rate: Mean of the new units' rates.
        kept_units: Share of the last session's units that stay.
        gain: Typical change of the log rate with the velocity.
        generator: Where the random numbers come from.
        session: Number of the session, which names the new units.
    """
    kept = 0 if before is None else round(kept_units * units)
    new = units - kept
    direction = generator.uniform(0.0, 2.0 * np.pi, new)
    depth = gain * generator.uniform(0.5, 1.5, new)
    fresh = Population(
        ids=np.array([f"unit_{session:02d}_{number:03d}" for number in range(new)], dtype=np.str_),
        mean_rate=generator.gamma(2.0, mean_rate / 2.0, new),
        gain=np.stack([depth * np.cos(direction), depth * np.sin(direction)], axis=1),
    )
    if before is None:
        return fresh
    stay = np.sort(generator.permutation(units)[:kept])
    return Population(
        ids=np.concatenate([before.ids[stay], fresh.ids]),
        mean_rate=np.concatenate([before.mean_rate[stay], fresh.mean_rate]),
        gain=np.concatenate([before.gain[stay], fresh.gain]),
    )


def movement_phases(position: FloatArray, velocity: FloatArray, velocity_std: float) -> NDArray[np.intp]:
    """What the cursor does at each sample: 0 holds still, 1 reaches out, 2 returns to the centre. Shape: (T,)."""
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    outward = (position * velocity).sum(axis=1) >= 0
    return np.where(speed < 0.5 * velocity_std, 0, np.where(outward, 1, 2))


def runs(active: NDArray[np.bool_], step: float) -> Interval:
    """The intervals in which samples are active."""
    change = np.diff(np.concatenate([[False], active, [False]]).astype(np.int8))
    return Interval(np.flatnonzero(change == 1) * step, np.flatnonzero(change == -1) * step)


def trials(phases: NDArray[np.intp], velocity: FloatArray, step: float) -> Interval:
    """From the end of each hold to the end of the next one, with the greatest speed on the way."""
    begin = np.flatnonzero((phases[1:] != 0) & (phases[:-1] == 0)) + 1
    if len(begin) < 2:
        return Interval(np.zeros(0), np.zeros(0), peak_speed=np.zeros(0))
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    peak = np.maximum.reduceat(speed, begin)[:-1]
    return Interval(begin[:-1] * step, begin[1:] * step, peak_speed=peak)


def check_settings(*, sessions: int, minutes: float, units: int, mean_rate: float, kept_units: float) -> None:
    """Raise if what to simulate makes no sense."""
    if sessions < 1 or units < 1:
        raise ValueError(f"expected at least one session and one unit, got {sessions} and {units}")
    if not (minutes > 0 and mean_rate > 0):
        raise ValueError(f"minutes and mean_rate must be positive, got {minutes} and {mean_rate}")
    if not 0 <= kept_units <= 1:
        raise ValueError(f"kept_units must be a share between 0 and 1, got {kept_units}")


__all__ = ["SimulatedRecording", "simulate_recordings"]

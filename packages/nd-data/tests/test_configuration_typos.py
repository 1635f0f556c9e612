"""A slip in any key of a configuration is reported at its line, with the key that was meant."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nd_data.configuration import (
    CONFIG_KEYS,
    ENTRY_KEYS,
    OPERATION_KEYS,
    READOUT_KEYS,
    SELECTION_KEYS,
    read_configuration,
)

LINES = """\
- selection:
    - brainset: perich_miller
      sessions: [c_20131003, c_20131022]
    - brainset: churchland
      subject: jenkins
      exclude_sessions: [j_20090912]
    - brainset: other
      session: s1
    - brainset: another
      subjects: [a, b]
  config:
    readout:
      readout_id: arm_velocity_2d
    multitask_readout:
      - readout_id: cursor_velocity_2d
        weights:
          movement_periods.reach_period: 5.0
        normalize_mean: 0.0
        normalize_std: 20.0
        timestamp_key: cursor.timestamps
        value_key: cursor.vel
        metrics: [r2]
        eval_interval: movement_periods.reach_period
    sampling_intervals:
      - intersect: trials
      - subtract: cursor_outlier_segments
      - dilate: 0.3
      - min_length: 1.0
""".splitlines()

KEYS = [
    (number, match.group(1))
    for number, line in enumerate(LINES)
    if (match := re.match(r"[ -]*(\w+):", line)) is not None
]


def slips(key):
    """One letter left out, doubled, or changed for its neighbour's place."""
    for place in range(1, len(key)):
        yield key[:place] + key[place + 1 :]
        yield key[:place] + key[place] + key[place:]
        if place + 1 < len(key):
            yield key[:place] + key[place + 1] + key[place] + key[place + 2 :]


def test_every_key_there_is_was_tried():
    read_configuration_keys = {*ENTRY_KEYS, *SELECTION_KEYS, *CONFIG_KEYS, *READOUT_KEYS, *OPERATION_KEYS}
    assert {key for _, key in KEYS} == read_configuration_keys


def test_the_configuration_without_slips_is_valid(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(LINES))
    assert len(read_configuration(path)) == 1


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), st.data())
def test_a_slip_in_a_key_is_found_with_its_line_and_what_was_meant(tmp_path, occurrence, data):
    number, key = occurrence
    slip = data.draw(st.sampled_from([word for word in dict.fromkeys(slips(key)) if word != key]))
    known = {*ENTRY_KEYS, *SELECTION_KEYS, *CONFIG_KEYS, *READOUT_KEYS, *OPERATION_KEYS}
    if slip in known:  # sessions without its last letter
        return
    path = tmp_path / "config.yaml"
    path.write_text("\n".join([*LINES[:number], LINES[number].replace(key, slip, 1), *LINES[number + 1 :]]))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_configuration(path)
    problem = next(line for line in str(caught.value).splitlines() if f"unknown key '{slip}'" in line)
    assert f"{path}, line {number + 1}: " in problem
    # One slip may lie as close to another key: of two, either may be meant.
    meant = re.search(r"did you mean '(\w+)'", problem)
    assert meant is not None, problem
    assert meant.group(1) == key or {meant.group(1), key} <= {"session", "sessions"} | {"subject", "subjects"}

import textwrap
from collections import UserDict, UserList

import numpy as np
import pytest

from nd_data.configuration import ConfigurationEntry, Selection, read_configuration
from nd_data.interval_operations import Dilate, Intersect, MinimumLength, Subtract


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


FULL = """\
    - selection:
      - brainset: perich_miller
        sessions: [c_20131003, c_20131022]
      - brainset: churchland
        subject: jenkins
        exclude_sessions: [j_20090912]
      config:
        multitask_readout:
          - readout_id: cursor_velocity_2d
            normalize_mean: 0.0
            normalize_std: [20.0, 10]
            timestamp_key: cursor.timestamps
            value_key: cursor.vel
            weights:
              movement_periods.reach_period: 5.0
              movement_periods.hold_period: 0
            eval_interval: movement_periods.reach_period
            metrics:
              - r2
              - metric:
                  _target_: torchmetrics.R2Score
        sampling_intervals:
          - intersect: trials
          - subtract: cursor_outlier_segments
          - dilate: 0.3
          - min_length: 1
    - selection: [{brainset: other, session: 20131003}]
      config: {readout: {readout_id: arm}}
"""


def test_a_full_configuration_is_read(write):
    first, second = read_configuration(write(FULL))
    assert [(s.brainset, s.sessions, s.subjects, s.exclude_sessions) for s in first.selections] == [
        ("perich_miller", ("c_20131003", "c_20131022"), None, ()),
        ("churchland", None, ("jenkins",), ("j_20090912",)),
    ]
    (readout,) = first.config["multitask_readout"]
    assert readout["weights"] == {"movement_periods.reach_period": 5.0, "movement_periods.hold_period": 0}
    assert readout["normalize_std"] == [20.0, 10]
    assert readout["metrics"] == ["r2", {"metric": {"_target_": "torchmetrics.R2Score"}}]
    assert first.operations == (
        Intersect("trials"),
        Subtract("cursor_outlier_segments"),
        Dilate(0.3),
        MinimumLength(1.0),
    )
    assert second.selections[0].sessions == ("20131003",)
    assert second.config == {"readout": {"readout_id": "arm"}}
    assert second.operations == ()


def test_the_fragment_of_the_guide_means_all_recordings(write):
    (entry,) = read_configuration(
        write("""\
        config:
          multitask_readout:
            - readout_id: cursor_velocity_2d
              weights:
                movement_periods.reach_period: 5.0  # Weight reach 5x more
                movement_periods.hold_period: 0.1   # Down-weight hold
        """)
    )
    assert entry.selections is None
    assert entry.config["multitask_readout"][0]["weights"]["movement_periods.hold_period"] == 0.1


def test_path_list_mapping_and_list_like_objects_mean_the_same(write):
    entry = {"selection": [{"brainset": "a"}], "config": {"readout": {"readout_id": "x"}}}
    path = write("selection: [{brainset: a}]\nconfig: {readout: {readout_id: x}}\n")
    wrapped = UserList([UserDict(selection=UserList([UserDict(brainset="a")]), config=entry["config"])])
    for given in (entry, [entry], wrapped, path, str(path)):
        (read,) = read_configuration(given)
        assert [s.brainset for s in read.selections] == ["a"]
        assert read.config == entry["config"]


def test_later_changes_to_what_was_passed_change_nothing():
    given = {"config": {"readout": {"readout_id": "x", "normalize_mean": np.array([1.0, 2.0])}}}
    (entry,) = read_configuration(given)
    given["config"]["readout"]["readout_id"] = "y"
    assert entry.config == {"readout": {"readout_id": "x", "normalize_mean": [1.0, 2.0]}}


def test_names_count_as_they_are_written_even_where_yaml_sees_numbers_or_dates(write):
    (entry,) = read_configuration(
        write("selection: [{brainset: 2013-10-03, sessions: [0120, 2013_10_03, 2013-10-03], exclude_sessions: [7]}]")
    )
    (selection,) = entry.selections
    assert selection.brainset == "2013-10-03"
    assert selection.sessions == ("0120", "2013_10_03", "2013-10-03")
    assert selection.exclude_sessions == ("7",)


def test_anchors_and_merge_keys_are_understood(write):
    first, second = read_configuration(
        write("""\
        - selection: [{brainset: a}]
          config: &shared
            readout: &readout {readout_id: x, normalize_std: 2.0}
        - selection: [{brainset: b}]
          config:
            <<: *shared
            readout: {<<: *readout, normalize_std: 3.0}
        """)
    )
    assert first.config["readout"]["normalize_std"] == 2.0
    assert second.config["readout"] == {"readout_id": "x", "normalize_std": 3.0}


def test_a_value_that_overrides_a_merged_one_is_reported_where_it_is_written(write):
    path = write("""\
        - config: {readout: &readout {readout_id: x, normalize_std: 2.0}}
          selection: [{brainset: a}]
        - selection: [{brainset: b}]
          config:
            readout:
              <<: *readout
              normalize_std: wide
        """)
    with pytest.raises(ValueError, match=r"config\.yaml, line 7: .*normalize_std must be a number"):
        read_configuration(path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "config: {multitask_readot: []}",
            1,
            "unknown key 'multitask_readot' in config; did you mean 'multitask_readout'",
        ),
        ("selektion: []\nconfig: {}", 1, "unknown key 'selektion' in the configuration; did you mean 'selection'"),
        (
            "config:\n  readout:\n    readout_id: x\n    weigths: {}",
            4,
            "unknown key 'weigths' in config.readout; did you mean 'weights'",
        ),
        ("selection:\n  - brain_set: a", 2, "unknown key 'brain_set' in selection[0]; did you mean 'brainset'"),
        ("selection:\n  - session: a", 2, "selection[0] needs the key 'brainset'"),
        (
            "config:\n  multitask_readout:\n    - weights: {}",
            3,
            "config.multitask_readout[0] needs the key 'readout_id'",
        ),
        ("config: {multitask_readout: {readout_id: x}}", 1, "config.multitask_readout must be a list, got a mapping"),
        ("config: {readout: [{readout_id: x}]}", 1, "config.readout must be a mapping, got a list"),
        ("config: {multitask_readout: []}", 1, "multitask_readout is empty"),
        ("config:\n  multitask_readout:\n  - readout_id: x\n  - readout_id: x", 4, "readout 'x' is given twice"),
        (
            "config: {readout: {readout_id: x,\n  weights: {a.b: heavy}}}",
            2,
            "weights.a.b must be a number, got the text 'heavy'",
        ),
        ("config: {readout: {readout_id: x, weights: {a: 1e-3}}}", 1, "YAML reads 1e-3 as text: write 0.001"),
        ("config: {readout: {readout_id: x, weights: {a: -1}}}", 1, "must be at least 0, got -1"),
        ("config: {readout: {readout_id: x, weights: {a: .nan}}}", 1, "must be finite, got nan"),
        ("config: {readout: {readout_id: x, weights: {a: true}}}", 1, "must be a number, got True"),
        ("config: {readout: {readout_id: x, normalize_std: 0}}", 1, "normalize_std must not be 0"),
        ("config: {readout: {readout_id: x, normalize_std: [1, 0]}}", 1, "normalize_std must not be 0"),
        ("config: {readout: {readout_id: x, normalize_mean: []}}", 1, "normalize_mean must not be empty"),
        ("config: {readout: {readout_id: x, value_key: [a]}}", 1, "value_key must be text, got a list"),
        ("config: {readout: {readout_id: x, eval_interval: }}", 1, "eval_interval must be text, got nothing"),
        ("config: {readout: {readout_id: x, metrics: r2}}", 1, "metrics must be a list, got the text 'r2'"),
        ("config: {readout: {readout_id: x, metrics: [{_target_: R2}]}}", 1, "metrics[0] needs the key 'metric'"),
        ("config: {readout: {readout_id: x, metrics: [{metric: {target: R2}}]}}", 1, "needs the key '_target_'"),
        ("selection: []", 1, "selection is empty"),
        ("selection: {brainset: a}", 1, "selection must be a list of mappings"),
        ("selection: [{brainset: a, session: b, subject: c}]", 1, "'session' and 'subject' cannot be given together"),
        ("selection: [{brainset: a, sessions: b}]", 1, "sessions must be a list, got the text 'b'"),
        ("selection: [{brainset: a, sessions: []}]", 1, "sessions must not be empty"),
        ("selection: [{brainset: a}]\nmultitask_readout: []", 2, "'multitask_readout' belongs under 'config'"),
        ("config: {sampling_intervals: {intersect: trials}}", 1, "sampling_intervals must be a list"),
        ("config: {sampling_intervals: [{intersekt: trials}]}", 1, "did you mean 'intersect'"),
        ("config: {sampling_intervals: [{dilate: 1, min_length: 2}]}", 1, "must hold one operation, got 2"),
        ("config: {sampling_intervals: [{dilate: 0}]}", 1, "dilate must be above 0"),
        ("config: {sampling_intervals: [{subtract: 3.5}]}", 1, "subtract must be text"),
        ("- config: {}\n- 3", 2, "[1] must be a mapping, got 3"),
        ("[]", 1, "empty list"),
        ("just text", 1, "must be a mapping, got the text 'just text'"),
        ("a: 1\na: 2", 2, "key 'a' was given before, in line 1"),
        ("selection: &x [*x]", 1, "contains itself"),
        ("selection: [", 1, "not valid YAML"),
        ("config: !!python/object/apply:os.system [echo]", 1, "not valid YAML: could not determine a constructor"),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_key(write, text, line, message):
    path = write(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_configuration(path)
    assert f"{path}, line {line}: " in str(caught.value)
    assert message in str(caught.value)


def test_all_mistakes_are_reported_at_once(write):
    path = write("""\
        - selection: [{brainset: a, sesion: b}]
          config:
            readout: {readout_id: x, weights: {a: many}}
        - selction: []
        """)
    with pytest.raises(ValueError, match="3 problems in the configuration") as caught:
        read_configuration(path)
    lines = str(caught.value).splitlines()[1:]
    assert [line.partition(", line ")[2][0] for line in lines] == ["1", "3", "4"]


@pytest.mark.parametrize("place", ["config:\n  sampling_intervals_modifier: |", "sampling_intervals_modifier: |"])
def test_code_in_a_configuration_is_refused_and_never_run(write, tmp_path, place):
    trace = tmp_path / "was_run"
    path = write(place + f"\n    open({str(trace)!r}, 'w')\n    sampling_intervals = None\n")
    with pytest.raises(ValueError, match=r"never run.*sampling_intervals.*\{intersect: path\}") as caught:
        read_configuration(path)
    assert "1 problems" not in str(caught.value)
    assert ", line " in str(caught.value)
    assert not trace.exists()


def test_a_python_configuration_is_reported_by_its_keys():
    with pytest.raises(ValueError, match=r"configuration\[0\]\['config'\]\['readot'\]: unknown key 'readot'"):
        read_configuration([{"config": {"readot": {}}}])
    with pytest.raises(ValueError, match="keys of config must be text, got 3"):
        read_configuration({"config": {3: {}}})


def test_a_missing_file_names_the_yaml_files_beside_it(write, tmp_path):
    write("config: {}")
    with pytest.raises(
        FileNotFoundError, match=r"no configuration file at .*conf\.yaml; YAML files there: .*config\.yaml"
    ):
        read_configuration(tmp_path / "conf.yaml")


def test_an_empty_file_and_a_binary_one_are_no_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"config\.yaml: the configuration file is empty"):
        read_configuration(path)
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"config\.yaml: not valid YAML"):
        read_configuration(path)


def test_anything_but_a_path_a_list_or_a_mapping_is_refused():
    with pytest.raises(TypeError, match="path of a YAML file, a list or a mapping, got int"):
        read_configuration(3)


def test_an_entry_without_config_has_an_empty_one(write):
    assert read_configuration(write("- selection: [{brainset: a}]\n  config:\n"))[0].config == {}
    assert read_configuration([{}]) == [ConfigurationEntry(where="configuration[0]")]


def test_a_selection_remembers_its_place(write):
    (entry,) = read_configuration(write("selection:\n  - brainset: a\n  - brainset: b\n"))
    assert isinstance(entry.selections[1], Selection)
    assert entry.selections[1].where.endswith("config.yaml, line 3")

"""The page itself: complete, of one file, small, and deaf to what names hold."""

import json
import re
from html.parser import HTMLParser

import pytest

from nd_train.report import write_report
from nd_train.report.page import SIZE_LIMIT, json_for_html, script_hash

HOSTILE = 'lab/</script><img src=x onerror="alert(1)">&amp;\u2028ünï–日本'


class Read(HTMLParser):
    """Tags with their attributes, what is visible, and what scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self.ids = [], [], [], {}
        self._inside = []
        self.feed(text)
        self.close()
        self.words = re.sub(r"\s+", " ", " ".join(self.text))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self._inside.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1][0] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if self._inside:
            tag, attributes = self._inside[-1]
            if tag == "script":
                self.scripts.append((attributes, data))
                self.ids[attributes.get("id")] = data
        elif data.strip():
            self.text.append(data)


def page_of(folder, **options):
    (path,) = write_report(folder, **{"baselines": False, **options})
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size <= SIZE_LIMIT
    return Read(text), text


def test_the_page_says_score_interval_facts_command_and_versions(make_run):
    folder = make_run("lab/day_1", "lab/day_2")
    read, _ = page_of(folder)
    stored = json.loads((folder / "test_scores.json").read_text())
    mean = sum(stored[name]["cursor_velocity_2d"]["r2"] for name in stored) / 2
    assert f"{mean:.3f} R²" in read.words
    assert re.search(r"95 % interval 0\.\d{3} – 0\.\d{3}", read.words)
    for text in (
        *("Recordings 2", "Recorded time 12 min", "Units 101", "Spikes 246,912", "Split “train” 8 min"),
        *("Evaluated time, test 3 min 40 s", "Leakage check passed", "ab" * 32),
        *("nd-train fit --data.root 'my recordings' --seed_everything=7", "Seed 7", "4f1c9e0 (with changes"),
        *("torch 2.13.0", "Architecture POYOPlus", "Learning rate 0.003"),
    ):
        assert text in read.words, text
    assert "seed_everything: 7" in read.words  # the configuration as it is written


def test_calcium_imaging_has_frames_in_place_of_spikes(make_run):
    folder = make_run("lab/day_1", "lab/day_2", classes=False)
    record = json.loads((folder / "run.json").read_text())
    for entry in record["data"]["recordings"].values():
        del entry["spikes"]
        entry["frames"] = 1800
    (folder / "run.json").write_text(json.dumps(record))
    read, _ = page_of(folder)
    assert "Frames 3,600" in read.words
    assert "1,800" in read.words
    assert "Spikes" not in read.words


def test_nothing_on_the_page_points_outside_and_only_its_own_scripts_may_run(make_run):
    read, text = page_of(make_run("lab/day_1"))
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = (a["content"] for t, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    run = [source for attributes, source in read.scripts if "type" not in attributes]
    assert len(run) == 3
    assert all(script_hash(source) in policy for source in run)
    assert "url(" not in text.split("</style>")[0]


def test_names_that_try_to_be_markup_stay_names(make_run):
    folder = make_run(HOSTILE, "lab/day_2")
    record = json.loads((folder / "run.json").read_text())
    record["command"] += ["</pre><script>alert(2)</script>"]
    (folder / "run.json").write_text(json.dumps(record))
    read, _ = page_of(folder)
    assert not any(tag == "img" for tag, _ in read.tags)
    assert "alert(2)" not in "".join(source for _, source in read.scripts)
    assert {trace["recording"] for trace in json.loads(read.ids["content"])["traces"]} == {HOSTILE, "lab/day_2"}
    assert HOSTILE in "".join(read.text)
    assert "</pre><script>alert(2)</script>" in "".join(read.text)
    assert read.tags.count(("script", {})) == 3


def test_json_in_the_page_can_neither_end_its_element_nor_hold_what_json_does_not_know():
    text = json_for_html({HOSTILE: [float("nan"), float("inf"), 1.5]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {HOSTILE: [None, None, 1.5]}


def test_no_number_has_more_digits_than_anyone_reads(make_run):
    read, _ = page_of(make_run("lab/day_1", "lab/day_2"))
    assert not re.search(r"\d\.\d{7,}", read.words)


def test_many_recordings_stay_below_the_limit_and_the_page_says_what_it_thinned(make_run):
    names = [f"lab/day_{day:02d}" for day in range(50)]
    folder = make_run(*names, seconds=120.0, classes=False)
    read, _ = page_of(folder)
    content = json.loads(read.ids["content"])
    assert [trace["recording"] for trace in content["traces"]] == names
    assert {trace["times"] for trace in content["traces"]} == {11_500}
    assert all(trace["every"] > 1 for trace in content["traces"])
    assert len([name for name in read.ids if name and name.startswith("trace-")]) == 50


@pytest.mark.parametrize(
    ("lacking", "absent", "said"),
    [
        ("test_traces.h5", "Predicted against true", "No predicted and true traces"),
        ("metrics.csv", "curves", "No training curves"),
        ("run.json", "Recordings, one by one", "No record of command"),
        ("config.yaml", "Configuration", "No configuration"),
        ("test_scores.json", None, "No scores"),
    ],
)
def test_a_run_that_lacks_a_file_gives_a_page_of_the_rest_that_says_so(make_run, lacking, absent, said):
    read, _ = page_of(make_run("lab/day_1", left_out=(lacking,)))
    assert said in read.words
    assert lacking in read.words
    if absent == "curves":
        assert not any(attributes.get("id") == "curves" for _, attributes in read.tags)
    elif absent:
        assert absent not in read.words.replace(said, "")


def test_scores_alone_make_a_page_without_charts(make_run):
    folder = make_run("lab/day_1", left_out=("test_traces.h5", "metrics.csv", "run.json", "config.yaml"))
    read, text = page_of(folder)
    assert "lab/day_1" in "".join(read.text)
    assert "library" not in read.ids
    assert len(text) < 100_000


def test_a_file_that_is_broken_is_named_and_the_rest_is_there(make_run):
    folder = make_run("lab/day_1")
    (folder / "run.json").write_text('{"format": ')
    (folder / "test_traces.h5").write_bytes(b"no HDF5")
    read, _ = page_of(folder)
    assert "run.json cannot be read" in read.words
    assert "test_traces.h5 cannot be read" in read.words
    assert "R²" in read.words


def test_a_longitudinal_run_has_its_scores_and_curves(tmp_path):
    folder = tmp_path / "version_0"
    folder.mkdir()
    scores = {"test_oots_loss": 0.25, "test_oots_pearsonr": 0.5, "test_oots_count": 1234.0, "test_valset_loss": 0.5}
    (folder / "test_scores.json").write_text(json.dumps({**scores, "test_loss": 0.375}))
    (folder / "config.yaml").write_text("system: longitudinal\nmodel: {network: {architecture: Recurrent}}\n")
    (folder / "metrics.csv").write_text("epoch,step,train_loss,val_loss\n0,9,1.0,0.9\n1,19,0.5,0.6\n")
    read, _ = page_of(folder)
    assert "Scores by subset" in read.words
    for text in ("oots", "0.250", "0.500", "1,234", "0.375"):
        assert text in read.words
    assert json.loads(read.ids["content"])["curves"][0]["title"] == "loss"

"""What every picture promises: files whole or not at all, no global state, one clear error without matplotlib."""

import struct
import sys
import threading

import matplotlib as mpl
import pytest
import torch
from matplotlib import _pylab_helpers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nd_eval import StitchedTrace
from nd_eval.plot import plot_confusion, plot_scatter, plot_scores, plot_traces
from nd_eval.plot.picture import score_text, shortened, shortened_names

TIMES = torch.arange(200, dtype=torch.float64) / 50
VALUES = torch.stack([TIMES.sin(), TIMES.cos()], dim=1)
CLASSES = (torch.arange(200) // 20) % 3

PICTURES = {
    "traces": lambda axes=None: plot_traces(StitchedTrace(TIMES, VALUES * 0.9, VALUES), dimensions=[0], axes=axes),
    "scores": lambda axes=None: plot_scores({"one": 0.5, "two": 0.7}, axes=axes),
    "confusion": lambda axes=None: plot_confusion(CLASSES.roll(1), CLASSES, axes=axes),
    "scatter": lambda axes=None: plot_scatter(VALUES[:, 0] * 0.9, VALUES[:, 0], axes=axes),
}


@pytest.fixture(params=list(PICTURES))
def draw(request):
    return PICTURES[request.param]


def test_a_picture_is_saved_as_png_pdf_and_svg(draw, tmp_path):
    picture = draw()
    heads = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}
    for kind, head in heads.items():
        path = picture.save(tmp_path / "new folder" / f"picture.{kind}")
        assert path.read_bytes().startswith(head)
    width, height = struct.unpack(">II", (tmp_path / "new folder" / "picture.png").read_bytes()[16:24])
    assert 300 < width < 4000
    assert 200 < height < 4000
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == [f"picture.{k}" for k in sorted(heads)]


def test_the_same_picture_is_the_same_png(draw, tmp_path):
    assert draw().save(tmp_path / "a.png").read_bytes() == draw().save(tmp_path / "b.png").read_bytes()


def test_pyplot_and_its_settings_know_nothing_of_it(draw, tmp_path):
    backend, settings = mpl.get_backend(auto_select=False), mpl.rcParams.copy()
    draw().save(tmp_path / "picture.png")
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []
    assert mpl.get_backend(auto_select=False) == backend
    assert mpl.rcParams.copy() == settings


def test_it_draws_on_axes_of_the_callers_figure(draw):
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    picture = draw(axes=right)
    assert picture.figure is figure
    assert picture.axes == (right,)
    assert not left.has_data()
    assert right.has_data()
    figure.canvas.draw()


def test_axes_in_a_part_of_a_figure_give_the_whole_figure(draw):
    figure = Figure(layout="constrained")
    _, right = figure.subfigures(1, 2)
    assert draw(axes=right.subplots()).figure is figure


def test_threads_draw_at_the_same_time(draw, tmp_path):
    expected = draw().save(tmp_path / "alone.png").read_bytes()
    failures = []

    def work(number):
        try:
            assert draw().save(tmp_path / f"{number}.png").read_bytes() == expected
        except BaseException as problem:
            failures.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_unknown_suffix_is_an_error_that_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"saved as \.png, \.pdf, \.svg; found 'picture\.jpg'"):
        PICTURES["scores"]().save(tmp_path / "picture.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_text("older")

    def fail(self, file, **settings):
        file.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        PICTURES["scores"]().save(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_the_error_names_the_extra(draw, monkeypatch):
    for name in ("matplotlib.axes", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pictures need matplotlib: pip install 'nd-eval\[plot\]'"):
        draw()


def test_the_wrong_number_of_axes_is_an_error():
    axes = Figure().subplots(1, 3)
    with pytest.raises(ValueError, match="this picture has 2 panels, but 3 Axes were given"):
        plot_traces(StitchedTrace(TIMES, VALUES, VALUES), axes=axes)


def test_a_notebook_is_shown_a_png(draw):
    assert draw()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.834, "0.83"),
        (-0.2, "−0.20"),
        (0.0, "0.00"),
        (-0.001, "−0.001"),
        (1.5e-5, "1.5e−05"),
        (1234.0, "1.23e+03"),
        (float("nan"), "undefined"),
    ],
)
def test_scores_are_written_in_few_digits(value, text):
    assert score_text(value) == text


def test_long_names_lose_their_middle_but_stay_distinct():
    assert shortened("a" * 30 + "z" * 30, 11) == "aaaaa…zzzzz"
    assert shortened("short", 11) == "short"
    names = [f"{'a' * 30}{letter}{'z' * 30}" for letter in "xy"]
    short = shortened_names(names, 11)
    assert len(set(short)) == 2
    assert all(len(name) <= 61 for name in short)
    assert shortened_names(["one", "two"], 11) == ["one", "two"]

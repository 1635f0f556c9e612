"""Confusion matrices against scikit-learn's."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from nd_eval import StitchedTrace
from nd_eval.evaluation_result import EvaluationResult
from nd_eval.plot import plot_confusion


def drawn(count=300, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (count,), generator=generator)
    return torch.randn(count, classes, generator=generator) + 2 * torch.nn.functional.one_hot(targets, classes), targets


def shares(axes):
    return (
        axes.images[0].get_array().filled(np.nan)
        if np.ma.isMaskedArray(axes.images[0].get_array())
        else axes.images[0].get_array()
    )


def test_colours_numbers_and_scores_are_those_of_scikit_learn():
    logits, targets = drawn()
    (axes,) = plot_confusion(logits, targets, class_names=["a", "b", "c", "d"]).axes
    decisions = logits.argmax(1)
    counts = confusion_matrix(targets, decisions)
    np.testing.assert_allclose(shares(axes), confusion_matrix(targets, decisions, normalize="true"))
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for row in range(4):
        for column in range(4):
            count = counts[row, column]
            share = f"{100 * count / counts[row].sum():.0f}%\n{count}" if count else "0"
            assert written[column, row] == share
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"{name}  (n={total})" for name, total in zip("abcd", counts.sum(1), strict=True)]
    assert [label.get_text() for label in axes.get_xticklabels()] == list("abcd")
    scores = (accuracy_score(targets, decisions), balanced_accuracy_score(targets, decisions))
    assert axes.get_title(loc="left") == f"accuracy {scores[0]:.2f}, balanced {scores[1]:.2f}"


def test_a_result_pools_its_recordings():
    traces = {}
    for seed, name in enumerate(("a/one", "b/two")):
        logits, targets = drawn(seed=seed)
        traces[name] = {"state": StitchedTrace(torch.arange(300).double(), logits, targets)}
    result = EvaluationResult({}, {}, float("nan"), False, "", {}, traces=traces)
    (axes,) = plot_confusion(result).axes
    decisions, targets = (
        torch.cat(parts) for parts in zip(*[(d[0].argmax(1), d[1]) for d in (drawn(), drawn(seed=1))], strict=True)
    )
    np.testing.assert_allclose(shares(axes), confusion_matrix(targets, decisions, normalize="true"))
    (axes,) = plot_confusion(result, recordings=["b/two"]).axes
    logits, targets = drawn(seed=1)
    np.testing.assert_allclose(shares(axes), confusion_matrix(targets, logits.argmax(1), normalize="true"))


def test_named_classes_keep_their_place_also_where_none_is_true_or_predicted():
    targets, preds = torch.tensor([2, 2, 2]), torch.tensor([2, 0, 2])
    (axes,) = plot_confusion(preds, targets, class_names=["a", "b", "c"]).axes
    np.testing.assert_allclose(shares(axes), [[np.nan] * 3, [np.nan] * 3, [1 / 3, 0, 2 / 3]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  (n=0)", "b  (n=0)", "c  (n=3)"]
    assert sorted(text.get_position() for text in axes.texts) == [(0, 2), (1, 2), (2, 2)]


def test_a_mapping_orders_and_names_any_classes():
    targets, preds = torch.tensor([-1, 7, 7]), torch.tensor([-1, -1, 7])
    (axes,) = plot_confusion(preds, targets, class_names={7: "seven", -1: "none"}).axes
    np.testing.assert_allclose(shares(axes), [[0.5, 0.5], [0, 1]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["seven", "none"]


def test_a_single_class_and_binary_logits_can_be_drawn(tmp_path):
    ones = torch.ones(5, dtype=torch.int64)
    picture = plot_confusion(ones, ones)
    np.testing.assert_allclose(shares(picture.axes[0]), [[1.0]])
    picture.save(tmp_path / "one.png")
    (axes,) = plot_confusion(torch.tensor([[0.3], [-2.0]]), torch.tensor([1, 1])).axes
    np.testing.assert_allclose(shares(axes), [[np.nan, np.nan], [0.5, 0.5]])


@pytest.mark.parametrize("classes", [2, 12, 40])
def test_labels_and_cell_texts_do_not_overlap_and_stay_in_the_picture(classes):
    logits, targets = drawn(5000, classes)
    names = [f"an unusually long name of class {number}" for number in range(classes)]
    picture = plot_confusion(logits, targets, class_names=names)
    picture.figure.canvas.draw()
    renderer = picture.figure.canvas.get_renderer()
    (axes,) = picture.axes
    rows = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(rows))
    inside = [*rows, axes.yaxis.label.get_window_extent(renderer), axes.xaxis.label.get_window_extent(renderer)]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= picture.figure.bbox.width for box in inside)
    cells = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(cells) == (classes**2 if classes <= 12 else 0)
    assert not any(a.overlaps(b) for number, a in enumerate(cells) for b in cells[number + 1 :])


def test_what_cannot_be_drawn_is_one_clear_error():
    logits, targets = drawn()
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_confusion(logits[:0], targets[:0])
    with pytest.raises(TypeError, match="give the targets as the second argument"):
        plot_confusion(logits)
    with pytest.raises(TypeError, match="targets must be class indices"):
        plot_confusion(logits, targets.double())
    with pytest.raises(ValueError, match="class 3 has no name; names are given for 0, 1, 2"):
        plot_confusion(logits, targets, class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="shape"):
        plot_confusion(logits[:5], targets)
    logits[3, 1] = float("nan")
    with pytest.raises(ValueError, match="logit is NaN"):
        plot_confusion(logits, targets)

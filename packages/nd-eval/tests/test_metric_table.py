"""The table of metrics that a configuration can name."""

import pytest
import torch
import torchmetrics

from nd_eval import METRICS, build_metric, metric_name_from_target


def test_every_entry_builds_a_metric_of_its_direction_that_accepts_its_targets():
    data = {
        "continuous": (torch.randn(9, 2), torch.randn(9, 2)),
        "classes": (torch.randn(9, 3), torch.arange(9) % 3),
        "angles": (torch.randn(9, 2), torch.randn(9, 2)),
        "counts": (torch.rand(9, 2), torch.arange(18.0).reshape(9, 2)),
        "sequences": (torch.randn(3, 9, 2), torch.randn(3, 9, 2)),
    }
    assert {"r2", "pearsonr", "mse", "mae", "accuracy", "balanced_accuracy"} <= set(METRICS)
    assert {"f1_macro", "f1_weighted", "circular_error", "circular_correlation"} <= set(METRICS)
    assert {"bits_per_spike", "poisson_pseudo_r2", "masked_mse", "masked_pearsonr"} <= set(METRICS)
    for name, spec in METRICS.items():
        metric = build_metric(name, num_outputs=2, num_classes=3)
        assert spec.name == name
        assert metric.higher_is_better is spec.larger_is_better
        metric.update(*data[spec.targets])
        assert metric.compute().shape == ()


def test_sizes_are_checked_where_they_are_given():
    with pytest.raises(ValueError, match="expected 2 output dimensions; found 3"):
        build_metric("r2", num_outputs=2).update(torch.randn(9, 3), torch.randn(9, 3))
    with pytest.raises(ValueError, match="target class 2 is outside the range 0 … 1"):
        build_metric("accuracy", num_classes=2).update(torch.tensor([1]), torch.tensor([2]))
    metric = build_metric("accuracy", num_classes=1)  # one logit decides between two classes
    metric.update(torch.tensor([[2.0], [-2.0]]), torch.tensor([1, 1]))
    assert metric.compute() == 0.5


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(KeyError, match=r"no metric 'r2_scor'.*known are r2, .*balanced_accuracy"):
        build_metric("r2_scor")
    with pytest.raises(KeyError, match="did you mean 'balanced_accuracy'"):
        build_metric("balanced_acuracy")


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        METRICS["mine"] = METRICS["r2"]


@pytest.mark.parametrize(
    ("target", "settings", "name"),
    [
        ("torchmetrics.R2Score", None, "r2"),
        ("torchmetrics.regression.R2Score", {"num_outputs": 2}, "r2"),
        ("torchmetrics.R2Score", {"multioutput": "variance_weighted"}, "r2_variance_weighted"),
        ("torchmetrics.MeanSquaredError", {"squared": True}, "mse"),
        ("torchmetrics.MeanAbsoluteError", {}, "mae"),
        ("torchmetrics.PearsonCorrCoef", None, "pearsonr"),
        ("torchmetrics.Accuracy", {"task": "multiclass", "num_classes": 8}, "accuracy"),
        ("torchmetrics.Accuracy", {"task": "multiclass", "num_classes": 8, "average": "macro"}, "balanced_accuracy"),
        ("torchmetrics.classification.MulticlassAccuracy", {"num_classes": 8}, "balanced_accuracy"),
        ("torchmetrics.classification.MulticlassAccuracy", {"num_classes": 8, "average": "micro"}, "accuracy"),
        ("torchmetrics.F1Score", {"task": "multiclass", "num_classes": 8}, "accuracy"),
        ("torchmetrics.F1Score", {"task": "multiclass", "average": "macro"}, "f1_macro"),
        ("torchmetrics.classification.MulticlassF1Score", {"num_classes": 8}, "f1_macro"),
        ("torchmetrics.classification.MulticlassF1Score", {"average": "weighted"}, "f1_weighted"),
    ],
)
def test_torchmetrics_classes_in_configurations_are_translated(target, settings, name):
    assert metric_name_from_target(target, settings) == name


@pytest.mark.parametrize(
    "target", ["torchmetrics.R2Scor", "os.system", "sklearn.metrics.R2Score", "R2Score", "torchmetrics."]
)
def test_other_classes_are_refused_and_never_imported(target):
    with pytest.raises(KeyError, match=r"torchmetrics\.R2Score.*balanced_accuracy"):
        metric_name_from_target(target)


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("torchmetrics.MeanSquaredError", {"squared": False}),
        ("torchmetrics.Accuracy", {"task": "multiclass", "top_k": 5}),
        ("torchmetrics.R2Score", {"adjusted": 2}),
        ("torchmetrics.Accuracy", {"average": "weighted"}),
        ("torchmetrics.F1Score", {"task": "binary"}),
    ],
)
def test_settings_without_a_counterpart_are_refused(target, settings):
    with pytest.raises(ValueError, match="has no counterpart"):
        metric_name_from_target(target, settings)


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
@pytest.mark.parametrize("name", ["F1Score", "MulticlassF1Score"])
def test_a_translated_f1_has_the_value_of_the_torchmetrics_class(name, average):
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, 3, (2, 50), generator=generator)
    settings = {"num_classes": 3} | ({} if average is None else {"average": average})
    theirs = getattr(torchmetrics.classification, name)(
        **settings, **({"task": "multiclass"} if name[0] == "F" else {})
    )
    ours = build_metric(metric_name_from_target(f"torchmetrics.classification.{name}", settings))
    theirs.update(preds, target)
    ours.update(preds, target)
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), abs=1e-6)

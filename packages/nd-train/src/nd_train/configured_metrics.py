"""Metrics of each recording and task, as the data's configuration names them."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from torchmetrics import Metric

from nd_data import Dataset
from nd_data.nearest_names import name_hint
from nd_eval import build_metric, metric_name_from_target
from nd_models import DataType, ModalitySpec
from nd_train.label_scores import LabelScore, LabelScoreName

SessionMetrics = dict[str, dict[str, dict[str, Metric]]]


def configured_metrics(dataset: Dataset, readout_specs: Mapping[str, ModalitySpec]) -> SessionMetrics:
    """Build the metrics of every recording and task from the ``metrics:`` of its configuration.

    A readout without ``metrics:`` gets R² where its modality is continuous, and balanced accuracy where it is not: of
    its classes, or of each of its labels.

    Args:
        dataset: The recordings to evaluate, with their configuration.
        readout_specs: The model's modalities by readout id.

    Returns:
        ``{session id: {readout id: {metric name: metric}}}``, what `MultiTaskDecodingStitchEvaluator` takes.

    Raises:
        KeyError: a readout that `readout_specs` lacks, or a metric that is not in the table of names.
    """
    metrics: SessionMetrics = {}
    sessions = dataset.get_session_id_dict()
    for recording_id, configuration in dataset.get_recording_config_dict().items():
        readouts = configuration.get("multitask_readout")
        if readouts is None:
            readouts = [configuration["readout"]] if "readout" in configuration else []
        by_task: dict[str, dict[str, Metric]] = {}
        for readout in readouts:
            readout_id = readout["readout_id"]
            if readout_id not in readout_specs:
                raise KeyError(
                    f"recording '{recording_id}': its readout '{readout_id}' is not one of the model's; "
                    f"{name_hint(readout_id, readout_specs, noun='they are')}"
                )
            by_task[readout_id] = metrics_of_readout(readout.get("metrics"), readout_specs[readout_id])
        metrics[sessions[recording_id]] = by_task
    return metrics


def metrics_of_readout(names: list[Any] | None, spec: ModalitySpec) -> dict[str, Metric]:
    """Build one readout's metrics.

    Args:
        names: Names of the metric table, or the old ``{metric: {_target_: …}}``; None for R² where the modality is
            continuous and balanced accuracy where it is not. Where every label holds or does not (binary and
            multilabel modalities), accuracies and F1 are those of `LabelScore`.
        spec: The readout.

    Returns:
        Metrics by name.

    Raises:
        KeyError: a metric that is not in the table of names.
    """
    continuous = spec.type == DataType.CONTINUOUS
    if names is None:
        names = ["r2" if continuous else "balanced_accuracy"]
    return {name: _metric(name, spec) for name in map(_metric_name, names)}


def _metric(name: str, spec: ModalitySpec) -> Metric:
    if spec.type in (DataType.BINARY, DataType.MULTILABEL) and name in get_args(LabelScoreName):
        return LabelScore(spec.dim, cast("LabelScoreName", name))
    classes = spec.type == DataType.MULTINOMIAL
    return build_metric(name, **({"num_classes": spec.dim} if classes else {"num_outputs": spec.dim}))


def _metric_name(entry: Any) -> str:
    if isinstance(entry, Mapping):
        entry = entry["metric"]
        if isinstance(entry, Mapping):
            settings = {key: value for key, value in entry.items() if key != "_target_"}
            return metric_name_from_target(str(entry["_target_"]), settings)
    return str(entry)

"""``nd-train export``: a trained model as a folder to share, or predictions in the layout of a benchmark."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nd_models import DecoderModel

FORMATS = ("model", "nlb", "falcon", "brain_wide_bench")
"""What can be written: a model, or traces as one of `nd_train.benchmark_layout.BENCHMARKS`."""


def main(arguments: Sequence[str]) -> int:
    """Write a model as safetensors and JSON, or traces as a benchmark wants them.

    Args:
        arguments: A checkpoint or a file of traces, and options.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not what the format needs, or the layout is not complete.
    """
    options = parser().parse_args(arguments)
    source = Path(options.source)
    writes: dict[bool, Callable[[argparse.Namespace, Path], Path]] = {True: _export_model, False: _export_traces}
    print(f"written: {writes[options.format == 'model'](options, source)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of this command."""
    found = argparse.ArgumentParser(
        prog="nd-train export",
        description="Write a trained model as a folder to share (safetensors and JSON), or the traces of "
        "`nd-train test` and `nd-train predict` in the layout of a benchmark.",
        epilog="example: nd-train export run/lightning_logs/version_0/checkpoints/best.ckpt --output shared/decoder",
    )
    found.add_argument("source", help="a checkpoint or model folder; for a benchmark, a file of traces")
    found.add_argument(
        "--output", required=True, help="folder of the model, or what the benchmark wants: file or folder"
    )
    found.add_argument("--format", choices=FORMATS, default="model", help="what to write")
    found.add_argument("--merge_lora", action="store_true", help="make low-rank changes part of the weights")
    found.add_argument("--layout", help="YAML file that says which times the benchmark wants; see the how-to")
    found.add_argument("--root", help="folder of recordings, for a layout that names their intervals")
    return found


def pretrained_model(path: str | Path) -> "DecoderModel":
    """The model of a checkpoint or of a shared folder, with all that belongs to it.

    That is its weights, vocabularies and low-rank changes, and what its targets were scaled by.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: it is damaged, holds code, or does not describe its model.
    """
    from nd_models import from_pretrained, model_from_config, read_checkpoint
    from nd_train.pretrained import Pretrained, described_network
    from nd_train.target_statistics import statistics_of_checkpoint

    if Path(path).is_dir():
        return from_pretrained(Path(path))
    config, state = read_checkpoint(Path(path))
    model = model_from_config(described_network(Pretrained(config, state)))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: the weights do not fit the configuration beside them: {reason}") from None
    model.target_statistics = statistics_of_checkpoint(path)
    return model


def _export_model(options: argparse.Namespace, source: Path) -> Path:
    from nd_models import merge_lora, save_pretrained

    if _is_traces(source):
        raise ValueError(
            f"{source}: a file of traces is no model; give a checkpoint, or --format {' | '.join(FORMATS[1:])}"
        )
    if options.layout or options.root:
        raise ValueError("--layout and --root belong to the formats of benchmarks: give --format")
    model = pretrained_model(source)
    if options.merge_lora and hasattr(model, "lora_config"):
        merge_lora(model)
    save_pretrained(model, options.output)
    return Path(options.output)


def _export_traces(options: argparse.Namespace, source: Path) -> Path:
    from nd_train.benchmark_layout import BENCHMARKS, read_layout, write_benchmark
    from nd_train.trace_attributes import traces_in_data_units
    from nd_train.traces import HDF5_SUFFIXES, Traces, read_trace_attributes, read_traces

    if not _is_traces(source):
        raise ValueError(
            f"{source}: --format {options.format} is made of traces; write them with `nd-train predict {source} "
            "--output traces.h5`, and export that file"
        )
    if options.merge_lora:
        raise ValueError("--merge_lora belongs to a model: leave it out, or leave --format out")
    if not options.layout:
        raise ValueError(
            f"--format {options.format} needs --layout FILE.yaml, which says what times the benchmark scores; it has "
            f"{BENCHMARKS[options.format]}"
        )
    layout = read_layout(options.layout)
    traces: Traces = read_traces(source)
    if source.suffix.lower() in HDF5_SUFFIXES:
        # Those of a test are in the scale that was scored.
        traces = traces_in_data_units(traces, read_trace_attributes(source))
    return write_benchmark(options.format, traces, layout, Path(options.output), root=options.root)


def _is_traces(source: Path) -> bool:
    from nd_train.traces import CSV_SUFFIXES, HDF5_SUFFIXES

    return source.suffix.lower() in HDF5_SUFFIXES + CSV_SUFFIXES

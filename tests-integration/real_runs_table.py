"""The tables of real runs: mean scores over seeds and how far seeds differ, who is ahead, and what it all took."""

from pathlib import Path
from typing import Any

import numpy as np

BEGIN, END = "<!-- real runs: begin -->", "<!-- real runs: end -->"
DECODERS = {"poyo_plus": "POYO+", "gru": "GRU", "peer": "POYO+ of torch_brain 0.1.2", "ridge": "ridge"}
LABELS = {
    "m1_center_out/chewie_20131003": "`m1_center_out`, session 2013-10-03",
    "m1_center_out/chewie_20131219": "`m1_center_out`, session 2013-12-19",
    "head_direction/A2929-200711": "`head_direction`, (cos, sin)",
    "sleep_states/ca1_12h": "`sleep_states`",
}
METRIC_NAMES = {"r2": "R²", "balanced_accuracy": "balanced accuracy"}


def over_seeds(scores: list[list[float]]) -> tuple[float, float | None, float, float]:
    """Mean score, standard deviation over seeds (None for one seed), and the means of the intervals' ends.

    Args:
        scores: For each seed the score and the two ends of its interval.
    """
    values, lows, highs = np.asarray(scores, dtype=np.float64).T
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    return float(values.mean()), spread, float(lows.mean()), float(highs.mean())


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of all results, and below it how far POYO+ is ahead and what one seed of each took."""
    present = [decoder for decoder in DECODERS if any(decoder in result["intervals"] for result in results)]
    columns = " | ".join(DECODERS[decoder] for decoder in present)
    lines = [f"| recording | score | seeds | {columns} |", "|---|---|---|" + "---|" * len(present)]
    for result in results:
        for recording in sorted(result["intervals"]["poyo_plus"]):
            by_decoder = {
                decoder: over_seeds(result["intervals"][decoder][recording])
                for decoder in present
                if decoder in result["intervals"]
            }
            best = max(mean for mean, *_ in by_decoder.values())
            cells = " | ".join(_cell(by_decoder.get(decoder), best) for decoder in present)
            metric = METRIC_NAMES[result["metric"]]
            lines.append(f"| {LABELS[recording]} | {metric} | {len(result['seeds'])} | {cells} |")
    lines += _ahead(results)
    lines += ["", f"| training and test of one seed, wall (processor) seconds | {columns} |"]
    lines.append("|---|" + "---|" * len(present))
    for result in results:
        cells = " | ".join(_time(result["took"].get(decoder)) for decoder in present)
        lines.append(f"| `{result['name']}` | {cells} |")
    return "\n".join(lines)


def _ahead(results: list[dict[str, Any]]) -> list[str]:
    others = [decoder for decoder in DECODERS if any(decoder in result["poyo_plus_ahead_of"] for result in results)]
    lines = ["", f"| POYO+ is ahead of | {' | '.join(DECODERS[decoder] for decoder in others)} |"]
    lines.append("|---|" + "---|" * len(others))
    for result in results:
        for recording in sorted(result["intervals"]["poyo_plus"]):
            found = [result["poyo_plus_ahead_of"].get(decoder, {}).get(recording) for decoder in others]
            cells = ["–" if one is None else f"{one[0]:+.3f} [{one[1]:+.3f}, {one[2]:+.3f}]" for one in found]
            cells = [cell.replace("-", "−") for cell in cells]
            lines.append(f"| {LABELS[recording]} | {' | '.join(cells)} |")
    return lines


def _cell(found: tuple[float, float | None, float, float] | None, best: float) -> str:
    if found is None:
        return "–"
    mean, spread, low, high = found
    value = f"**{mean:.3f}**" if mean == best else f"{mean:.3f}"
    return f"{value}{'' if spread is None else f' ± {spread:.3f}'} [{low:.3f}, {high:.3f}]"


def _time(runs: list[dict[str, float]] | None) -> str:
    if runs is None:
        return "–"
    wall, processor = (np.mean([run[key] for run in runs]) for key in ("seconds", "cpu_seconds"))
    return f"{wall:.0f} ({processor:.0f})"


def write_table(file: Path, results: list[dict[str, Any]]) -> None:
    """Put the table between the marks of a document, in place of what stands there."""
    text = file.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{file}: expected the lines {BEGIN} and {END}, between which the table goes")
    before, rest = text.split(BEGIN, 1)
    file.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{rest.split(END, 1)[1]}")

"""The report card: one HTML file with everything in it."""

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from nd_eval import StitchedTrace
from nd_eval.whole_file import whole_file
from nd_train.__about__ import __version__
from nd_train.report.confusion_tables import confusion_tables
from nd_train.report.drift import Drift
from nd_train.report.numbers import plural, score_text
from nd_train.report.packed_traces import PackedTrace, pack_traces, spread
from nd_train.report.page_content import (
    data_facts,
    forecast_card,
    headline_card,
    interval_text,
    metric_label,
    model_facts,
    recording_facts,
    reproduction,
    score_table,
    stage_text,
    subset_table,
)
from nd_train.report.run_folder import RunFolder
from nd_train.report.score_sheet import LEVEL, ScoreLine, ScoreSheet
from nd_train.report.training_curves import grouped_curves, thinned
from nd_train.trace_attributes import in_data_units

SIZE_LIMIT = 5_000_000
"""Bytes that a page never exceeds."""

_SCRIPTS = ("tables.js", "trace_points.js", "charts.js")
_WORDS = {
    "decoding": {"recording": "Recording", "task": "Task"},
    "longitudinal": {"recording": "Sequence", "task": "Outcome"},
}
_AIM = 4_800_000
_MOST_ROWS = 2000
_MOST_TRACES = 800
_MOST_CARDS = 12
_MOST_SPARKLINES = 500
_OF_HEADER = 900  # bytes of a trace's description


def render_page(run: RunFolder, sheet: ScoreSheet) -> str:
    """The page of a run as text, never larger than `SIZE_LIMIT`."""
    library = packed_library()
    values = _template_values(run, sheet)
    traces = [
        (recording, task, in_data_units(trace, run.known(recording, task)))
        for recording, by_task in sorted(run.traces.items())
        for task, trace in sorted(by_task.items())
    ]
    every = len(traces)
    lines = {(line.recording, line.task): line for line in sheet.lines}
    ranks = [_rank(lines.get((recording, task))) for recording, task, _ in traces]
    if len(traces) > _MOST_TRACES:
        kept = spread(range(len(traces)), _MOST_TRACES, ranks)
        traces, ranks = [traces[place] for place in kept], [ranks[place] for place in kept]
    bare = len(_rendered(run, values, [], 0, lines, library).encode())
    room = _AIM - bare - _OF_HEADER * len(traces)
    while True:
        packed, left_out = pack_traces(traces, max(0, room), ranks=ranks)
        left_out += every - len(traces)
        page = _rendered(run, values, packed, left_out, lines, library)
        size = len(page.encode())
        if size <= SIZE_LIMIT or not packed:
            return page
        room -= size - _AIM


def write_page(path: Any, page: str) -> None:
    """Write a page whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def packed_library() -> tuple[str, str]:
    """plotly.js, deflated and as base64, and the hash that lets a browser run it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped,unused-ignore]  # it has no annotations

    source: str = get_plotlyjs()
    return base64.b64encode(zlib.compress(source.encode(), 9)).decode("ascii"), script_hash(source)


def script_hash(source: str) -> str:
    """How a content security policy names a script by what is in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode('ascii')}'"


def json_for_html(content: Any) -> str:
    r"""JSON that nothing in it can end or turn into markup, whatever names it holds; NaN becomes null.

    >>> json_for_html({"name": "</script><b>", "value": float("nan")})
    '{"name":"\\u003c/script\\u003e\\u003cb\\u003e","value":null}'
    """
    text = json.dumps(_without_nan(content), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rendered(
    run: RunFolder,
    values: Mapping[str, Any],
    packed: Sequence[PackedTrace],
    left_out: int,
    lines: Mapping[tuple[str, str], ScoreLine],
    library: tuple[str, str],
) -> str:
    from markupsafe import Markup

    numbers = {(trace.recording, trace.task): number for number, trace in enumerate(packed)}
    table = {**values["table"]}
    table["rows"] = [{**row, "trace": numbers.get((row["recording"], row["task"]))} for row in table["rows"]]
    content = {
        "traces": [_described(run, trace, lines.get((trace.recording, trace.task))) for trace in packed],
        "curves": values["curves"],
        "time_label": run.forecasts.time_label if run.system == "longitudinal" else "time (s)",
    }
    draws = bool(packed or values["curves"])
    scripts = [_text(name) for name in _SCRIPTS]
    sections = [
        ("traces", "Traces", bool(packed)),
        ("scores", "Scores", bool(table["rows"] or values["subsets"]["rows"])),
        ("classes", "Classes", bool(values["confusions"])),
        ("training", "Training", bool(values["curves"])),
        ("data", "Data", bool(values["facts"])),
        ("again", "Again", True),
    ]
    rest = (
        f"Traces of {plural(left_out, 'recording and task', 'recordings and tasks')} are left out to keep this file "
        f"small: those that are here are spread evenly {'over the scores' if lines else 'over the sequences'}. All are "
        f"in {run.stage}_{'traces.h5' if lines else 'predictions.csv'}."
    )
    # Ours, not the data's: what is marked as markup is written as it is.
    page: str = _template().render(
        {
            **values,
            "table": table,
            "has_traces": bool(packed),
            "has_drift": run.system == "decoding",
            "left_out": rest if left_out else "",
            "sections": [(anchor, text) for anchor, text, there in sections if there],
            "content": Markup(json_for_html(content)),  # noqa: S704
            "blocks": [trace.text for trace in packed],
            "library": library[0] if draws else "",
            "script_hashes": Markup(" ".join([*map(script_hash, scripts), *([library[1]] if draws else [])])),  # noqa: S704
            "scripts": [Markup(script) for script in scripts],  # noqa: S704
            "style": Markup(_text("page.css")),  # noqa: S704
        }
    )
    return page


def _template_values(run: RunFolder, sheet: ScoreSheet) -> dict[str, Any]:
    table = score_table(sheet)
    rows = table["rows"]
    more = (
        f"The {plural(len(rows) - _MOST_ROWS, 'line')} more are in {run.stage}_scores.json."
        if len(rows) > _MOST_ROWS
        else ""
    )
    if len(rows) > _MOST_SPARKLINES:
        table["shows_drift"] = False
    table["rows"] = rows[:_MOST_ROWS]
    recordings = recording_facts(run)
    recordings["rows"] = recordings["rows"][:_MOST_ROWS]
    model = model_facts(run)
    return {
        "title": _title(run),
        "summary": _summary(run, sheet),
        "version": __version__,
        "folder": str(run.path),
        "level": table["level"],
        "missing": run.missing,
        "notes": sheet.notes,
        "cards": [
            *(headline_card(headline, sheet) for headline in sheet.headlines),
            *(forecast_card(run, outcome) for outcome in list(run.forecasts.scores)[:_MOST_CARDS]),
        ],
        "words": _WORDS[run.system],
        "table": table,
        "rows_left_out": more,
        "confusions": confusion_tables(run, sheet),
        "subsets": subset_table(run) if run.system == "longitudinal" else {"columns": [], "rows": [], "rest": []},
        "facts": data_facts(run, sheet),
        "recordings": recordings,
        "model": model,
        "run": reproduction(run),
        "curves": _curves(run),
        "has_curves": bool(grouped_curves(run.curves)),
    }


def _curves(run: RunFolder) -> list[dict[str, Any]]:
    drawn = []
    for title, curves in grouped_curves(run.curves).items():
        series = [thinned(curve) for curve in curves[:12]]
        drawn.append(
            {
                "title": title,
                "series": [
                    {"name": one.name, "x": list(one.steps), "y": [_rounded(value) for value in one.values]}
                    for one in series
                ],
                "thinned": any(len(one.values) < len(curve.values) for one, curve in zip(series, curves, strict=False)),
            }
        )
    return drawn


def _described(run: RunFolder, trace: PackedTrace, line: ScoreLine | None) -> dict[str, Any]:
    known = run.known(trace.recording, trace.task)
    classes = run.class_names(trace.recording, trace.task)
    # Every label of several has a line of its own.
    names = known.get("dimension_names") or known.get("names") or (None if trace.header["classes"] else classes)
    count = len(trace.header["dimensions"])
    score = ""
    if line is not None and math.isfinite(line.score.value):
        score = f"{metric_label(line.metric)} {score_text(line.score.value)}"
        if interval_text(line.score):
            score += f" ({LEVEL * 100:.0f} % interval {interval_text(line.score)})"
    return {
        "recording": trace.recording,
        "task": trace.task,
        **trace.header,
        "unit": run.unit(trace.recording, trace.task),
        "names": [str(name) for name in names] if names is not None and len(names) == count else [],
        "values": str(known.get("value_key") or ""),
        "class_names": {str(place): name for place, name in enumerate(classes)},
        "score": score,
        "drift": None if line is None or line.drift is None else _drift(line.drift, line),
    }


def _drift(drift: Drift, line: ScoreLine) -> dict[str, Any]:
    first, last = drift.thirds
    return {
        "starts": [_rounded(value, 9) for value in drift.starts],
        "ends": [_rounded(value, 9) for value in drift.ends],
        "values": [_rounded(value) for value in drift.values],
        "whole": drift.of_whole_variance,
        "score": _rounded(line.score.value),
        "label": metric_label(line.metric),
        "words": f"first third {score_text(first)}, last third {score_text(last)}",
    }


def _title(run: RunFolder) -> str:
    path = run.path.resolve()
    parts = [part for part in path.parts[-3:] if part not in ("lightning_logs", path.anchor)]
    return " / ".join(parts[-2:]) or str(path)


def _summary(run: RunFolder, sheet: ScoreSheet) -> list[str]:
    facts = dict(model_facts(run))
    recordings = {line.recording for line in sheet.lines}
    units = [line.units for line in {line.recording: line for line in sheet.lines}.values() if line.units is not None]
    found = [facts.get("Architecture", ""), plural(len(recordings), "recording") if recordings else ""]
    found.append(plural(sum(units), "unit") if units else "")
    found.append(f"{stage_text(run.stage)} scores" if sheet.lines or run.subset_scores else "")
    found.append(dict(reproduction(run)["facts"]).get("Started", ""))
    return [text for text in found if text]


def _breakable(name: str) -> Any:
    """A long name that may be broken behind its slashes and underscores."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in re.split(r"(?<=[/_])", name)]
    return Markup("<wbr>").join(parts)


def _rank(line: ScoreLine | None) -> float:
    return math.nan if line is None else line.score.value


def _rounded(value: float, digits: int = 5) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _text(name: str) -> str:
    return resources.files("nd_train.report").joinpath(name).read_text(encoding="utf-8")


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    return environment.from_string(_text("page.html.jinja"))


__all__ = ["SIZE_LIMIT", "StitchedTrace", "json_for_html", "render_page", "write_page"]

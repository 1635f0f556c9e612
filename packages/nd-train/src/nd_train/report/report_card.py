"""The report card of a run as HTML, or its figures as PNG or PDF."""

import importlib.util
import shlex
from dataclasses import replace
from pathlib import Path

from nd_train.report.baselines import FILE_NAME as BASELINES_FILE
from nd_train.report.baselines import RIDGE, ridge_baselines, write_baselines
from nd_train.report.command import FORMATS
from nd_train.report.run_folder import RunFolder, find_run_folder, read_run_folder
from nd_train.report.score_sheet import score_sheet

_EXTRA = ("plotly", "jinja2")


def write_report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    format: str = "html",  # noqa: A002  # what the option is called
    stage: str | None = None,
    baselines: bool = True,
) -> list[Path]:
    """Write the report card of a run, or its figures.

    Args:
        folder: The run's folder, or one above it: then its newest run is taken.
        output: File of the page, or folder of the figures; None for ``report.html`` or ``figures`` in the run's folder.
        format: ``html`` for the page; ``png`` or ``pdf`` for figures.
        stage: ``test``, ``val`` or ``predict``; None takes the first of them that there is.
        baselines: Whether to fit ridge regression where the recordings are reachable and it was not done before.

    Returns:
        The files, each written whole or not at all.

    Raises:
        FileNotFoundError: there is no run.
        ImportError: the extra ``report`` is not installed.
        ValueError: an unknown format, or nothing of the stage that was asked for.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
    if format == "html":
        check_extra()  # before any of the work
    found = find_run_folder(Path(folder))
    run = read_run_folder(found, stage)
    run = _with_ridge(run) if baselines else _without_ridge(run)
    sheet = score_sheet(run)
    if format == "html":
        from nd_train.report.page import render_page, write_page

        path = found / "report.html" if output is None else Path(output)
        if path.is_dir():
            path = path / "report.html"
        write_page(path, render_page(run, sheet))
        return [path]
    from nd_train.report.figures import save_figures

    return save_figures(run, sheet, found / "figures" if output is None else Path(output), format)


def check_extra() -> None:
    """Say which extra is missing, in one line.

    Raises:
        ImportError: what the page is made with is not installed.
    """
    lacking = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if lacking:
        raise ImportError(f"it needs {' and '.join(lacking)}: pip install 'nd-train[report]'")


def leave_report(folder: str | Path, stage: str) -> str:
    """What a run does at its end: leave its report card in its folder, and never fail for it.

    Args:
        folder: The run's folder.
        stage: What was just scored.

    Returns:
        One line for the console: where the report lies, or why there is none.
    """
    try:
        (path,) = write_report(folder, stage=stage, baselines=False)
    except ImportError as problem:
        return f"no report card: {problem}"
    except Exception as problem:  # the run is done and good, whatever became of its report
        return f"no report card: {type(problem).__name__}: {problem} (again: nd-train report {folder})"
    return f"report: {path}"


def _lacks_ridge(run: RunFolder) -> bool:
    scored = run.system == "decoding" and run.stage == "test" and bool(run.settings)
    return scored and RIDGE not in run.baselines


def _without_ridge(run: RunFolder) -> RunFolder:
    if not _lacks_ridge(run):
        return run
    command = shlex.join(["nd-train", "report", str(run.path)])
    return replace(run, missing=(*run.missing, f"No ridge regression to compare with yet. This fits it: {command}"))


def _with_ridge(run: RunFolder) -> RunFolder:
    if not _lacks_ridge(run):
        return run
    try:
        computed, problems = ridge_baselines(run.settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        reason = problem.args[0] if problem.args else problem
        return replace(run, missing=(*run.missing, f"No ridge regression beside: {reason}."))
    # What is computed once need not be again; a folder that cannot be written to only costs the time.
    if computed:
        try:
            write_baselines(run.path, run.stage, computed, notes=problems)
        except OSError as problem:
            print(f"{BASELINES_FILE} cannot be kept: {problem}")
    return replace(run, baselines={**run.baselines, **computed}, missing=(*run.missing, *problems))

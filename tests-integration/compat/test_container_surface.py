"""All that is public in temporaldata 0.1.6 and torch_brain 0.1.2's data half exists here, with the same keyword names.

What differs on purpose is listed by name below, with the reason, and so it is in the migration guide.
"""

import importlib
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

import nd_data
import nd_data.samplers
import nd_data.transforms

temporaldata = pytest.importorskip("temporaldata", reason="needs temporaldata 0.1.6 beside")
pytest.importorskip("torch_brain.data.sampler", reason="needs torch_brain 0.1.2 beside")

pytestmark = pytest.mark.compat

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "migrate-from-torch-brain.md"

#: What is not as in the peer, and why: whole functions, members, and arguments (behind a colon).
DIFFERENT = {
    "pad2d": "no model here has tokens in two dimensions",
    "pad2d8": "as pad2d",
    "track_mask2d": "as pad2d",
    "track_mask2d8": "as pad2d",
    "Dataset:keep_files_open": "a bounded number of files is open, whatever is asked for",
    "Dataset.__len__": "raises in the peer; here there is none, and the error says what to give the DataLoader",
    "Dataset.__iter__": "as Dataset.__len__",
    "DatasetIndex:_namespace": "private in the peer, which puts it before recording ids",
    "TriangleDistribution.proposal_distribution": "a step of its sampling, which is done at once here",
    "LazyRegularTimeSeries.from_gappy_timeseries": "raises in the peer; here it makes a RegularTimeSeries",
}

MODULES = {
    "temporaldata": nd_data,
    "torch_brain.data": nd_data,
    "torch_brain.data.sampler": nd_data.samplers,
    "torch_brain.transforms": nd_data.transforms,
    "torch_brain.utils.binning": nd_data,
    "torch_brain.utils.weights": nd_data,
    "torch_brain.dataset": nd_data,
}
#: Of these modules, which have no list of what is public, or have more than what is continued here.
NAMES = {
    "torch_brain.data.sampler": [
        "RandomFixedWindowSampler",
        "SequentialFixedWindowSampler",
        "TrialSampler",
        "DistributedEvaluationSamplerWrapper",
        "DistributedStitchingFixedWindowSampler",
    ],
    "torch_brain.utils.binning": ["bin_spikes"],
    "torch_brain.utils.weights": ["isin_interval", "resolve_weights_based_on_interval_membership"],
    "torch_brain.dataset": ["DatasetIndex"],
}
OPERATORS = (
    "__init__",
    "__len__",
    "__iter__",
    "__contains__",
    "__and__",
    "__or__",
    "__enter__",
    "__exit__",
    "__copy__",
)


def pairs():
    for module, ours in MODULES.items():
        theirs = importlib.import_module(module)
        for name in NAMES.get(module) or theirs.__all__:
            yield name, getattr(theirs, name), ours


PAIRS = list(pairs())


def members(cls):
    """What a class has itself or by inheritance from its package, without what torch or Python gives to all classes."""
    foreign = {
        name for base in cls.__mro__ if base.__module__.startswith(("torch.", "builtins")) for name in vars(base)
    }
    return [name for name in dir(cls) if name in OPERATORS or not (name.startswith("_") or name in foreign)]


def kind(cls, name):
    found = inspect.getattr_static(cls, name)
    for one in (property, classmethod, staticmethod):
        if isinstance(found, one):
            return one.__name__
    return "method" if callable(found) else "attribute"


def parameters(function):
    return [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]


def missing_arguments(where, theirs, ours):
    """Problems of a call that is right for theirs, made to ours."""
    takes = {one.name: one for one in parameters(ours)}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in takes.values())
    positional = [one.name for one in takes.values() if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    known = set()
    for place, one in enumerate(parameters(theirs)):
        known.add(one.name)
        if f"{where}:{one.name}" in DIFFERENT or one.kind is one.VAR_POSITIONAL:
            continue
        if one.kind is one.VAR_KEYWORD:
            # A class that hands its keywords on to another may spell them out.
            if not takes_any and not any(name not in known for name in takes):
                yield f"{where} takes any keyword in theirs"
            continue
        mine = takes.get(one.name)
        if mine is None:
            yield f"{where} has no argument {one.name}"
        elif one.kind is one.POSITIONAL_OR_KEYWORD and positional[place : place + 1] != [one.name]:
            yield f"{where}: {one.name} is argument number {place + 1} in theirs"
        elif one.default is not one.empty and not same_default(one.default, mine.default):
            yield f"{where}: {one.name} is {one.default!r} by default in theirs, {mine.default!r} in ours"
    for name, mine in takes.items():
        if (
            name not in known
            and mine.default is mine.empty
            and mine.kind not in (mine.VAR_KEYWORD, mine.VAR_POSITIONAL)
        ):
            yield f"{where} needs the argument {name}, which theirs does not have"


def same_default(theirs, ours):
    if inspect.isfunction(theirs) and inspect.isfunction(ours):
        recording = SimpleNamespace(
            brainset=SimpleNamespace(id="b"), session=SimpleNamespace(id="s"), subject=SimpleNamespace(id="m")
        )
        return theirs(recording) == ours(recording)
    return type(theirs) is type(ours) and theirs == ours


@pytest.mark.parametrize(("name", "theirs", "ours"), PAIRS, ids=[name for name, _, _ in PAIRS])
def test_whatever_is_public_there_is_here_with_the_same_arguments(name, theirs, ours):
    if name in DIFFERENT:
        assert not hasattr(ours, name)
        return
    mine = getattr(ours, name)
    assert inspect.isclass(mine) == inspect.isclass(theirs)
    if not inspect.isclass(theirs):
        assert list(missing_arguments(name, theirs, mine)) == []
        return
    problems = []
    for member in members(theirs):
        where = f"{name}.{member}"
        if where in DIFFERENT:
            continue
        if not hasattr(mine, member):
            problems.append(f"{where} is missing")
        elif kind(theirs, member) != kind(mine, member):
            problems.append(f"{where} is a {kind(theirs, member)} in theirs, a {kind(mine, member)} in ours")
        elif callable(getattr(theirs, member)) and member not in ("__init__", "__exit__"):
            problems += missing_arguments(where, getattr(theirs, member), getattr(mine, member))
    if not name.startswith("Lazy"):  # those are not for users to make
        problems += missing_arguments(name, theirs, mine)
    assert problems == []


def test_the_comparison_finds_what_is_missing():
    def theirs(a, b=1, *, c=None, **more):
        """What the peer has."""

    def ours(b, a, d, *, c=0):
        """What would be wrong in every way."""

    assert list(missing_arguments("f", theirs, ours)) == [
        "f: a is argument number 1 in theirs",
        "f: b is argument number 2 in theirs",
        "f: c is None by default in theirs, 0 in ours",
        "f needs the argument d, which theirs does not have",
    ]
    assert list(missing_arguments("f", theirs, lambda a: a)) == [
        "f has no argument b",
        "f has no argument c",
        "f takes any keyword in theirs",
    ]
    assert len(PAIRS) > 40
    assert "slice" in members(temporaldata.LazyInterval)
    assert kind(temporaldata.RegularTimeSeries, "timestamps") == "property"


@pytest.mark.parametrize("name", DIFFERENT)
def test_each_difference_is_one_and_stands_in_the_migration_guide(name):
    holder, _, argument = name.partition(":")
    holder, _, member = holder.partition(".")
    theirs = next(theirs for found, theirs, _ in PAIRS if found == holder)
    assert not member or hasattr(theirs, member)
    assert not argument or argument in inspect.signature(theirs).parameters
    assert f"`{argument or member or holder}" in PAGE.read_text()


def test_what_only_raises_there_works_here():
    series = nd_data.LazyRegularTimeSeries.from_gappy_timeseries([0.0, 0.1, 0.3], 10.0, x=[1, 2, 4])
    assert type(series) is nd_data.RegularTimeSeries
    assert series.x.tolist() == [1, 2, -1, 4]
    with pytest.raises(NotImplementedError):
        temporaldata.LazyRegularTimeSeries.from_gappy_timeseries([0.0, 0.1, 0.3], 10.0, x=[1, 2, 4])

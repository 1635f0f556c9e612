"""What is wrong with the words of a command line, in a line or two instead of a page."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 300
_ALIKE = 0.75
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "dict": "a mapping",
    "NoneType": "null",
}


class UsageError(Exception):
    """Words of a command line that make no sense."""


def check_options(words: Sequence[str], options: Iterable[str]) -> None:
    """Refuse an option that does not exist, before anything else is found missing.

    Args:
        words: The words behind the command.
        options: Names of the options there are, without dashes.

    Raises:
        UsageError: there is no such option; the message says what was probably meant.
    """
    known = set(options)
    # An option of a class has a help of its own below it, which makes it no group of options.
    settings = [name for name in known if not name.endswith(".help")]
    groups = {name.rsplit(".", depth)[0] for name in settings for depth in range(1, name.count(".") + 1)}
    for word in words:
        if not word.startswith("--") or word == "--":
            continue
        name = word[2:].partition("=")[0].removesuffix("+")
        if name in known or name.endswith(".help"):
            continue
        above = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        # What is below an option of its own, as the arguments of a network or a logger, is that option's matter.
        if not any(parent in known and parent not in groups for parent in above):
            raise UsageError(f"unknown option --{name}{_meant(name, known)}")


def option_names(parser: Any) -> list[str]:
    """Names of a parser's options, without dashes."""
    actions = parser._actions  # noqa: SLF001  # argparse has no other way to list them
    return sorted({text[2:] for action in actions for text in action.option_strings if text.startswith("--")})


def readable(message: str, options: Sequence[str] = ()) -> str:
    r"""A parser's error in one line and in words of the command line.

    Args:
        message: As jsonargparse words it.
        options: Names of the options there are.

    >>> readable('Parser key "trainer.max_steps":\n  Expected a <class \'int\'>. Got value: abc')
    "--trainer.max_steps: expected a whole number, found 'abc'"
    """
    if unknown := re.match(r"unrecognized arguments: (\S+)", message):
        word = unknown[1]
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            return f"unknown option --{name}{_meant(name, options)}"
        return f"{word!r} belongs to no option; options begin with --"
    if unknown := re.search(r"does not accept option '([^']+)'", message):
        return f"unknown key {unknown[1]} in the configuration{_meant(unknown[1], options, dashes='')}"
    if missing := re.search(r"the following arguments are required: (.+)", message):
        names = [re.sub(r"^(fit|validate|test|predict)\.", "", name.strip()) for name in missing[1].split(",")]
        return f"missing: {', '.join(f'--{name}' for name in names)}"
    if wrong := re.match(r'Parser key "([^"]+)":', message):
        return f"--{re.sub('^(fit|validate|test|predict)[.]', '', wrong[1])}: {_expectation(message[wrong.end() :])}"
    return _short(message)


def _expectation(message: str) -> str:
    found = re.search(r"(?:Got value|Given value): (.*)", message)
    value = "" if found is None else found[1].strip()
    # The alternatives are listed again one by one; unions within unions are not.
    wanted = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal(\[[^\]]*\]))", message)
    if found is None or not wanted:
        return _short(message)
    choices: dict[str, None] = {}
    kinds: dict[str, None] = {}
    for kind, literals in wanted:
        if literals:
            choices |= dict.fromkeys(re.findall(r"'([^']*)'", literals) or re.findall(r"-?\w+", literals))
        else:
            kinds[_KINDS.get(kind, kind.rsplit(".", 1)[-1])] = None
    listed = [*([f"one of {', '.join(choices)}"] if choices else []), *kinds]
    return f"expected {' or '.join(listed)}, found {value!r}{_meant(value, choices, dashes='')}"


def _meant(name: str, known: Iterable[str], *, dashes: str = "--") -> str:
    from nd_data.nearest_names import nearest_names

    names = list(known)
    before, _, last = name.rpartition(".")
    beside = {one.rpartition(".")[2]: one for one in names if one.rpartition(".")[0] == before}
    close = [beside[one] for one in nearest_names(last, beside)]
    # Or a name that lacks what is before it, or has another there: max_steps for trainer.max_steps.
    close += [one for one in names if one.rpartition(".")[2] == last]
    close += difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
    return f" (did you mean {dashes}{close[0]}?)" if close else ""


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

"""What ``nd-train`` says to someone who asks for help, or mistypes."""

import pytest

from nd_train.cli import COMMANDS, main
from nd_train.commands.command_help import PAGES, VERBS
from nd_train.commands.decoder_command_line import DecoderCommandLine
from nd_train.commands.finetune_command_line import FinetuneCommandLine
from nd_train.commands.usage_errors import UsageError, check_options, option_names, readable

DATA = ["--data.root=nowhere", "--data.config=nothing.yaml"]
whole_run = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def said(capsys, *words):
    """Exit code, and the lines of standard error."""
    code = main(list(words))
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, printed.err.splitlines()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_is_a_short_page_with_a_line_for_every_command(words, capsys):
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 100
    assert set(VERBS) == set(COMMANDS)
    for verb, what in VERBS.items():
        assert sum(line.split() == [verb, *what.split()] for line in lines) == 1
    assert any(line.strip().startswith("nd-train fit --config") for line in lines)


@pytest.mark.parametrize("verb", sorted(PAGES))
def test_the_help_of_a_command_is_a_screen_of_options_that_exist(verb, capsys, monkeypatch):
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert len(lines) < 36
    assert max(map(len, lines)) <= 110
    assert lines[0].startswith(f"usage: nd-train {verb} ")
    assert f"nd-train {verb} --help_all" in lines[-1]
    parser = parser_of(verb, monkeypatch)
    named = [option.split()[0] for option in PAGES[verb][1]]
    # A network's own arguments are known to the network.
    check_options([name for name in named if "network.…" not in name], option_names(parser))


def parser_of(verb, monkeypatch):
    """The parser of a command, without running it."""
    kind = FinetuneCommandLine if verb == "finetune" else DecoderCommandLine
    found = {}

    def keep(self, parser, args):
        found.update(self._subcommand_parsers)
        raise UsageError("enough")

    monkeypatch.setattr(kind, "parse_arguments", keep)
    word = "fit" if verb == "finetune" else verb
    with pytest.raises(UsageError, match="enough"):
        kind([word])
    assert set(found) == {word}  # no other parser was built
    return found[word]


@whole_run
def test_help_all_lists_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--help_all"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 300
    for option in ("--data.eval_step", "--trainer.accumulate_grad_batches", "--checkpoint.save_top_k"):
        assert option in printed


def test_forecasting_has_a_page_of_its_own(capsys):
    assert main(["fit", "--config", "longitudinal", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--data.table FILE" in printed
    assert "--data.root" not in printed


def test_a_command_that_does_not_exist_is_two_lines_with_the_nearest(capsys):
    code, lines = said(capsys, "fitt")
    assert code == 2
    assert lines[0].startswith("error: unknown command 'fitt' (did you mean fit?); commands are fit, validate, test")
    assert lines[1:] == ["(options: nd-train --help)"]


@pytest.mark.parametrize("verb", ["fit", "test", "predict", "finetune"])
def test_an_unknown_option_is_said_before_anything_that_is_missing(verb, capsys):
    code, lines = said(capsys, verb, "--trainer.max_step=5")
    assert code == 2
    assert lines == [
        "error: unknown option --trainer.max_step (did you mean --trainer.max_steps?)",
        f"(options: nd-train {verb} --help)",
    ]


@whole_run
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_steps", "5"], "unknown option --max_steps (did you mean --trainer.max_steps?)"),
        (["--trainer.max_steps", "abc"], "--trainer.max_steps: expected a whole number, found 'abc'"),
        (["--data.batch_size", "1.5"], "--data.batch_size: expected a whole number, found '1.5'"),
        (["--trainer.enable_progress_bar=maybe"], "--trainer.enable_progress_bar: expected true or false or null"),
        (["--data.unit_dropout", "4"], "--data.unit_dropout: expected a mapping or null, found '4'"),
        (["--model.schedule", "onecycle"], "found 'onecycle' (did you mean one_cycle?)"),
        (["--trainer.precision", "17"], "--trainer.precision: expected one of 64, 32, 16"),
        (["stray"], "'stray' belongs to no option"),
    ],
)
def test_a_wrong_value_is_two_lines_that_say_what_was_expected(words, message, capsys):
    code, lines = said(capsys, "fit", "--config", "poyo_plus_small", *DATA, *words)
    assert code == 2
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1:] == ["(options: nd-train fit --help)"]


@whole_run
def test_what_is_missing_is_named(capsys):
    code, lines = said(capsys, "fit", "--config", "poyo_plus_small")
    assert code == 2
    assert lines[0] == "error: missing: --data.root, --data.config"


@whole_run
def test_an_unknown_key_of_a_configuration_is_named(capsys, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("model: {network: {architecture: POYO}, warm_up: 0.2}\n")
    code, lines = said(capsys, "fit", "--config", str(file), *DATA)
    assert code == 2
    assert lines[0] == "error: unknown key model.warm_up in the configuration (did you mean model.warmup?)"


def test_with_debug_a_usage_error_comes_out():
    with pytest.raises(UsageError, match="max_step"):
        main(["--debug", "fit", "--trainer.max_step=5"])


def test_arguments_of_a_network_or_a_logger_are_not_refused_beforehand():
    options = ["model.network", "model.lr", "trainer.logger", "trainer", "trainer.max_steps"]
    check_options(["--model.network.dim=3", "--trainer.logger.save_dir", "x", "--trainer.max_steps", "-1"], options)
    with pytest.raises(UsageError, match=r"--trainer\.max_stepps \(did you mean --trainer\.max_steps\?\)"):
        check_options(["--trainer.max_stepps=3"], options)


def test_an_error_that_nobody_foresaw_is_still_one_line():
    assert readable("first\n   second\n\n third") == "first second third"
    assert len(readable("long " * 500)) <= 300


def test_a_command_whose_module_is_missing_breaks_no_other(capsys, monkeypatch):
    monkeypatch.setitem(COMMANDS, "doctor", "nd_train.no_such_module")
    assert main(["doctor"]) == 1
    assert "this installation of nd-train has no 'doctor'" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nd-train 0.")

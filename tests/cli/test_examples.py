"""Every command's help shows how it is called, and the calls are right."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from geoseg import cli


def list_commands(
    command: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if words:
        yield words, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from list_commands(inner, (*words, name))


COMMANDS = dict(list_commands(cli.cli))
NAMES = sorted(COMMANDS)


def list_examples(words: tuple[str, ...]) -> list[str]:
    """The calls under "Examples:" in the help, as a user reads it; a line that ends in a backslash goes on."""
    text = CliRunner().invoke(cli.cli, [*words, "--help"], prog_name="geoseg").output
    _, _, shown = text.partition("Examples:\n")
    block = re.sub(r"\\\n\s*", "", shown).split("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """What click does to words before it runs a command; a wrong call raises UsageError."""
    context = command.make_context(command.name, list(words), parent=parent)
    if isinstance(command, click.Group) and words:
        _, inner, rest = command.resolve_command(context, words)
        assert inner is not None
        parse(inner, rest, context)


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_every_command_has_examples_that_are_right_calls(words: tuple[str, ...]) -> None:
    examples = list_examples(words)
    assert examples, "no Examples: in the help"
    for example in examples:
        program, *rest = shlex.split(example)
        assert program == "geoseg"
        assert tuple(rest[: len(words)]) == words, example
        parse(cli.cli, rest)


def test_a_wrong_example_would_be_found() -> None:
    for wrong in (["segment", "a.tif"], ["segment", "a.tif", "-o", "b.gpkg", "--turbo"], ["models", "shew"], ["info"]):
        with pytest.raises(click.UsageError):
            parse(cli.cli, wrong)


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_help_is_as_wide_as_a_terminal_and_says_what_the_command_does(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help
    assert command.help.rstrip().endswith(".")
    named = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and not p.hidden]
    assert not [name for name in named if name not in UNEXPLAINED], "options without a word"


UNEXPLAINED = {"help", "device", "connectivity", "layout", "patch_px", "summary", "licences", "bands"}
"""What these take says it all."""


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_a_wrong_call_points_to_the_help(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gc.freeze", lambda: None)  # this process does not end
    monkeypatch.setattr(sys, "argv", ["geoseg", *words, "--no-such-option"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert re.search(rf"Try '.*{' '.join(words)} --help' for help", capsys.readouterr().err)

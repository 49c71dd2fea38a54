"""The command that says whether geoseg works here, and the one that lets shells complete its words."""

from __future__ import annotations

import json

import click

from geoseg.console import open_progress

DOCTOR_EXAMPLES = """\b
Examples:
  geoseg doctor
  geoseg doctor --json
"""
COMPLETION_EXAMPLES = """\b
Examples:
  geoseg completion bash
  geoseg completion zsh
  geoseg completion fish

\b
For every new shell:
  echo 'source <(geoseg completion bash)' >> ~/.bashrc
  echo 'source <(geoseg completion zsh)' >> ~/.zshrc
  geoseg completion fish > ~/.config/fish/completions/geoseg.fish
"""


@click.command(epilog=DOCTOR_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say whether geoseg works here.

    Looked at are versions, drivers, devices, caches and environment, and a self-test runs; exit code 1 if one fails.
    """
    from geoseg.doctor.examine import examine

    with open_progress(quiet=False) as progress:
        found = examine(progress)
    click.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.format())
    if not found.is_sound:
        raise click.exceptions.Exit(1)


@click.command(epilog=COMPLETION_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what lets SHELL complete words of geoseg.

    These are commands, options, models and files.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}", context)
    root = context.find_root()
    click.echo(kind(root.command, {}, "geoseg", "_GEOSEG_COMPLETE").source())

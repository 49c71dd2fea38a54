"""What a shell offers behind a word that is begun."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, for names that may also be URLs."""
    return [CompletionItem(begun, type="file")]


def complete_models(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The shipped models of which a name is begun; else files, as a package may lie anywhere."""
    from geoseg.models.package import list_packages

    names = [CompletionItem(name) for name in list_packages() if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]

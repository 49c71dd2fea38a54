"""The commands. Heavy imports wait inside them, so that `geoseg --help` answers at once."""

from __future__ import annotations

import gc
import sys
import traceback

import click

from geoseg import __version__
from geoseg.cli.comparing import compare
from geoseg.cli.learning import evaluate, refine, train
from geoseg.cli.mapping import demo, info, polygonize, segment
from geoseg.cli.packages import models
from geoseg.cli.viewing import view
from geoseg.errors import GeosegError

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="geoseg %(version)s")
def cli() -> None:
    """Large satellite and aerial rasters into map layers."""


for command in (segment, polygonize, view, compare, evaluate, train, refine, models, demo, info):
    cli.add_command(command)


def main() -> None:
    """Run the command line; exits with 0 done, 1 a failure of the program, 2 a wrong input or call, 130 interrupted."""
    try:
        # Without standalone mode click returns what a command exits with instead of raising it.
        code = cli.main(standalone_mode=False) or DONE
    except click.exceptions.Abort:
        code = INTERRUPTED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = WRONG
    except GeosegError as error:
        click.echo(f"geoseg: {error}", err=True)
        code = WRONG
    except MemoryError:
        click.echo("geoseg: out of memory\n  remedy: fewer --workers, a smaller --tile-px", err=True)
        code = WRONG
    except Exception:
        click.echo(f"geoseg {__version__} failed; please report this:\n{traceback.format_exc()}", err=True)
        code = FAILED
    if code == INTERRUPTED:
        resumes = {"segment", "polygonize"} & set(sys.argv[1:2])
        click.echo("interrupted" + "; without --fresh the same command goes on from here" * bool(resumes), err=True)
    gc.freeze()  # a process that ends need not search half a million objects for cycles
    sys.exit(code)

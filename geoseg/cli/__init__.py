"""The commands. Heavy imports wait inside them, so that `geoseg --help` answers at once."""

from __future__ import annotations

import gc
import sys
import traceback

import click

from geoseg import __version__
from geoseg.cli.batching import batch
from geoseg.cli.comparing import compare
from geoseg.cli.doctoring import completion, doctor
from geoseg.cli.learning import evaluate, refine, train
from geoseg.cli.loading import load
from geoseg.cli.mapping import demo, info, polygonize, segment
from geoseg.cli.packages import models
from geoseg.cli.stopping import exit_code, heed_signals
from geoseg.cli.viewing import view
from geoseg.errors import GeosegError
from geoseg.raster.noise import hush_undecodable
from geoseg.redact import redact

RESUMES = dict.fromkeys(
    ("segment", "polygonize", "batch"), "without --fresh the same command goes on from here"
) | dict.fromkeys(("train", "refine"), "the same command goes on from here")
"""What helps after an interruption, by command."""

DONE, FAILED, WRONG, STOPPED = 0, 1, 2, 128


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="geoseg %(version)s")
def cli() -> None:
    """Large satellite and aerial rasters into map layers."""


MAPPING = (segment, polygonize, batch, view, load, compare)
for command in (*MAPPING, evaluate, train, refine, models, demo, info, doctor, completion):
    cli.add_command(command)


def main() -> None:
    """Run the command line; exits with 0 done, 1 a failure of the program, 2 a wrong input or call, 130 interrupted.

    Other signals that ask to stop give 128 and their number: 143 for SIGTERM, 129 for SIGHUP. `batch` exits with 3
    where some scenes failed and others did not.
    """
    try:
        # Without standalone mode click returns what a command exits with instead of raising it.
        with heed_signals(), hush_undecodable():
            code = cli.main(standalone_mode=False) or DONE
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        code = exit_code(error)
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
        told = redact(traceback.format_exc())
        click.echo(f"geoseg {__version__} failed; please report this:\n{told}", err=True)
        code = FAILED
    if code > STOPPED:
        click.echo("; ".join(filter(None, ("interrupted", RESUMES.get("".join(sys.argv[1:2]))))), err=True)
    if "triton" not in sys.modules:  # torch's compiler reports all objects that are left
        gc.freeze()  # a process that ends need not search half a million objects for cycles
    sys.exit(code)

"""The command line: parsing only. It refuses to show a traceback unless --debug asks for it.

Exit status: 0 success; 1 a gate failed, or the journal needs someone; 2 a file, study or option is wrong;
3 not supported here; 4 the store; 5 a worker failed; 6 parts of a bundle disagree; 70 a defect of Assay;
130 interrupted.

A module of this package holds the commands of one job; each imports what it needs when it is called.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import click

from assay.cli import audit, engines, experiment, gate, log, look, make, measure
from assay.core.errors import AssayError


class _Warnings:
    """Shows each warning once in the words of the command line, without the line of code that gave it."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in self._shown:
            self._shown.add(str(message))
            click.echo(f"assay: warning: {message}", err=True)


class _Main(click.Group):
    """Turns Assay's errors into a message and an exit status."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        warnings.showwarning = _Warnings()
        debug = "--debug" in (kwargs.get("args") or sys.argv[1:])
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
            if isinstance(status, int) and status:  # click returns the status of an Exit rather than ending with it
                sys.exit(status)
            return status
        except click.exceptions.Exit as leave:
            sys.exit(leave.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted. What was finished is kept; the same command goes on from there.", err=True)
            sys.exit(130)
        except BrokenPipeError:
            sys.exit(0)
        except AssayError as error:
            if debug:
                raise
            click.echo(f"assay: {error}", err=True)
            sys.exit(error.exit_status)
        except Exception as error:
            if debug:
                raise
            click.echo(
                f"assay: a defect of Assay: {type(error).__name__}: {error}. "
                "Run the command again with --debug, and report what it prints.",
                err=True,
            )
            sys.exit(70)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--store", type=click.Path(path_type=Path), default=Path(".assay"), show_default=True,
              help="Directory that keeps artifacts, rounds and results.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="assay")
@click.pass_context
def main(context: click.Context, store: Path, debug: bool) -> None:
    """Know which variant of a language model to ship on this device.

    Start with `assay doctor`, then `assay bench MODEL`.
    """
    context.obj = store


for _module in (look, measure, make, audit, engines, experiment, log, gate):
    for _command in _module.COMMANDS:
        main.add_command(_command)

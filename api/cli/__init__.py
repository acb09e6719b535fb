"""The command line: parse, call the handle, show."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from keyturn.cli import (  # noqa: F401 - most of these only add their commands to the group
    data_folder,
    demo,
    doctor,
    history,
    keys,
    output,
    record,
    serve,
    sessions,
    tokens,
)
from keyturn.cli.base import cli
from keyturn.cli.exit_codes import exit_code
from keyturn.cli.texts import for_command_line, usage_text
from keyturn.domain.errors import KeyturnError

__all__ = ["cli", "main"]

_COMPLETION = "_KEYTURN_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; exit with one of the codes of sysexits.h.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    output.prepare()
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except OSError as error:
        code = output.failed(error)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command, say in one line what is wrong, and return the exit code."""
    if shell := os.environ.get(_COMPLETION):
        return shell_complete(cli, {}, "keyturn", _COMPLETION, shell)
    code, complaint = 0, []
    try:
        # Not `cli.main`, which takes an error of standard output for its own.
        with cli.make_context("keyturn", arguments) as context:
            cli.invoke(context)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = os.EX_USAGE
    except click.ClickException as error:
        code, complaint = os.EX_USAGE, [usage_text(error)]
    except (KeyturnError, TimeoutError) as error:
        text = ". ".join([str(error), *getattr(error, "__notes__", [])])
        code, complaint = exit_code(error), [for_command_line(text)]
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - a bug of ours, and not the code of a refused token
        code = os.EX_SOFTWARE
        complaint = ["this is a bug:", *traceback.format_exc().splitlines()]
    output.complain(*complaint)
    return code

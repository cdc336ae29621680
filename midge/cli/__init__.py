"""The command line: parses, calls the API, prints. Every error is one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from midge import __version__
from midge.cli.verbs import VerbGroup
from midge.errors import MidgeError

EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
_OF_THE_MACHINE = (errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENOSPC, errno.EPERM, errno.EROFS)
"""A full disk and the like: no bug of ours, wherever it strikes."""
REPORT_CURE = "Run it again with --debug, and please report what it prints"


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="midge %(version)s")
def midge() -> None:
    """Compile a trained neural network into firmware, and prove it on an emulated board.

    \b
    Exit codes:
      0  good                          4  the model needs something unsupported
      1  a comparison failed           5  a tool is missing or failed
      2  bad usage, unreadable input   70 a bug in Midge
      3  does not fit the board        130 interrupted
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing escapes as a traceback without --debug."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _tolerate_narrow_encodings()
    debug = "--debug" in arguments
    try:
        status = midge.main(args=arguments, prog_name="midge", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except MidgeError as error:
        cure = f". {REPORT_CURE}" if error.exit_code == EXIT_INTERNAL else ""
        return _fail(error.message() + cure, error.exit_code, debug)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        return _fail(_usage(error), EXIT_USAGE, debug)
    except (KeyboardInterrupt, click.Abort):
        print("midge: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _close_pipe()
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            return _fail(f"{error.filename or 'writing'}: {(error.strerror or str(error)).lower()}", EXIT_USAGE, debug)
        return _fail(_bug(error), EXIT_INTERNAL, debug)
    except Exception as error:
        return _fail(_bug(error), EXIT_INTERNAL, debug)


def _bug(error: Exception) -> str:
    return f"a bug in Midge: {type(error).__name__}: {error}. {REPORT_CURE}"


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    with contextlib.suppress(OSError):  # a full disk may be what the message is about
        sys.stdout.flush()
    print(f"midge: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _usage(error: click.ClickException) -> str:
    """Click's message, with the verb whose --help explains it."""
    context = getattr(error, "ctx", None)
    hint = f". See `{context.command_path} --help`" if context is not None else ""
    return error.format_message().rstrip(".") + hint


def _tolerate_narrow_encodings() -> None:
    """A console that lacks a character such as µ gets a `?` for it, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _close_pipe() -> int:
    """The reader of our output has gone (`midge boards | head`): stop quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE

"""The command line: load the command from zoo/commands, run it, and turn errors into messages and exit codes.

Exit codes: 0 success, 1 something that was checked is wrong, 2 usage error, 3 a measurement or an action failed, 70 a bug
in zoo, 130 interrupted. Only `python -m zoo` imports this module.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys

import click

from zoo import plugins
from zoo.errors import UnknownName, ZooError
from zoo.runtime import interrupts, process, streams

LOST, BUG, INTERRUPTED = 3, 70, 130
"""As for CannotCheck; EX_SOFTWARE of sysexits.h; 128 + SIGINT, as shells report it."""


class Commands(click.Group):
    """The commands in zoo/commands. A command is imported only when it is called; `--help` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted."""
        return list(plugins.names("commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of that name; raise UnknownName when there is none."""
        if cmd_name not in plugins.names("commands"):
            if ctx.resilient_parsing:  # shell completion
                return None
            error = UnknownName("command", cmd_name, plugins.names("commands"))
            error.hint = error.hint or "zoo --help lists the commands"
            raise error
        return plugins.load("commands", cmd_name).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list in `zoo --help`, from the first lines of the modules."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, plugins.summary("commands", name)) for name in self.list_commands(ctx)])


def _version(context: click.Context, parameter: click.Parameter, requested: bool) -> None:
    if requested:
        from zoo.runtime.environment import zoo_version

        click.echo(f"zoo {zoo_version()}")
        context.exit()


def _columns() -> int:
    """Return the terminal's width, or 80; click would import shutil and three compression libraries for this."""
    try:
        return min(os.get_terminal_size(1).columns, 100)
    except (OSError, ValueError):
        return 80


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": _columns()})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
def cli() -> None:
    """A model zoo you can trust: checked model cards, verified weights, measured claims.

    Exit codes: 0 success; 1 something that was checked is wrong; 2 usage error; 3 a measurement or an action failed; 70 a
    bug in zoo; 130 interrupted.
    """


def main() -> None:
    """Run the command line and exit."""
    process.claim()
    streams.open_closed()
    interrupts.install_handler()
    if isinstance(sys.stdout, io.TextIOWrapper):  # of an encoding that may not have every character of a card
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(_run())
    except ZooError as error:
        _print_lines(f"zoo: {error}\n")
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(error)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _print_lines("zoo: interrupted; finished work is kept\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `zoo list | head`: the reader needs no more
        streams.settle(sys.stdout)
        sys.exit(0)
    except Exception as error:
        sys.exit(_report_fault(error))
    finally:
        _check_output()
        gc.freeze()  # the collection at exit would take a tenth of a short command's time


def _run() -> int:
    try:
        code = cli.main(prog_name="zoo", standalone_mode=False)
    except Exception:
        interrupts.raise_if_interrupted()  # a library may turn Ctrl-C into an error of its own
        raise
    finally:
        _mention_upgrade()
        _mention_lost_write()
    return code if isinstance(code, int) else 0


def _show(error: click.ClickException) -> None:
    """Print an error of click, which repeats the arguments: a shell's `*` may have put any file name among them."""
    shown = io.StringIO()
    error.show(shown)
    _print_lines(shown.getvalue())


def _report_fault(error: Exception) -> int:
    """Print a fault of the machine in a sentence, or a bug with its traceback, and return the exit code."""
    import traceback

    from zoo.runtime import faults

    lost_output = isinstance(error, OSError) and streams.settle(sys.stdout)
    fault = faults.as_error(error)
    if lost_output and fault is not None:
        fault.what = f"cannot write the output: {fault.what.removeprefix('cannot write: ')}"
    if fault is not None:
        _print_lines(f"zoo: {fault}\n")
        return fault.exit_code
    _print_lines(traceback.format_exc())
    _print_lines("zoo: this is a bug in zoo; please report it with the lines above\n")
    return BUG


def _check_output() -> None:
    """Exit with 3 when output was lost that no write reported."""
    lost = streams.settle(sys.stdout)
    if lost is not None and not isinstance(lost, BrokenPipeError):
        _print_lines(f"zoo: cannot write the output: {lost.strerror}\n")
        streams.settle(sys.stderr)
        sys.exit(LOST)
    streams.settle(sys.stderr)


def _print_lines(text: str) -> None:
    from zoo.runtime.text import terminal_lines

    with contextlib.suppress(OSError):  # stderr is full: the exit code remains
        click.echo(terminal_lines(text.split("\n")), nl=False, err=True)


def _mention_upgrade() -> None:
    """Print once, after the first command that uses the store, what an earlier version left there."""
    if "zoo.weights.store" in sys.modules:
        from zoo.weights import upgrade

        with contextlib.suppress(OSError, ZooError):  # stderr is closed, or there is no store: the command said so
            line = upgrade.notice()
            if line:
                _print_lines(f"zoo: {line}\n")


def _mention_lost_write() -> None:
    """Print once, after a command that measured something, why its results are not kept."""
    if "zoo.models.facts" in sys.modules:
        from zoo.runtime import storage

        with contextlib.suppress(OSError, ZooError):  # there is no store: the command said so
            lost = storage.take_lost_write()
            if lost:
                _print_lines(
                    f"zoo: {lost}; nothing of this run is kept\n  hint: set ZOO_HOME to a folder that you can write to\n"
                )


if __name__ == "__main__":
    main()

"""The command line: finds the commands in zoo/commands, and turns errors into messages and exit codes.

Exit codes: 0 yes, 1 something checked is wrong, 2 usage, 3 could not find out or do, 70 a bug in zoo, 130 interrupted.
Nothing imports this module.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import click

from zoo import plugins
from zoo.errors import UsageError, ZooError
from zoo.runtime import interrupts

BUG, INTERRUPTED = 70, 130
"""EX_SOFTWARE of sysexits.h; 128 + SIGINT, as shells report it."""


class Commands(click.Group):
    """The commands are the files of zoo/commands; one is imported only when it is called, `--help` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, sorted."""
        return list(plugins.names("commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none, after naming the nearest."""
        if cmd_name not in plugins.names("commands"):
            ctx.fail(str(UnknownCommand(cmd_name)))
        command: click.Command = plugins.load("commands", cmd_name).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `zoo --help`, from the first lines of the files."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, plugins.summary("commands", name)) for name in self.list_commands(ctx)])


class UnknownCommand(UsageError):
    """No file of zoo/commands has that name."""

    def __init__(self, name: str) -> None:
        from zoo.errors import nearest

        near = nearest(name, plugins.names("commands"))
        super().__init__(
            f"no command is called {name!r}", hint=f"did you mean {' or '.join(near)}?" if near else "zoo --help"
        )


def _version(context: click.Context, parameter: click.Parameter, requested: bool) -> None:
    if requested:
        from zoo.runtime.environment import zoo_version

        click.echo(f"zoo {zoo_version()}")
        context.exit()


def _columns() -> int:
    """The terminal's width, or 80; click would import shutil and three compressors to ask."""
    try:
        return min(os.get_terminal_size(sys.stdout.fileno()).columns, 100)
    except (OSError, ValueError):
        return 80


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": _columns()})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """A model zoo you can trust: model cards that are checked, weights that are verified, claims that are proved.

    Exit codes: 0 yes; 1 something that was checked is wrong; 2 usage; 3 could not find out or do; 70 a bug in zoo;
    130 interrupted.
    """


def main() -> None:
    """Run the command line and exit."""
    interrupts.install_handler()
    try:
        sys.exit(_run())
    except ZooError as error:
        click.echo(f"zoo: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("zoo: interrupted; what was done is kept", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `zoo list | head`: the reader has all that it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        import traceback

        traceback.print_exc()
        click.echo("zoo: this is a bug in zoo; please report it with the lines above", err=True)
        sys.exit(BUG)
    finally:
        gc.freeze()  # nothing of it is to be searched for cycles on the way out: a tenth of a short command's time


def _run() -> int:
    try:
        code = cli.main(prog_name="zoo", standalone_mode=False)
    except Exception:
        interrupts.raise_if_interrupted()  # an error that an interrupted library made is none of the user's
        raise
    finally:
        _mention_upgrade()
    return code if isinstance(code, int) else 0


def _mention_upgrade() -> None:
    """Say once what an earlier version left in the store, after the first command that used the store."""
    if "zoo.weights.store" in sys.modules:
        from zoo.weights import upgrade

        line = upgrade.notice()
        if line:
            with contextlib.suppress(OSError):  # stderr is closed
                click.echo(f"zoo: {line}", err=True)


if __name__ == "__main__":
    main()

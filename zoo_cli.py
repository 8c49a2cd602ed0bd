"""The command line: load the command from zoo/commands, run it, and turn errors into messages and exit codes.

Exit codes: 0 success, 1 something that was checked is wrong, 2 usage error, 3 a measurement or an action failed, 70 a bug
in zoo, 130 interrupted. Only `python -m zoo` imports this module.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import click

from zoo import plugins
from zoo.errors import UnknownName, ZooError
from zoo.runtime import interrupts, process

BUG, INTERRUPTED = 70, 130
"""EX_SOFTWARE of sysexits.h; 128 + SIGINT, as shells report it."""


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
        return min(os.get_terminal_size(sys.stdout.fileno()).columns, 100)
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
        click.echo("zoo: interrupted; finished work is kept", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `zoo list | head`: the reader needs no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        import traceback

        traceback.print_exc()
        click.echo("zoo: this is a bug in zoo; please report it with the lines above", err=True)
        sys.exit(BUG)
    finally:
        gc.freeze()  # the collection at exit would take a tenth of a short command's time


def _run() -> int:
    try:
        code = cli.main(prog_name="zoo", standalone_mode=False)
    except Exception:
        interrupts.raise_if_interrupted()  # a library may turn Ctrl-C into an error of its own
        raise
    finally:
        _mention_upgrade()
    return code if isinstance(code, int) else 0


def _mention_upgrade() -> None:
    """Print once, after the first command that uses the store, what an earlier version left there."""
    if "zoo.weights.store" in sys.modules:
        from zoo.weights import upgrade

        with contextlib.suppress(OSError, ZooError):  # stderr is closed, or there is no store: the command said so
            line = upgrade.notice()
            if line:
                click.echo(f"zoo: {line}", err=True)


if __name__ == "__main__":
    main()

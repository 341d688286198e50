"""The entry point ``dataferry``: answers ``--version`` at once, and turns errors into exit codes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

FAILED = 1
INTERRUPTED = 130
# By default 700; starting makes some hundred thousand that stay, and would be looked through again and again.
OBJECTS_BEFORE_GC = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        The exit code: 0 fine, 1 failed, 2 usage, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug, given = _debug(given)
    if given in (["--version"], ["-V"]):
        # Before anything is imported: scripts ask for it.
        from dataferry import __version__

        sys.stdout.write(f"dataferry {__version__}\n")
        return 0
    from dataferry.cli.application import application
    from dataferry.domain.errors import DataFerryError

    try:
        application(args=given, prog_name="dataferry")
    except SystemExit as exit_:
        return _code(exit_)
    except DataFerryError as error:
        if debug:
            raise
        from dataferry.cli.output import printable

        sys.stderr.write(f"dataferry: {printable(str(error))}\n")
        return FAILED
    except KeyboardInterrupt:
        if debug:
            raise
        sys.stderr.write("dataferry: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`dataferry flows list | head`); nothing more can be told.
        sys.stderr.close()
        return FAILED
    return 0


def _debug(arguments: list[str]) -> tuple[bool, list[str]]:
    """Take ``--debug`` out, wherever before ``--`` it stands."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return len(kept) < end, kept + arguments[end:]


def _code(exit_: SystemExit) -> int:
    """The number within a ``SystemExit``."""
    if exit_.code is None:
        return 0
    return exit_.code if isinstance(exit_.code, int) else FAILED


def run() -> None:
    """Run as a program: what is imported and what is left at the end is not searched for garbage."""
    gc.set_threshold(OBJECTS_BEFORE_GC)
    code = main()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()

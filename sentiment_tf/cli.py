"""What every command shares: reading absl flags, and ending in a way a person can use."""

import itertools
import logging
import os
import sys
from collections.abc import Callable

from absl import flags

from sentiment_tf.errors import UserError
from sentiment_tf.system import signals

INTERRUPTED = 130
TERMINATED = 143
USER_MISTAKE = 2


def run(main: Callable[[list[str]], int | None], *, check: Callable[[], list[str]] = list) -> None:
    """Parses the flags, runs ``main`` with the remaining arguments and exits the process.

    Args:
      main: gets the arguments left over, without the program's name; returns an exit code or None for 0.
      check: returns further problems, of the flags that did parse, if some did not.

    Exits with 2 after a user's mistake (one line on stderr for each), 130 after Ctrl-C, 143 after SIGTERM;
    a programmer's error keeps its traceback.
    """
    signals.raise_when_terminated()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter is not for the user
    try:
        sys.exit(main(_parse(sys.argv, check)))
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(USER_MISTAKE)
    except KeyboardInterrupt as stopped:
        print(": ".join(["interrupted", *map(str, stopped.args)]), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except signals.Terminated as stopped:
        print(": ".join(["terminated", *map(str, stopped.args)]), file=sys.stderr)
        sys.exit(TERMINATED)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def log_to_stdout(*, quiet: bool = False, verbosity: int = 0) -> None:
    """Sends the package's log to stdout, a line each; stderr is kept for errors and progress bars.

    Args:
      quiet: only warnings, whatever the verbosity.
      verbosity: absl's: -1 and below for warnings, 0 for information, 1 and above for everything.
    """
    logger = logging.getLogger("sentiment_tf")
    logger.handlers = [logging.StreamHandler(sys.stdout)]
    verbosity = -1 if quiet else min(max(verbosity, -1), 1)
    logger.setLevel({-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}[verbosity])
    logger.propagate = False


def expand_home(*names: str) -> None:
    """Expands ~ in these flags' values, which a shell leaves alone behind --flag=."""
    for name in names:
        if path := flags.FLAGS[name].value:
            flags.FLAGS[name].value = os.path.expanduser(path)


def _parse(argv: list[str], check: Callable[[], list[str]]) -> list[str]:
    """Returns the arguments that are not flags; prints the help and leaves for --help."""
    if any(argument in ("--help", "-help", "-h", "--helpfull") for argument in argv[1:]):
        _print_help()
        sys.exit(0)
    try:
        return flags.FLAGS(argv)[1:]
    except (flags.Error, ValueError) as error:  # the latter for --noswitch=value
        problems = _parse_problems(argv) or [str(error)]
        raise UserError(*(f"{problem}; --help lists the flags" for problem in problems), *check()) from None


def _parse_problems(argv: list[str]) -> list[str]:
    """Returns what is wrong with each flag alone, those of a flagfile included: absl stops at the first mistake."""
    problems = []
    for argument in _join_values(argv[1:]):
        try:
            lines = _join_values(flags.FLAGS.read_flags_from_files([argument], force_gnu=False))
        except (flags.Error, OSError, ValueError) as error:  # a flagfile that cannot be read, or is no text
            problems.append(str(error))
            continue
        for line in lines:
            try:
                flags.FLAGS([argv[0], line])
            except (flags.Error, ValueError) as error:
                problems.append(str(error) if line == argument else f"{argument}: {error}")
    return problems


def _join_values(arguments: list[str]) -> list[str]:
    """Returns the flags, up to the first argument that is none; ``--name value`` as ``--name=value``."""
    joined = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-") or argument == "--":
            break
        name = argument.lstrip("-")
        if name == "flagfile" or (name in flags.FLAGS and not flags.FLAGS[name].boolean):
            argument = "=".join([argument, *itertools.islice(rest, 1)])
        joined.append(argument)
    return joined


def _print_help() -> None:
    """Prints the command's docstring and its own flags."""
    print((sys.modules["__main__"].__doc__ or "").strip())
    print("\nFlags (--flagfile=FILE reads them from a file):")
    print(flags.FLAGS.main_module_help().split(":\n", 1)[1])

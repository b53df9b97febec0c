"""The exception that stands for a user's mistake, and what is quoted of other exceptions."""

MOST_QUOTED = 200  # characters


class UserError(Exception):
    """Something the user can fix: a flag, a file, a row.

    Commands print each problem on a line of its own on stderr and exit with code 2. A problem names
    the setting, its value, what is allowed and what to do, for example
    ``--max_length=1024: the model has 512 positions; pass 512 or less``.

    Attributes:
      problems: tuple of str, one per mistake; several are reported together.
    """

    def __init__(self, *problems: str):
        # A message is one line, whatever a library put into it.
        self.problems = tuple(" ".join(problem.split()) for problem in problems)
        super().__init__("; ".join(self.problems))


class NoRoomError(UserError):
    """A disk is too small for what is to be computed. Either every worker of a run raises it or none does."""


def first_line(error: object) -> str:
    """Returns the first line of an exception's message, shortened; its type's name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:MOST_QUOTED]

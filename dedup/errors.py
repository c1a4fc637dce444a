"""The errors of dedup, and their exit codes.

DedupError           1   base class; the message says what is wrong, with what, and what to do
  BadUsage           2   the arguments are invalid or do not fit together
  OutOfTime          3   the time limit was reached, or Ctrl-C was pressed; finished work is kept
  StoreBusy          4   another run uses this database
  StoreUnusable      1   the database cannot be read or written
  WeightsUnusable    1   the shipped weights are missing or damaged
  ActionFailed       -   one file was skipped; the others are still handled
  UnreadablePhoto    -   one file cannot be used; it is reported as Skipped and the run continues
    NotAPicture      -   the file is not an image
    MissingExtra     -   the file needs an optional package

The number is the exit code of the command line. Exit code 3 means done, but not with every file: some were skipped, or
the run was stopped.
"""


class DedupError(Exception):
    """Base class of all errors that dedup raises; str() is one line for the user."""

    exit_code = 1


class BadUsage(DedupError):
    """The arguments are invalid or do not fit together."""

    exit_code = 2


class OutOfTime(DedupError):
    """The time limit was reached, or Ctrl-C was pressed; finished work is kept."""

    exit_code = 3


class StoreBusy(DedupError):
    """Another run uses this database."""

    exit_code = 4


class StoreUnusable(DedupError):
    """The database cannot be read or written."""


class ActionFailed(DedupError):
    """One file was skipped; str() says which and why. The others are still handled."""


class WeightsUnusable(DedupError):
    """The shipped weights are missing or damaged."""


class UnreadablePhoto(DedupError):
    """One file cannot be used as a photo; str() is the reason."""


class NotAPicture(UnreadablePhoto):
    """The file is not an image."""


class MissingExtra(UnreadablePhoto):
    """The file needs an optional package that is not installed."""

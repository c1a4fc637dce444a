"""Every error that dedup raises on purpose.

DedupError           1   something is wrong; the message says what, with what, and what to do
  BadUsage           2   the words on the command line do not fit together
  OutOfTime          3   the time that was given is up, or Ctrl-C was pressed; what was done so far is kept
  StoreBusy          4   another run holds this database
  StoreUnusable      1   the database cannot be read or written
  WeightsUnusable    1   the shipped tensors are missing or not the ones that were published
  ActionFailed       -   one file was left alone; the rest goes on
  UnreadablePhoto    -   one file cannot be used; it becomes a Skipped and the run goes on
    NotAPicture      -   the file is plainly something else
    MissingExtra     -   the file needs an optional package

The number is the exit code of the command line. Exit code 3 is no failure: the run is done, but not with every file;
some were skipped, or it was stopped.
"""


class DedupError(Exception):
    """Base of all errors raised on purpose; str() is one line for a person."""

    exit_code = 1


class BadUsage(DedupError):
    """The request does not make sense."""

    exit_code = 2


class OutOfTime(DedupError):
    """The time that was given is up, or Ctrl-C was pressed; what was done so far is kept."""

    exit_code = 3


class StoreBusy(DedupError):
    """Another run holds this database."""

    exit_code = 4


class StoreUnusable(DedupError):
    """The database cannot be read or written."""


class ActionFailed(DedupError):
    """One file was left alone; str() says which and why, and the rest goes on."""


class WeightsUnusable(DedupError):
    """The shipped tensors are missing or not the ones that were published."""


class UnreadablePhoto(DedupError):
    """One file cannot be used as a photo; str() is the reason."""


class NotAPicture(UnreadablePhoto):
    """The file is plainly something else."""


class MissingExtra(UnreadablePhoto):
    """The file needs an optional package that is not installed."""

"""Tables as Parquet files, for programs that read columns. Needs the extra `parquet` (pyarrow)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from dedup.errors import BadUsage
from dedup.report.csv_file import Row, complete_file, escaped
from dedup.types.message import Message
from dedup.version import installation

_BATCH = 10_000  # rows in memory at once
_NUMBERS = {"group": "int64", "width": "int64", "height": "int64", "bytes": "int64", "frames": "int64"}
_NUMBERS |= {"photos": "int64", "others": "int64"}
_NUMBERS |= {"probability": "float64", "similarity": "float64"}


def write_parquet(output: str, columns: list[str], rows: Iterable[Row]) -> None:
    """Write rows to a Parquet file, all of it or nothing. Numbers are int64 or float64, all else is text.

    Raises BadUsage without pyarrow, DedupError if the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise BadUsage(
            Message(
                "{command} needs {package}: {install}",
                command="parquet",
                package="pyarrow",
                install=installation("parquet"),
            )
        ) from error
    schema = pyarrow.schema([(name, getattr(pyarrow, _NUMBERS.get(name, "string"))()) for name in columns])
    with complete_file(output) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for batch in _batches(columns, rows):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def _batches(columns: list[str], rows: Iterable[Row]) -> Iterator[list[Row]]:
    values = ({name: _value(name, row[name]) for name in columns} for row in rows)
    while batch := list(islice(values, _BATCH)):
        yield batch


def _value(name: str, value: Any) -> Any:
    if name in _NUMBERS or value is None:
        return None if value == "" else value
    return escaped(str(value))

"""Photos and pairs <-> Parquet files in the work directory of a cluster, which pass from one stage to the next.

A file is written whole or not at all, under a name derived from its input; one that exists need not be made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dedup.files import object_store
from dedup.models.encoder import CHANNELS, DIMS, GRID
from dedup.types.arrays import Indices, Maps
from dedup.types.pairs import Candidates, Verified
from dedup.types.photo import File, Photo, Picture, Reading, Skipped, facts_from_json

Table: TypeAlias = Any  # pyarrow.Table
Columns: TypeAlias = dict[str, NDArray[Any]]
Pairs = TypeVar("Pairs", bound=Candidates)
FILES = pa.schema(  # a row a file that is a photo
    [
        *((name, pa.binary()) for name in ("path", "sha256")),
        *((name, pa.int64()) for name in ("bytes", "mtime_ns", "ctime_ns", "device", "inode")),
        *((name, pa.int32()) for name in ("width", "height", "rating")),
        *((name, pa.string()) for name in ("format", "taken_at", "camera")),
        *((name, pa.bool_()) for name in ("gps", "screenshot")),
        ("facts", pa.string()),  # Facts.to_json()
        ("vector", pa.binary(2 * DIMS)),  # float16
        ("map", pa.binary(GRID * GRID * CHANNELS)),  # int8
    ]
)
SKIPPED = pa.schema([("path", pa.binary()), ("reason", pa.string()), ("picture", pa.bool_())])
_NEAR = 64  # parts whose rows lie in one file


def write(path: str, table: Table, *, about: dict[str, Any] | None = None) -> None:
    """Write a table. about: more about it, for its metadata."""
    if about:
        table = table.replace_schema_metadata({"dedup": json.dumps(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=4096, compression="zstd")
    object_store.put(path, sink.getvalue())


def read(path: str, columns: Sequence[str] | None = None) -> Table:
    system, name = object_store.located(path)
    return pq.read_table(name, filesystem=system, columns=columns and list(columns), partitioning=None)


def rows(path: str) -> int:
    """Return how many rows a table has, from its last bytes."""
    with object_store.opened(path) as file:
        return int(pq.read_metadata(file).num_rows)


def write_parts(folder: str, number: int, found: Sequence[Table]) -> None:
    """Write the rows of all tables where read_part() finds them by their column `part`. number: of their source."""
    table = joined(found or [pa.table({"part": pa.array([], pa.int32())})]).sort_by("part")
    part = numbers(table, "part")
    for near in np.unique(part // _NEAR).tolist():
        some = table.slice(*_run_of(part // _NEAR, near))
        parts = numbers(some, "part")
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink, some.schema, compression="zstd", use_dictionary=False, write_statistics=["part"]
        ) as writer:  # vectors and maps hardly repeat
            for one in np.unique(parts).tolist():
                writer.write_table(some.slice(*_run_of(parts, one)))  # a row group each: only these bytes are read
        object_store.put(f"{folder}/{near}/{number}.parquet", sink.getvalue())
    object_store.put(f"{folder}/done/{number}", b"")


def written_parts(folder: str) -> set[str]:
    """Return the numbers, as text, of the sources that write_parts() has finished."""
    return object_store.names(f"{folder}/done")


def read_part(folder: str, part: int) -> list[Table]:
    """Return the rows that were written for a part."""
    below = f"{folder}/{part // _NEAR}"
    system, base = object_store.located(below)
    found = []
    for name in sorted(object_store.names(below)):
        with system.open_input_file(f"{base}/{name}") as source, pq.ParquetFile(source) as file:
            column = file.schema_arrow.get_field_index("part")
            groups = [
                n
                for n in range(file.num_row_groups)
                if file.metadata.row_group(n).column(column).statistics.min == part
            ]
            if groups:
                found.append(file.read_row_groups(groups))
    return found


def _run_of(values: Indices, value: int) -> tuple[int, int]:
    """Return start and length of a value in sorted values."""
    start, end = np.searchsorted(values, [value, value + 1])
    return int(start), int(end - start)


def numbers(table: Table, name: str) -> NDArray[Any]:
    """Return a column of numbers."""
    return _values(table[name])


def vectors_in(table: Table) -> NDArray[np.float16]:
    """Return (N, D) float16."""
    return _fixed(table["vector"], np.float16)


def maps_in(table: Table) -> Maps:
    """Return (N, S, C) int8."""
    return _fixed(table["map"], np.int8).reshape(len(table), GRID * GRID, CHANNELS)


def _fixed(column: pa.ChunkedArray, dtype: type[Any]) -> NDArray[Any]:
    array = column.combine_chunks()
    width = array.type.byte_width
    data = (
        np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width :][: len(array) * width] if len(array) else b""
    )
    return np.frombuffer(data, dtype).reshape(len(array), width // np.dtype(dtype).itemsize)


def fixed(values: NDArray[Any]) -> pa.Array:
    """Return (N, ...) as N pieces of bytes."""
    width = values[0].nbytes if len(values) else int(np.prod(values.shape[1:])) * values.itemsize
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def files_table(photos: Sequence[Photo], vectors: NDArray[np.float16], maps: NDArray[np.int8]) -> Table:
    """Return the files of photos, with the vectors (N, D) and maps (N, S * C) of the photos."""
    number, files = zip(*((i, f) for i, p in enumerate(photos) for f in p.files), strict=True) if photos else ((), ())
    mine = [photos[i] for i in number]
    columns: dict[str, Any] = {
        "path": [os.fsencode(f.path) for f in files],
        "sha256": [bytes.fromhex(p.sha256) for p in mine],
        "bytes": [p.size for p in mine],
        **{name: [getattr(f, name) for f in files] for name in ("mtime_ns", "ctime_ns", "device", "inode")},
        **{
            name: [getattr(p, name) for p in mine]
            for name in ("width", "height", "rating", "format", "taken_at", "camera", "gps", "screenshot")
        },
        "facts": [None if p.facts is None else p.facts.to_json() for p in mine],
    }
    at = np.array(number, np.int64)
    columns |= {"vector": fixed(vectors[at].reshape(-1, DIMS)), "map": fixed(maps[at].reshape(-1, GRID**2 * CHANNELS))}
    return pa.table(columns).select(FILES.names).cast(FILES)


def files_in(table: Table) -> list[File]:
    return [
        File(os.fsdecode(r["path"]), r["bytes"], r["mtime_ns"], r["ctime_ns"], r["device"], r["inode"])
        for r in table.drop_columns(["vector", "map"]).to_pylist()
    ]


def readings_in(table: Table) -> list[tuple[list[File], Reading]]:
    """Return the files of a table as they were read, each with a picture without pixels."""
    none = np.empty((0, 0, 3), np.uint8)
    return [
        (
            [file],
            Reading(
                r["sha256"],
                r["bytes"],
                Picture(
                    none, r["width"], r["height"], r["format"], r["taken_at"], r["camera"], r["gps"], r["rating"],
                    r["screenshot"], facts_from_json(r["facts"]),
                ),
            ),
        )
        for file, r in zip(files_in(table), table.drop_columns(["vector", "map"]).to_pylist(), strict=True)
    ]  # fmt: skip


def skipped_table(skipped: Iterable[Skipped]) -> Table:
    return pa.Table.from_pylist(
        [{"path": os.fsencode(s.path), "reason": s.reason, "picture": s.picture} for s in skipped], SKIPPED
    )


def skipped_in(table: Table) -> Iterator[Skipped]:
    for row in table.to_pylist():
        yield Skipped(os.fsdecode(row["path"]), row["reason"], row["picture"])


def columns_table(columns: Columns) -> Table:
    """Return a table of columns of numbers, and of pieces of bytes: (N, ...), or (N,) of void."""
    return pa.table({n: fixed(c) if c.ndim > 1 or c.dtype.kind == "V" else pa.array(c) for n, c in columns.items()})


def pairs_table(pairs: Candidates, names: NDArray[Any]) -> Table:
    """Return pairs of any kind with the names of both photos. names: (N,) of the photos, SHA-256 or numbers."""
    columns = {field.name: getattr(pairs, field.name) for field in fields(pairs)}
    return columns_table(columns | {"left": names[pairs.left], "right": names[pairs.right]})


def pairs_in(kind: type[Pairs], table: Table, digests: NDArray[np.void]) -> Pairs:
    """Return the pairs of a table whose photos are both among these, (N,) in order, by their place there."""
    ends = [np.array(table[side].to_pylist(), "V32") for side in ("left", "right")]
    at = [np.searchsorted(digests, end).clip(max=len(digests) - 1) for end in ends]
    both = (digests[at[0]] == ends[0]) & (digests[at[1]] == ends[1])
    columns = {field.name: _values(table[field.name]) for field in fields(kind) if field.name not in ("left", "right")}
    return kind(at[0], at[1], **columns).rows(both)


def columns_in(table: Table) -> Columns:
    """Return the columns of numbers that columns_table() or pairs_table() wrote."""
    return {name: _values(table[name]) for name in table.column_names}


def verified_in(table: Table, left: Indices, right: Indices) -> Verified:
    """Return results of verification as those of these photos."""
    columns = columns_in(table)
    return Verified(left, right, **{field.name: columns[field.name] for field in fields(Verified)[2:]})


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_fixed_size_binary(column.type):
        return _fixed(column, np.float64).reshape(-1, 3, 3)  # a Homography
    values: NDArray[Any] = column.combine_chunks().to_numpy(zero_copy_only=False)
    return values


def with_columns(table: Table, **columns: NDArray[Any]) -> Table:
    """Return the table with more columns of numbers."""
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def joined(tables: Sequence[Table]) -> Table:
    return pa.concat_tables(tables).combine_chunks()


def taken(table: Table, which: NDArray[Any]) -> Table:
    """Return these rows, given as numbers or a mask."""
    return table.filter(pa.array(which)) if which.dtype == bool else table.take(pa.array(which))


def in_order(table: Table, *names: str) -> Indices:
    """Return the numbers of the rows in the order of these columns."""
    order: Indices = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names]).to_numpy()
    return order.astype(np.int64)


def digests_in(table: Table) -> NDArray[np.void]:
    """Return the SHA-256 of each row, as numbers that compare as they do."""
    return np.array(table["sha256"].to_pylist(), "V32") if len(table) else np.empty(0, "V32")

"""Recorded shapes as a file for other programs: CSV, NumPy's .npz or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from acu_core.durable import write_durably
from acu_core.errors import UserError
from acu_core.runs.shapes import COLUMNS, Shapes, read_shapes
from acu_core.runs.shortest_floats import shortest_floats
from acu_core.runs.snapshot_selection import Source, Warn, check_not_source, python_warning

_BLOCK_ROWS = 1 << 16
Write = Callable[[Shapes, BinaryIO], object]


@dataclass(frozen=True)
class ShapeExport:
    """What was written: `snapshots` iterations from `first` to `last`, as `rows` of the table, `bytes` in all."""

    path: Path
    snapshots: int
    first: int
    last: int
    layers: tuple[str, ...]
    rows: int
    bytes: int


def export_shapes(
    source: Source,
    path: Path,
    *,
    first: int | None = None,
    last: int | None = None,
    every: int = 1,
    layers: Sequence[str] | None = None,
    warn: Warn = python_warning,
) -> ShapeExport:
    """Writes what `read_shapes` reads into `path`, in one step, in the format that its suffix says.

    .csv and .parquet hold the rows of `Shapes.table`; a number in a .csv is the shortest text that names its float32.
    A .npz holds `iterations` (T,), `warm_up`, `hidden` where it is known, and for each layer `positions/<layer>`
    (T, G, K, 2) and `weight_norms/<layer>` (T, G, K).

    Raises UserError where `read_shapes` does, for another suffix, without pyarrow, and for a path that cannot be
    written; what was there before stays then.
    """
    write = _format_of(path)
    if path.is_dir():
        raise UserError(f"{path} is a directory: give the name of a file")
    check_not_source(path, source)
    shapes = read_shapes(source, first=first, last=last, every=every, layers=layers, warn=warn)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, lambda file: write(shapes, file))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    iterations = shapes.iterations
    return ShapeExport(
        path,
        len(iterations),
        int(iterations[0]),
        int(iterations[-1]),
        tuple(shapes.layers),
        len(iterations) * len(shapes.synapses),
        path.stat().st_size,
    )


def _format_of(path: Path) -> Write:
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise UserError(f"{path} does not say its format: let its name end with {', '.join(_FORMATS)}")
    if write is _write_parquet:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UserError(
                "Parquet needs pyarrow, which is not installed: pip install 'active-convolution[parquet]'"
            ) from error
    return write


def _blocks(shapes: Shapes) -> Iterator[tuple[int, int]]:
    """Begin and end of pieces of the iterations, each of some ten thousand rows."""
    total = len(shapes.iterations)
    step = max(1, _BLOCK_ROWS // len(shapes.synapses))
    for begin in range(0, total, step):
        yield begin, min(total, begin + step)


def _write_csv(shapes: Shapes, file: BinaryIO) -> None:
    file.write((",".join(COLUMNS) + "\n").encode())
    places = [f",{_quoted(name)},{group},{synapse}," for name, group, synapse in shapes.synapses]
    for begin, end in _blocks(shapes):
        values = shortest_floats(shapes.rows(begin, end)).tolist()
        lines = [
            f"{iteration}{place}{y!r},{x!r},{norm!r}\n"
            for iteration, rows in zip(shapes.iterations[begin:end].tolist(), values, strict=True)
            for place, (y, x, norm) in zip(places, rows, strict=True)
        ]
        file.write("".join(lines).encode())


def _quoted(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()


def _write_npz(shapes: Shapes, file: BinaryIO) -> None:
    arrays: dict[str, Any] = {"iterations": shapes.iterations, "warm_up": np.int64(shapes.warm_up)}
    if shapes.hidden is not None:
        arrays["hidden"] = shapes.hidden
    for name, layer in shapes.layers.items():
        arrays[f"positions/{name}"] = layer.positions
        arrays[f"weight_norms/{name}"] = layer.weight_norms
    np.savez(file, **arrays)


def _write_parquet(shapes: Shapes, file: BinaryIO) -> None:
    import pyarrow.parquet

    kinds = (
        pyarrow.int64(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
        pyarrow.int32(),
        pyarrow.int32(),
        *[pyarrow.float32()] * 3,
    )
    schema = pyarrow.schema(
        [pyarrow.field(name, kind, nullable=False) for name, kind in zip(COLUMNS, kinds, strict=True)]
    )
    names, groups, numbers = zip(*shapes.synapses, strict=True)
    layers = list(shapes.layers)
    codes = np.array([layers.index(name) for name in names], np.int32)
    figures = list(COLUMNS[-3:])
    # No two floats are alike, but their first bytes are.
    with pyarrow.parquet.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=list(COLUMNS[:-3]), use_byte_stream_split=figures
    ) as writer:
        for begin, end in _blocks(shapes):
            steps = end - begin
            values = shapes.rows(begin, end).reshape(-1, 3)
            columns = [
                pyarrow.array(np.repeat(shapes.iterations[begin:end], len(names))),
                pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.tile(codes, steps)), pyarrow.array(layers)),
                pyarrow.array(np.tile(np.array(groups, np.int32), steps)),
                pyarrow.array(np.tile(np.array(numbers, np.int32), steps)),
                *(pyarrow.array(np.ascontiguousarray(values[:, column])) for column in range(3)),
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


_FORMATS: Mapping[str, Write] = {".csv": _write_csv, ".npz": _write_npz, ".parquet": _write_parquet}

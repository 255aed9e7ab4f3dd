"""The hash of a row: SHA-256 of an encoding that hangs on its values alone, made a column at a time.

Every row of every Lance table carries its hash in the column `ROW_HASH`, which `LanceTables` adds when it writes and
leaves out when it reads. Values are encoded column by column, in the order of the schema: a byte that says whether
there is one (0 for null, 1 for a value), then

- numbers, timestamps and truth values: their bytes, little-endian, of the width of their type;
- texts and bytes: their length as four bytes, little-endian, and their bytes (UTF-8);
- lists: their length as four bytes, and their values one after the other; lists of fixed length without it;
- structs: their fields one after the other.

No two different rows of one schema have the same encoding, however Arrow holds them (chunks, slices, windows).
"""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROW_HASH = "row_sha256"
_AT_ONCE = 4096  # rows: their encodings stay in the processor's cache, and far below Arrow's 2 GiB
HASH_FIELD = pa.field(ROW_HASH, pa.binary(32), nullable=False)


@functools.cache
def _bytes(value: bytes) -> pa.Scalar:
    # Made when it is needed: Arrow imports pandas to make the first scalar.
    return pa.scalar(value, pa.binary())


def _nothing() -> pa.Scalar:
    return _bytes(b"")


def _here() -> pa.Scalar:
    return _bytes(b"\x01")


def _null() -> pa.Scalar:
    return _bytes(b"\x00")


def hash_rows(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.FixedSizeBinaryArray:
    """SHA-256 of each row, binary(32) (rows,): of its values in `columns`, in their order."""
    found = []
    for start in range(0, batch.num_rows, _AT_ONCE):
        piece = batch.slice(start, _AT_ONCE)
        found.append(hash_values(_join([part for name in columns for part in _parts(piece.column(name))])))
    return pa.concat_arrays(found) if found else pa.array([], HASH_FIELD.type)


def hash_values(values: pa.BinaryArray | pa.StringArray) -> pa.FixedSizeBinaryArray:
    """SHA-256 of each text or byte string, binary(32) (rows,). No value may be null."""
    offsets, data = _contents(values)
    bytes_ = memoryview(data) if data is not None else memoryview(b"")
    sha256 = hashlib.sha256
    starts = offsets.tolist()
    hashes = b"".join(
        [sha256(bytes_[start:end]).digest() for start, end in zip(starts, starts[1:], strict=False)]
    )
    return pa.Array.from_buffers(HASH_FIELD.type, len(values), [None, pa.py_buffer(hashes)])


def with_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """`batch` with its rows' hashes as a last column."""
    return pa.RecordBatch.from_arrays(
        [*batch.columns, hash_rows(batch, columns)], schema=batch.schema.append(HASH_FIELD)
    )


def _parts(array: pa.Array) -> list[pa.BinaryArray]:
    """Arrays without nulls whose values, one after the other, are the encodings of `array`'s.

    Many parts are joined at once where they are needed: each join passes over all bytes.
    """
    kind = array.type
    if pa.types.is_boolean(kind):
        return _parts(array.cast(pa.uint8()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        width = kind.bit_width // 8
        return [_where_valid(array, _marked(_bytes_of(array, width), width), _null())]
    if pa.types.is_fixed_size_binary(kind):
        return [_where_valid(array, _join([_here(), _filled(array)]), _null())]
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        filled = _filled(array)
        return [_where_valid(array, _counted(pc.binary_length(filled)), _null()), filled]
    if pa.types.is_struct(kind):
        fields = [part for place in range(kind.num_fields) for part in _parts(array.field(place))]
        return (
            [_where_valid(array, _join([_here(), *fields]), _null())]
            if array.null_count
            else [_here(), *fields]
        )
    if pa.types.is_list(kind):
        offsets = array.offsets.to_numpy().astype(np.int64)
        values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
        counts = pa.array(np.diff(offsets).astype(np.int32))
        grouped = _grouped(values, offsets - offsets[0])
        return [
            _where_valid(array, _counted(counts), _null()),
            _where_valid(array, grouped, _nothing()),
        ]
    if pa.types.is_fixed_size_list(kind):
        length, inner = kind.list_size, kind.value_type
        values = array.values.slice(array.offset * length, len(array) * length)
        if not values.null_count and (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
            width = inner.bit_width // 8
            return [_where_valid(array, _marked(_bytes_of(values, width), width * length), _null())]
        grouped = _grouped(values, np.arange(len(array) + 1) * length)
        return [_where_valid(array, _join([_here(), grouped]), _null())]
    raise TypeError(f"rows with columns of type {kind} have no hash yet")


def _where_valid(array: pa.Array, found: pa.BinaryArray, otherwise: pa.Scalar) -> pa.BinaryArray:
    """`found` where `array` has a value, else `otherwise`."""
    return pc.if_else(array.is_valid(), found, otherwise) if array.null_count else found


def _filled(array: pa.Array) -> pa.BinaryArray:
    found = array.cast(pa.binary())
    return pc.fill_null(found, b"") if array.null_count else found


def _grouped(values: pa.Array, offsets: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.BinaryArray:
    """The encodings of values[offsets[i]:offsets[i + 1]], one after the other, for each i."""
    if not len(values):
        return pa.array([b""] * (len(offsets) - 1), pa.binary())
    starts, data = _contents(_join(_parts(values)))
    return pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(starts[offsets].astype(np.int32)), data]
    )


def _contents(
    values: pa.BinaryArray | pa.StringArray,
) -> "tuple[np.ndarray[tuple[int], np.dtype[np.int64]], pa.Buffer]":
    """The offsets (n + 1,) of each value in the buffer of data, and that buffer."""
    _, offsets, data = values.buffers()
    width = (
        np.int64
        if pa.types.is_large_binary(values.type) or pa.types.is_large_string(values.type)
        else np.int32
    )
    found = np.frombuffer(offsets, width)[values.offset : values.offset + len(values) + 1]
    return found.astype(np.int64), data


def _bytes_of(array: pa.Array, width: int) -> pa.Buffer:
    data = array.buffers()[1]
    return data.slice(array.offset * width, len(array) * width)


def _marked(data: pa.Buffer, width: int) -> pa.BinaryArray:
    """`data`, cut into pieces of `width` bytes, each behind the byte that says that there is a value."""
    count = data.size // width
    marked = np.ones((count, 1 + width), np.uint8)
    marked[:, 1:] = np.frombuffer(data, np.uint8).reshape(count, width)
    offsets = np.arange(count + 1, dtype=np.int32) * (1 + width)
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(marked)])


def _counted(counts: pa.Array) -> pa.BinaryArray:
    """The same of numbers of values, as four bytes each."""
    return _marked(_bytes_of(counts.cast(pa.int32()), 4), 4)


def _join(parts: "Sequence[pa.BinaryArray | pa.Scalar]") -> pa.BinaryArray:
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, _nothing())

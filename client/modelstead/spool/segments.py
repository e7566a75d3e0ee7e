"""The format of a spool's segment files, as bytes and nothing else: a header, then records with checksums.

All numbers are little-endian. A header is the magic, the version of the format, the session, the epoch under which it
was written and the sequence from which its records count; a record is its CRC-32, its length, its sequence, how many
points are in it, and the batch. A record counts only if it is whole, and nothing after one that is not does.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
PAYLOAD_BYTES_MAX = 4 * 1024 * 1024

_MAGIC = b"MSTSPOOL"
_HEADER = struct.Struct("<8sI16sQQ")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<IQI")

HEADER_BYTES = _HEADER.size + _CRC.size
RECORD_BYTES = _CRC.size + _RECORD.size


class SegmentError(Exception):
    """A file is not a segment that this release can read."""


@dataclass(frozen=True, slots=True)
class Header:
    """`session_id` is 16 bytes; `epoch` is that of the process that wrote the segment."""

    session_id: bytes
    epoch: int
    first_sequence: int


@dataclass(frozen=True, slots=True)
class Record:
    """A batch without its sequence, which stands beside it. `points` is 0 for one that is never dropped."""

    sequence: int
    points: int
    payload: bytes


def encode_header(header: Header) -> bytes:
    body = _HEADER.pack(_MAGIC, VERSION, header.session_id, header.epoch, header.first_sequence)
    return body + _CRC.pack(zlib.crc32(body))


def decode_header(data: bytes) -> Header:
    """Return the header that `data` begins with. Raises SegmentError."""
    if len(data) < HEADER_BYTES:
        raise SegmentError("it ends within its header")
    magic, version, session_id, epoch, first_sequence = _HEADER.unpack_from(data)
    if magic != _MAGIC or zlib.crc32(data[: _HEADER.size]) != _CRC.unpack_from(data, _HEADER.size)[0]:
        raise SegmentError("its header is damaged")
    if version != VERSION:
        raise SegmentError(f"its format is version {version}, and this release reads version {VERSION}")
    return Header(session_id, epoch, first_sequence)


def encode_record(record: Record) -> bytes:
    rest = _RECORD.pack(len(record.payload), record.sequence, record.points) + record.payload
    return _CRC.pack(zlib.crc32(rest)) + rest


def records(data: bytes, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Yield each whole record from `offset` on, and where it ends; stop at the first that is not whole."""
    while len(data) - offset >= RECORD_BYTES:
        length, sequence, points = _RECORD.unpack_from(data, offset + _CRC.size)
        end = offset + RECORD_BYTES + length
        if length > PAYLOAD_BYTES_MAX or end > len(data):
            return
        if zlib.crc32(memoryview(data)[offset + _CRC.size : end]) != _CRC.unpack_from(data, offset)[0]:
            return
        yield Record(sequence, points, data[offset + RECORD_BYTES : end]), end
        offset = end


def whole_bytes(data: bytes) -> int:
    """Return how much of a segment is its header and whole records; 0 if not even the header is."""
    try:
        decode_header(data)
    except SegmentError:
        return 0
    end = HEADER_BYTES
    for _, end in records(data, HEADER_BYTES):  # noqa: B007 - the last one counts
        pass
    return end

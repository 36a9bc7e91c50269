"""PNG files of every depth and colour type, written from the specification and from nothing that reads them."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png(values, depth, colour, *, interlaced=False, **chunks):
    """Return a file with samples of shape (rows, columns) or (rows, columns, samples)."""
    values = np.asarray(values)
    values = values[..., None] if values.ndim == 2 else values
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first row, first column, and steps
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(_filtered(values[top::down, left::right], depth) for top, left, down, right in passes)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, int(interlaced))
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name.encode(), body) for name, body in parts.items())


def _chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _filtered(values, depth):
    """Return rows with the filters None, Sub and Up in turn."""
    bits = (values.reshape(len(values), -1, 1).astype(np.int64) >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.astype(np.uint8).reshape(len(values), -1), axis=1)
    step = max(1, values.shape[2] * depth // 8)
    packed, above = b"", np.zeros(rows.shape[1], np.uint8)
    for number, row in enumerate(rows):
        left = np.concatenate([np.zeros(step, np.uint8), row[:-step]])
        packed += bytes([number % 3]) + (row - (0 * row, left, above)[number % 3]).tobytes()
        above = row
    return packed

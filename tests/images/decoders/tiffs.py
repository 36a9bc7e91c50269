"""TIFF files of every layout, written from the specification and from nothing that reads them."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def tiff(
    values,
    *,
    order="<",
    big=False,
    photometric=None,
    bits=None,
    planar=False,
    tile=None,
    rows_per_strip=None,
    deflate=False,
    predictor=1,
    **more,
):
    """Return a file with samples of shape (rows, columns) or (rows, columns, samples).

    ``more`` are further tags by number, as ``tag338=(2,)``; an empty tuple leaves a tag out.
    """
    values = np.asarray(values)
    values = values[..., None] if values.ndim == 2 else values
    height, width, samples = values.shape
    bits = bits or 8 * values.itemsize
    planes = [values[..., k : k + 1] for k in range(samples)] if planar else [values]
    across, down = tile or (width, rows_per_strip or height)
    pieces = []
    for plane in planes:
        for top in range(0, height, down):
            for left in range(0, width, across):
                piece = plane[top : top + down, left : left + across]
                if tile:
                    piece = np.pad(piece, ((0, down - len(piece)), (0, across - piece.shape[1]), (0, 0)))
                packed = _packed(piece, bits, order, predictor)
                pieces.append(zlib.compress(packed) if deflate else packed)
    tags = {
        256: (width,),
        257: (height,),
        258: (bits,) * samples,
        259: (8 if deflate else 1,),
        262: ((2 if samples >= 3 else 1) if photometric is None else photometric,),
        277: (samples,),
        284: (2 if planar else 1,),
        317: (predictor,),
        339: ({"u": 1, "b": 1, "i": 2, "f": 3}[values.dtype.kind],) * samples,
    }
    tags |= {322: (across,), 323: (down,)} if tile else {278: (down,)}
    start = 16 if big else 8
    offsets = tuple(start + sum(map(len, pieces[:k])) for k in range(len(pieces)))
    tags |= {324 if tile else 273: offsets, 325 if tile else 279: tuple(map(len, pieces))}
    tags |= {int(name[3:]): value for name, value in more.items()}
    return _file({tag: value for tag, value in tags.items() if value}, b"".join(pieces), order, big=big)


def _packed(piece, bits, order, predictor):
    rows, columns, samples = piece.shape
    if predictor == 3:
        floats = piece.astype(piece.dtype.newbyteorder(">")).reshape(rows, -1)
        apart = floats.view(np.uint8).reshape(rows, columns * samples, -1).swapaxes(1, 2).reshape(rows, -1, samples)
        return np.diff(apart, axis=1, prepend=np.uint8(0)).astype(np.uint8).tobytes()
    if bits != 8 * piece.itemsize:
        ordered = (piece.reshape(rows, -1, 1).astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
        return np.packbits(ordered.astype(np.uint8).reshape(rows, -1), axis=1).tobytes()
    if predictor == 2:
        whole = piece.view(f"u{piece.itemsize}")
        piece = np.concatenate([whole[:, :1], whole[:, 1:] - whole[:, :-1]], axis=1)
    return np.ascontiguousarray(piece.astype(piece.dtype.newbyteorder(order))).tobytes()


def _file(tags, body, order, *, big):
    offset, count, entry, width = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    start = (16 if big else 8) + len(body)
    far = start + struct.calcsize(order + count) + len(tags) * (struct.calcsize(order + entry) + width) + width
    entries, behind = b"", b""
    for tag, numbers in sorted(tags.items()):
        kind = "H" if tag in {258, 259, 262, 274, 277, 284, 317, 320, 338, 339} else "I"
        packed = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        entries += struct.pack(order + entry, tag, {"H": 3, "I": 4}[kind], len(numbers))
        entries += (
            packed.ljust(width, b"\0") if len(packed) <= width else struct.pack(order + offset, far + len(behind))
        )
        behind += b"" if len(packed) <= width else packed
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI", 42, start)
    return mark + head + body + struct.pack(order + count, len(tags)) + entries + bytes(width) + behind

"""Large arrays in files: joined from many, and read in part."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def append(target: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, files: Iterator[Path]) -> None:
    """One array file from many, in the order of their names."""
    with target.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        )
        for file in sorted(files):
            out.write(np.load(file).tobytes())


def rows_of(path: Path, rows: Numbers) -> npt.NDArray[np.uint8]:
    """Some rows (ascending) of a large array file. Read, not mapped: the kernel maps cached pages around each one touched.

    Rows less than a page apart are read together, so that the calls do not cost more than the comparison.
    """
    mapped = np.load(path, mmap_mode="r")
    width, start = mapped.shape[1], mapped.offset
    found = np.empty((len(rows), width), np.uint8)
    near, most = max(4096 // width, 1), max((1 << 20) // width, 1)
    jumps = (np.diff(rows) > near) | (np.diff(rows // most) > 0)
    with path.open("rb", buffering=0) as file:
        for places in np.split(np.arange(len(rows)), np.flatnonzero(jumps) + 1) if len(rows) else ():
            wanted = rows[places]
            first, count = int(wanted[0]), int(wanted[-1] - wanted[0]) + 1
            data = os.pread(file.fileno(), count * width, start + first * width)
            found[places] = np.frombuffer(data, np.uint8).reshape(count, width)[wanted - first]
    return found

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
    """Some rows of a large array file. Read, not mapped: the kernel maps a file's cached pages around each one touched."""
    mapped = np.load(path, mmap_mode="r")
    width, start = mapped.shape[1], mapped.offset
    file = os.open(path, os.O_RDONLY)
    try:
        data = b"".join(os.pread(file, width, start + int(row) * width) for row in rows.tolist())
    finally:
        os.close(file)
    return np.frombuffer(data, np.uint8).reshape(len(rows), width)

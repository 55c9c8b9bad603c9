"""Peak memory of segment_stack on a lazy stack that is written to zarr, plane by plane.

    python benchmarks/stack_memory.py [--planes 2000] [--side 192] [--source dask]

The planes are made when they are read (dask), or lie in a memory-mapped file or a zarr array; labels go to
a zarr array whose chunks hold 16 planes. With --fake the model is left out: the planes' truth is linked and
written, which shows what linking takes alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from timing import measure_peak_memory, print_table

import napari_sam as ns
from napari_sam.sample_data import make_nuclei
from napari_sam.stacks.linking import Linker
from napari_sam.stacks.segment_stack import iter_segment_stack

DEPTH = 40  # planes of the volume that is repeated


def main() -> None:
    """Print memory before and after, and the seconds a plane."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--planes", type=int, default=2000)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--source", choices=("dask", "memmap", "zarr"), default="dask")
    parser.add_argument("--axis", choices=("z", "t"), default="z")
    parser.add_argument("--fake", action="store_true", help="no model: only link and write")
    args = parser.parse_args()
    shape = args.planes, args.side, args.side
    volume, truth = make_nuclei((DEPTH, *shape[1:]), spacing=(0.5, 0.25, 0.25), count=30, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        out = zarr.create_array(
            Path(folder) / "labels.zarr", shape=shape, chunks=(16, *shape[1:]), dtype="int32"
        )
        model = None if args.fake else ns.load_model("nuclei")
        before, start = measure_peak_memory(), time.perf_counter()
        if model is None:
            count = link(truth, args.planes, args.axis)
        else:
            stack = make_stack(args.source, volume, shape, Path(folder))
            before = measure_peak_memory()
            job = iter_segment_stack(stack, model, args.axis, out=out)
            while True:
                try:
                    next(job)
                except StopIteration as end:
                    count = end.value.count
                    break
        seconds = time.perf_counter() - start
        rows = [[args.source, str(shape), count, before, measure_peak_memory(), 1000 * seconds / args.planes]]
        print_table(["source", "stack", "objects", "MiB before", "MiB peak", "ms/plane"], rows)


def make_stack(kind: str, volume: np.ndarray[Any, Any], shape: tuple[int, ...], folder: Path) -> Any:
    """The volume over and over again, as an array that is read plane by plane."""
    if kind == "dask":
        import dask.array as da

        return da.map_blocks(
            lambda block_info=None: volume[block_info[None]["chunk-location"][0] % DEPTH][None],
            dtype=volume.dtype,
            chunks=((1,) * shape[0], (shape[1],), (shape[2],)),
        )
    if kind == "memmap":
        stack: Any = np.lib.format.open_memmap(folder / "stack.npy", "w+", volume.dtype, shape)
    else:
        stack = zarr.create_array(folder / "stack.zarr", shape=shape, chunks=(1, *shape[1:]), dtype="uint16")
    for start in range(0, shape[0], DEPTH):
        stack[start : start + DEPTH] = volume[: min(DEPTH, shape[0] - start)]
    return stack


def link(truth: np.ndarray[Any, Any], planes: int, axis: Any) -> int:
    """Number of objects that linking alone finds."""
    linker = Linker(axis)
    for k in range(planes):
        linker.add(truth[k % DEPTH])
    return linker.finish().count


if __name__ == "__main__":
    main()

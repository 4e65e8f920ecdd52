#!/usr/bin/env bash
# pyarrow's type for arrays of equal shape (arrow.fixed_shape_tensor) takes pictures in any layout: an array whose axes
# lie in memory in another order is not copied, the type notes a permutation. pyarrow 26.0.1 notes its inverse. For an
# order that only swaps two axes both are the same. The commonest layout of this field is none of these: pictures decoded
# as pixels with their colours side by side, seen as images x colours x rows x columns, as networks take them (numpy's
# transpose(0, 3, 1, 2), torch's permute). Such an array is stored, and written to Parquet, without a word, and cannot be
# read any more: "strides must not involve buffer over run" for pictures of 224 x 224; for some sizes other values in
# another shape come back, and where rows, columns and colours are equally many even the shape is right. What is stored
# is whole (the type's storage, reshaped by hand), and of a contiguous copy (numpy.ascontiguousarray) everything comes
# back as it was.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (two pictures of rows x columns x colours, as images x colours x rows x columns):
#   224 x 224 x 3  all: refused                      one: refused                   copy: as given  from Parquet: refused
#   4 x 5 x 3      all: refused                      one: others, shape (5, 3, 4)   copy: as given  from Parquet: refused
#   2 x 3 x 3      all: others, shape (2, 3, 3, 2)   one: others, shape (3, 3, 2)   copy: as given  from Parquet: as all
#   3 x 3 x 3      all: others, shape (2, 3, 3, 3)   one: others, shape (3, 3, 3)   copy: as given  from Parquet: as all
#   pictures with rows and columns swapped (4 x 5 x 3 as images x columns x rows x colours): as given
#
# Run by hand; needs PyPI and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 numpy==2.4.6
cat > "$folder/tensors.py" <<'PYTHON'
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

REFUSED = "strides must not involve buffer over run"


def stored(pictures):
    return pa.FixedShapeTensorArray.from_numpy_ndarray(pictures)


def from_parquet(pictures):
    pq.write_table(pa.table({"image": stored(pictures)}), sys.argv[1])
    return pq.read_table(sys.argv[1])["image"].combine_chunks()


def back(read, given):
    try:
        found = read()
    except pa.ArrowInvalid as error:
        return "refused" if REFUSED in str(error) else f"refused: {error}"
    if found.shape == given.shape and (found == given).all():
        return "as given"
    return f"others, shape {found.shape}"


def drawn(*shape):
    return np.random.default_rng(0).integers(0, 255, (2, *shape), dtype=np.uint8)


EXPECTED = {
    (224, 224, 3): ("refused", "refused"),
    (4, 5, 3): ("refused", "others, shape (5, 3, 4)"),
    (2, 3, 3): ("others, shape (2, 3, 3, 2)", "others, shape (3, 3, 2)"),
    (3, 3, 3): ("others, shape (2, 3, 3, 3)", "others, shape (3, 3, 3)"),
}
is_as_stated = True
for shape, (of_all, of_one) in EXPECTED.items():
    view = drawn(*shape).transpose(0, 3, 1, 2)
    array, copy = stored(view), stored(np.ascontiguousarray(view))
    found = (
        back(array.to_numpy_ndarray, view),
        back(array[0].to_numpy, view[0]),
        back(copy.to_numpy_ndarray, view),
        back(from_parquet(view).to_numpy_ndarray, view),
    )
    size = " x ".join(map(str, shape))
    print(f"{size:14} all: {found[0]:27}  one: {found[1]:24}  copy: {found[2]}  from Parquet: {'as all' if found[3] == found[0] and 'others' in found[3] else found[3]}")
    is_as_stated &= found == (of_all, of_one, "as given", of_all)
    by_hand = array.storage.flatten().to_numpy().reshape(2, *shape).transpose(0, 3, 1, 2)
    is_as_stated &= bool((by_hand == view).all())
swapped = drawn(4, 5, 3).transpose(0, 2, 1, 3)
words = back(stored(swapped).to_numpy_ndarray, swapped)
print(f"pictures with rows and columns swapped (4 x 5 x 3 as images x columns x rows x colours): {words}")
is_as_stated &= words == "as given"
print("as stated" if is_as_stated else "CHANGED")
sys.exit(0 if is_as_stated else 1)
PYTHON
"$folder/env/bin/python" "$folder/tensors.py" "$folder/pictures.parquet"

#!/usr/bin/env bash
# A table in the layout of Hugging Face's pictures (a struct of bytes and path) in which many rows show the same few pictures:
# pyarrow 26.0.1 writes each once when `use_dictionary` is true, and hundreds of times more when the column is asked for by
# its name. The list takes names of leaves ("image.bytes"), "image" is none of them; names that no column has are taken
# without a word, and everything that is not listed loses its dictionary. And a dictionary ends at 1 MiB of different values:
# of 300 pictures of 5 kB in 3000 rows 11.4 of 15 MB are written, while the metadata still say RLE_DICTIONARY;
# `dictionary_pagesize_limit` moves that.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (bytes of the file, encodings of image.bytes):
#   20 pictures, 2000 rows
#     true            0.1 MB  dictionary
#     ["image"]      10.0 MB  plain
#     ["image.bytes"] 0.1 MB  dictionary
#     ["nonsense"]   10.0 MB  plain
#   300 pictures, 3000 rows
#     true           11.4 MB  dictionary
#     limit 64 MiB    1.5 MB  dictionary
#
# Run by hand; needs PyPI. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 numpy
cat > "$folder/write.py" <<'PYTHON'
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(n_pictures, n_rows):
    generator = np.random.default_rng(0)
    pictures = [generator.bytes(5000) for _ in range(n_pictures)]
    rows = [{"bytes": pictures[i % n_pictures], "path": None} for i in range(n_rows)]
    return pa.table({"image": pa.array(rows, TYPE)})


def written(rows, **options):
    file = io.BytesIO()
    pq.write_table(rows, file, **options)
    group = pq.ParquetFile(file).metadata.row_group(0)
    column = next(group.column(i) for i in range(2) if group.column(i).path_in_schema == "image.bytes")
    kind = "dictionary" if "RLE_DICTIONARY" in column.encodings else "plain"
    return f"{file.getbuffer().nbytes / 1e6:.1f} {kind}"


few, many = table(20, 2000), table(300, 3000)
for name in (True, ["image"], ["image.bytes"], ["nonsense"]):
    print(written(few, use_dictionary=name))
print(written(many))
print(written(many, dictionary_pagesize_limit=64 << 20))
PYTHON
found=$("$folder/env/bin/python" "$folder/write.py")
echo "$found"
expected="0.1 dictionary
10.0 plain
0.1 dictionary
10.0 plain
11.4 dictionary
1.5 dictionary"
if [ "$found" = "$expected" ]; then echo "as stated"; else echo "CHANGED"; exit 1; fi

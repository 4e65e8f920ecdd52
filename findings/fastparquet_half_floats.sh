#!/usr/bin/env bash
# fastparquet 2026.9.0 reads a column of 16-bit floats, as pyarrow 26.0.1 writes it (Parquet's logical type FLOAT16: heat
# maps, embeddings), as byte strings of two letters, without an error or a warning: 0.5 comes back as b"\x008". Lists of
# them likewise. pyarrow, polars 2.1.0 and DuckDB 2.0.1 read the numbers from the same file. Whoever shares maps in half
# precision should tell pandas `engine="pyarrow"`, or `np.frombuffer(value, "<f2")` what fastparquet gave.
#
# Seen on 2026-11-28, Python 3.11, x86-64:
#   pyarrow      [0.5, -1.25, 2.0]   [[0.5, -1.25], [2.0]]
#   polars       [0.5, -1.25, 2.0]   [[0.5, -1.25], [2.0]]
#   duckdb       [0.5, -1.25, 2.0]   [[0.5, -1.25], [2.0]]
#   fastparquet  [b'\x008', b'\x00\xbd', b'\x00@']   [[b'\x008', b'\x00\xbd'], [b'\x00@']]
#
# Run by hand; needs PyPI and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    fastparquet==2026.9.0 pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1 pandas==3.1.1
cat > "$folder/read.py" <<'PYTHON'
import sys

import duckdb
import fastparquet
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq

path = sys.argv[1]
values = np.array([0.5, -1.25, 2.0], np.float16)
maps = pa.array([values[:2], values[2:]], pa.list_(pa.float16()))
pq.write_table(pa.table({"value": values}), f"{path}/values.parquet")
pq.write_table(pa.table({"map": maps}), f"{path}/maps.parquet")


def plain(value):
    if isinstance(value, bytes):
        return bytes(value)
    return [plain(each) for each in value] if hasattr(value, "__len__") else float(value)


seen = {}
for name in ("values", "maps"):
    file = f"{path}/{name}.parquet"
    seen[name] = {
        "pyarrow": plain(pq.read_table(file).column(0).to_pylist()),
        "polars": plain(polars.read_parquet(file).to_series().to_list()),
        "duckdb": plain([row[0] for row in duckdb.sql(f"select * from '{file}'").fetchall()]),
        "fastparquet": plain(fastparquet.ParquetFile(file).to_pandas().iloc[:, 0]),
    }
for reader in seen["values"]:
    print(f"{reader:12} {seen['values'][reader]}   {seen['maps'][reader]}")
numbers = {"values": [0.5, -1.25, 2.0], "maps": [[0.5, -1.25], [2.0]]}
letters = {"values": [b"\x008", b"\x00\xbd", b"\x00@"], "maps": [[b"\x008", b"\x00\xbd"], [b"\x00@"]]}
for name, readers in seen.items():
    for reader, found in readers.items():
        expected = (letters if reader == "fastparquet" else numbers)[name]
        if found != expected:
            sys.exit(f"changed: {reader} reads {found}, expected {expected}")
assert np.frombuffer(b"".join(letters["values"]), "<f2").tolist() == numbers["values"]
PYTHON
"$folder/env/bin/python" "$folder/read.py" "$folder"
echo "as stated"

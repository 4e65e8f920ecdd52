#!/usr/bin/env bash
# mlcroissant 1.1.1 calls a data set valid, without an error or a warning, none of whose records it can then read: not
# only the picture, the row with its plain text neither. Hugging Face's way of pictures in Parquet is a struct of bytes
# and path. Declared as sc:Text or sc:ImageObject such a column validates and raises GenerationError when records are
# asked for, with no word of the column; only with `"transform": {"jsonPath": "bytes"}` rows and pictures come out. Whoever
# publishes masks or pictures with Croissant metadata should read a record besides validating.
#
# Seen on 2026-11-29, Python 3.11, x86-64:
#   sc:Text                    0 errors, 0 warnings   GenerationError
#   sc:ImageObject             0 errors, 0 warnings   GenerationError
#   sc:ImageObject, jsonPath   0 errors, 0 warnings   a, RGB picture of 4 x 4
#
# Run by hand; needs PyPI and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    mlcroissant==1.1.1 pyarrow==26.0.1 pillow==12.3.0 "pandas<4" fastparquet==2026.9.0
cat > "$folder/read.py" <<'PYTHON'
import hashlib
import io
import json
import logging
import sys
from pathlib import Path

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

logging.disable(logging.CRITICAL)
FOLDER = Path(sys.argv[1])
TERMS = "column conformsTo citeAs extract field fileObject jsonPath recordSet source transform".split()

picture = io.BytesIO()
Image.new("RGB", (4, 4), (200, 0, 0)).save(picture, "PNG")
pictures = pa.array([{"bytes": picture.getvalue(), "path": None}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
pq.write_table(pa.table({"id": ["a"], "image": pictures}), FOLDER / "t.parquet")


def field(name, kind, transform):
    source = {"fileObject": {"@id": "t.parquet"}, "extract": {"column": name}} | transform
    return {"@type": "cr:Field", "@id": f"rows/{name}", "name": name, "dataType": kind, "source": source}


def described(kind, transform):
    context = {"@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/"}
    context |= {"cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/"}
    context |= {name: f"cr:{name}" for name in TERMS} | {"conformsTo": "dct:conformsTo"}
    context |= {"dataType": {"@id": "cr:dataType", "@type": "@vocab"}}
    file = {"@type": "cr:FileObject", "@id": "t.parquet", "name": "t.parquet", "contentUrl": "t.parquet"}
    file |= {"encodingFormat": "application/x-parquet"}
    file |= {"sha256": hashlib.sha256((FOLDER / "t.parquet").read_bytes()).hexdigest()}
    fields = [field("id", "sc:Text", {}), field("image", kind, transform)]
    return {
        "@context": context, "@type": "sc:Dataset", "name": "pictures", "description": "a row",
        "conformsTo": "http://mlcommons.org/croissant/1.0", "license": "CC0-1.0", "url": "https://example.org/pictures",
        "datePublished": "2026-01-01", "version": "1.0.0", "citeAs": "nobody", "distribution": [file],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}],
    }


failed = (0, 0, "GenerationError")
expected = {
    "sc:Text": ("sc:Text", {}, failed),
    "sc:ImageObject": ("sc:ImageObject", {}, failed),
    "sc:ImageObject, jsonPath": ("sc:ImageObject", {"transform": {"jsonPath": "bytes"}}, (0, 0, "a, RGB picture of 4 x 4")),
}
for title, (kind, transform, value) in expected.items():
    path = FOLDER / "croissant.json"
    path.write_text(json.dumps(described(kind, transform)))
    found = mlcroissant.Dataset(jsonld=str(path))
    issues = found.metadata.ctx.issues
    try:
        row = next(iter(found.records("rows")))
        image = row["rows/image"]
        read = f"{row['rows/id'].decode()}, {image.mode} picture of {image.width} x {image.height}"
    except Exception as error:
        read = type(error).__name__
    seen = len(issues.errors), len(issues.warnings), read
    print(f"{title:27}{seen[0]} errors, {seen[1]} warnings   {read}")
    if seen != value:
        sys.exit(f"changed: {title} gives {seen}, expected {value}")
PYTHON
"$folder/env/bin/python" "$folder/read.py" "$folder"
echo "as stated"

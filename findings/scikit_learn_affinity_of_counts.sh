#!/usr/bin/env bash
# scikit-learn 1.9.1: AffinityPropagation does not take similarities that are whole numbers, such as how many proposals or key
# points of two images match: `affinity="precomputed"` with integers ends in numpy's "data type <class 'numpy.int64'> not
# inexact", which names neither the matrix nor what is expected. The same numbers as floats are clustered, and
# SpectralClustering takes the integers. Where all counts happen to be equal the integers do pass, with the usual warning.
#
# Seen on 2026-11-28, Python 3.11, x86-64, 6 images of two kinds, 9 matches within a kind and 1 across:
#   AffinityPropagation int64   ValueError: data type <class 'numpy.int64'> not inexact
#   AffinityPropagation float64 [0, 0, 0, 1, 1, 1]
#   SpectralClustering  int64   2 clusters of 3
#
# Run by hand; needs PyPI and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat > "$folder/counts.py" <<'PYTHON'
import sys

import numpy as np
from sklearn.cluster import AffinityPropagation, SpectralClustering

kind = np.array([0, 0, 0, 1, 1, 1])
matches = np.where(kind[:, None] == kind, 9, 1)


def clustered(similarity):
    found = AffinityPropagation(affinity="precomputed", random_state=0)
    try:
        return str(found.fit_predict(similarity).tolist())
    except ValueError as error:
        return f"ValueError: {error}"


spectral = SpectralClustering(2, affinity="precomputed", random_state=0).fit_predict(matches)
seen = [
    clustered(matches),
    clustered(matches.astype(float)),
    f"{len(set(spectral.tolist()))} clusters of {np.bincount(spectral).min()}",
]
print(f"AffinityPropagation int64   {seen[0]}\nAffinityPropagation float64 {seen[1]}\nSpectralClustering  int64   {seen[2]}")
expected = ["ValueError: data type <class 'numpy.int64'> not inexact", "[0, 0, 0, 1, 1, 1]", "2 clusters of 3"]
sys.exit(0 if seen == expected else "changed")
PYTHON
"$folder/env/bin/python" "$folder/counts.py"
echo "as stated"

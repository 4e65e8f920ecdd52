"""Units: what every unit of a network responds to most, projected to the pixels (Zeiler & Fergus)."""

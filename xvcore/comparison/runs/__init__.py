"""How a comparison is carried out over classes: from the visual summaries of its networks to verdicts."""

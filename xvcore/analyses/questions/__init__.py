"""The questions on tensors and frames, and what their figures are drawn with. No input, no output."""

"""The method on tensors. No input, no output."""

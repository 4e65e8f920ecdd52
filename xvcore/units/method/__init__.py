"""The method on tensors: rankings of activations, and projections. No input, no output."""

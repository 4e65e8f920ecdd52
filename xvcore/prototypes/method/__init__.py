"""The method on tensors: map, rotation, pooling, head, training, measures. No input, no output."""

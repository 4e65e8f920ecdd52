"""The method on tensors: maps of evidence, and the strongest patches of many images. No input, no output."""

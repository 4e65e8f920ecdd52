"""The method on tensors and arrays: masks, regions, their similarity, clusters, summaries. No input, no output."""

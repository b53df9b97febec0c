"""Text in, batches out: reading, splitting, tokenizing and batching."""

"""The machine: files, signals, starting TensorFlow, timing, provenance."""

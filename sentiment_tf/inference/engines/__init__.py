"""The libraries that run an exported model, one file each."""

"""The text formats of keys, names, times, addresses and JSON, and redaction. No file here imports another room."""

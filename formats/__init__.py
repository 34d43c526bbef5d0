"""The text formats of keys, names, times and JSON, and redaction of credentials. No file here imports another room."""

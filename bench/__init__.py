"""What the service costs, beside the least that the same framework, server and database can do: `make bench`."""

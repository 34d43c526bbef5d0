"""The cost of the service, compared with the bare framework, server and database: `make bench`."""

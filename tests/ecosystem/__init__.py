"""The tools of others: a browser, generators, an environment of its own."""

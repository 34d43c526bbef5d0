"""The tools of others: a browser, generators, a fresh environment."""

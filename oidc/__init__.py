"""Tokens of an OpenID provider: its keys, the meaning of its claims, the check of a bearer."""

"""The kinds of callers: their roles, scopes and tokens."""

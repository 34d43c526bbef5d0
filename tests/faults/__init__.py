"""Real servers, broken on purpose."""

"""An OpenID provider: its keys, the meaning of its claims, the check of its bearers, and the sign-in at its page."""

"""docs/operation.md, carried out: its table of commands, and what an operator types from the install to the upgrade."""

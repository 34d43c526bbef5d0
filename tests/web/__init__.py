"""How HTTP is spoken."""

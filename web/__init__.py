"""How HTTP is spoken here. Knows no key and no database."""

"""How things are written: keys, names, times, JSON; and how a credential in a text is found. Leaves, all of them."""

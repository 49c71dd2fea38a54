"""How well a map layer agrees with the truth."""

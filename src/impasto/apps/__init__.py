"""FLOOR 3: faces. Thin: they parse, call and print."""

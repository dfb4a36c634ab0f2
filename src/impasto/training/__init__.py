"""FLOOR 2: make a model. Needs the extra: pip install impasto[train]."""

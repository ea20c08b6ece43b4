"""Results: the value, its download, its display."""

"""The engine: every request, its slots, its money and its task."""

"""The protocols that can be implemented outside, each in a module of its own."""

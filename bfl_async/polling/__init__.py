"""When to poll: pure functions and what they learn."""

"""Random lives of a client in virtual time, each from a seed; see `tests.schedules.run`."""

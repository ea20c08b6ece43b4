"""One optional module for each framework or system: import the one that you use; each needs its own package."""

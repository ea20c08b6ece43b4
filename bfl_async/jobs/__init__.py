"""Jobs on many machines."""

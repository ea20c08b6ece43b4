"""What is published: built, looked into, installed alone in fresh environments. Run by `nox -s release`."""

"""A small web application: type a prompt, watch it being drawn. `python -m examples.studio --sandbox` serves it."""

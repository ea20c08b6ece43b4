"""Measurements against the sandbox in a process of its own, in real time.

Each script states in its docstring the figures that are expected of it.
"""

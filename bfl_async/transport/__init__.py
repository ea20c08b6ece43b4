"""HTTP: the aiohttp client, the key guard, and the one table from aiohttp's errors to ours.

Empty on purpose: importing the guard must not import aiohttp.
"""

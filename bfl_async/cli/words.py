"""Singular and plural, for what the commands say."""

from __future__ import annotations


def counted(count: float, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 prompt`, `2 prompts`; thousands are separated."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:,.6g}"
    return f"{number} {noun if count == 1 else plural or noun + 's'}"


def them(count: int) -> str:
    """Return the pronoun for so many things."""
    return "it" if count == 1 else "them"


def were(count: int) -> str:
    """Return the verb in the past for so many things."""
    return "was" if count == 1 else "were"


def they(count: int) -> str:
    """Return the pronoun for so many things that do something."""
    return "it" if count == 1 else "they"

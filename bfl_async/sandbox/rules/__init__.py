"""The fields of each endpoint, and the 422 answer to a body that breaks their rules.

The API runs on FastAPI: a refused body comes back as pydantic's list of errors. The conversions are
pydantic's lax ones (the string "512" is a fine width, 512.5 is not), in its order of checks and its words.
Fields that an endpoint does not know are ignored or refused, as its schema says. What the schema does not
say (an image that is none, a ratio that is none) is no matter of this package but of `orders`.
"""

from collections.abc import Mapping

from bfl_async.sandbox.rules import flux1, flux2, flux3, tools
from bfl_async.sandbox.rules.kinds import Json, Modes, RulesBroken, Shape, parse

__all__ = ["RULES", "Json", "Modes", "RulesBroken", "Shape", "check", "parse"]

RULES: dict[str, Shape | Modes] = {**flux1.RULES, **flux2.RULES, **flux3.RULES, **tools.RULES}


def check(model: str, body: Mapping[str, Json]) -> dict[str, Json]:
    """The body's known fields, converted to their types; those that are null are left out.

    Raises:
        RulesBroken: At least one field breaks its rule.
    """
    return RULES[model].check(body)

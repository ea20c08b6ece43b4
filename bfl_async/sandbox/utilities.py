"""The calls that make no task: finetunes, and the report of how often a licensed model was used.

The forms of the answers are the documentation's. None was recorded, so that what a finetune's details are
and how an unknown one is refused is this sandbox's guess.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from bfl_async.sandbox.rules import Json, RulesBroken, parse
from bfl_async.sandbox.rules.tools import DELETE_FINETUNE, LICENSE_USAGE

ROUTES = (
    ("GET", "/v1/my_finetunes"),
    ("GET", "/v1/finetune_details"),
    ("POST", "/v1/delete_finetune"),
    ("POST", "/v1/licenses/models/{slug}/usage"),
)
LICENSED = ("flux-1-dev", "flux-1-kontext-dev", "flux-1-krea-dev", "flux-tools")

_FINETUNES: dict[str, dict[str, Json]] = {
    "sandbox-fox": {"finetune_comment": "a red fox", "trigger_word": "FOX", "mode": "character"},
    "sandbox-ink": {"finetune_comment": "ink on paper", "trigger_word": "INK", "mode": "style"},
}


class Utilities:
    """The account's finetunes and the usage that was reported.

    Attributes:
        finetunes: Details by id; a test may put in its own.
        licensed: The models that the account has licensed; a test may take some out.
        usage: Generations reported so far, by model.
    """

    def __init__(self) -> None:
        self.finetunes: dict[str, dict[str, Json]] = {
            name: {"finetune_id": name, **details} for name, details in _FINETUNES.items()
        }
        self.licensed: set[str] = set(LICENSED)
        self.usage: Counter[str] = Counter()

    def knows(self, finetune_id: str) -> bool:
        """Whether a generation may name it: one's own, or `organization/name`, whose owner decides."""
        return finetune_id in self.finetunes or "/" in finetune_id.strip("/")

    def answer(
        self,
        route: str,
        query: Mapping[str, str],
        slug: str,
        raw: bytes,
        content_type: str | None,
        date: float,
    ) -> tuple[int, Json]:
        """The HTTP status and the body for a call that brought the right key.

        Args:
            route: One of `ROUTES`' paths.
            query: Of the address.
            slug: The model's, in the path of a report.
            raw: The body.
            content_type: Of the body.
            date: Now, in seconds since 1970.
        """
        try:
            match route:
                case "/v1/my_finetunes":
                    return 200, {"finetunes": list(self.finetunes)}
                case "/v1/finetune_details":
                    return self._details(query.get("finetune_id"))
                case "/v1/delete_finetune":
                    return self._delete(DELETE_FINETUNE.check(parse(raw, content_type)), date)
                case _:
                    return self._report(slug, LICENSE_USAGE.check(parse(raw, content_type)))
        except RulesBroken as exc:
            return 422, {"detail": exc.detail}

    def _details(self, finetune_id: str | None) -> tuple[int, Json]:
        if finetune_id is None:
            missing: Json = {
                "type": "missing",
                "loc": ["query", "finetune_id"],
                "msg": "Field required",
                "input": None,
            }
            return 422, {"detail": [missing]}
        details = self.finetunes.get(finetune_id)
        if details is None:
            return 404, {"detail": "Finetune not found"}
        return 200, {"finetune_details": details}

    def _delete(self, fields: Mapping[str, Json], date: float) -> tuple[int, Json]:
        finetune_id = str(fields["finetune_id"])
        if self.finetunes.pop(finetune_id, None) is None:
            return 404, {"detail": "Finetune not found"}
        return 200, {
            "status": "success",
            "message": f"Finetune {finetune_id} was deleted",
            "deleted_finetune_id": finetune_id,
            "timestamp": datetime.fromtimestamp(date, UTC).isoformat(),
        }

    def _report(self, slug: str, fields: Mapping[str, Json]) -> tuple[int, Json]:
        if slug not in LICENSED:
            return 400, {"detail": f"Model slug {slug} is not supported for usage reporting"}
        if slug not in self.licensed:
            return 403, {"detail": "You have not licensed this model."}
        number = fields.get("number_of_generations", 1)
        self.usage[slug] += number if isinstance(number, int) else 1
        return 200, {"message": "Usage recorded successfully"}

"""Signs the URLs of results as the image host's storage does, and says why a URL is not good."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

# What the signature covers beside the path.
_SIGNED = ("se", "sp", "sv", "sr", "rsct")
_DATE = "%Y-%m-%dT%H:%M:%SZ"


class Signer:
    """One key, and the signatures made with it."""

    def __init__(self, seed: int, key: str) -> None:
        self._key = hashlib.sha256(f"{seed} {key}".encode()).digest()

    def signed(self, path: str, expiry: float, media_type: str) -> str:
        """Return a path with a query that makes it good until a date, in whole seconds."""
        query = {
            "se": datetime.fromtimestamp(int(expiry), UTC).strftime(_DATE),
            "sp": "r",
            "sv": "2024-11-04",
            "sr": "b",
            "rsct": media_type,
        }
        signature = self._sign(path, query)
        # Quoted as recorded: colons, plus and equal signs, but no slash, neither in the media type nor in the
        # signature. Source: recordings of December 2025, captures of August 2026.
        signed = "&".join(
            f"{name}={quote(value, safe='/')}" for name, value in (*query.items(), ("sig", signature))
        )
        return f"{path}?{signed}"

    def fault(self, path: str, query: Mapping[str, str], date: float) -> str | None:
        """Why a result's URL is not good at a date, if it is not."""
        signature = self._sign(path, query)
        if not hmac.compare_digest(signature.encode(), query.get("sig", "").encode("utf-8", "surrogatepass")):
            return "Signature did not match."
        # A right signature vouches for the form of the date.
        if date >= datetime.strptime(query["se"], _DATE).replace(tzinfo=UTC).timestamp():
            return f"Signature not valid in the specified time frame: Expiry [{query['se']}]"
        return None

    def _sign(self, path: str, query: Mapping[str, str]) -> str:
        text = "\n".join([path, *(query.get(name, "") for name in _SIGNED)])
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.b64encode(digest).decode()

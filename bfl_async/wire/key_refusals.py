"""Whether a 400 or 422 refuses the key and not the request. Pure functions.

The API answers a malformed key with 422 and a text, `{"detail": "Invalid API key format"}` (a capture of August 2026;
the pages of BFL do not have it), and an invalid request with 422 and the validator's list. Other texts are known of
neither kind, so the words decide, and a wrong answer costs:

- a refusal of the key that is taken for one of the request fails every row of a batch;
- a refusal of a request that is taken for one of the key stops a batch at that row, each time that it is run.

So a text counts only if it speaks of nothing but the key, or names the key and a fault of it, and nothing that a
request has. The words of the request itself do not count, should the server repeat them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from bfl_async.types.common import JSON
from bfl_async.wire.redaction import HiddenTexts, hide

# Patterns are compiled at their first use: most programs never meet such an answer.

# A refusal of a key is one sentence or two. A longer text repeats something.
_MOST_CHARS = 600
_MOST_PARTS = 20

_URLS = r"https?://\S*"
# What is quoted is an example or a value. Of the names in quotes only those of headers say something.
_QUOTED = r"""(?<!\w)(?P<mark>["'`])(?P<text>[^"'`]{0,200})(?P=mark)(?!\w)|«([^»]{0,200})»"""
_WORD = r"[^\W_]+"

# Headers that carry a key: the API's own, and those of gateways and of Azure.
_HEADER_NAMES = frozenset(
    {"x key", "x api key", "api key", "apikey", "authorization", "ocp apim subscription key"}
)

# A name of the key that means nothing else. "Key" alone may be one of a JSON object.
_KEY = (
    r"\b(x key|api ?keys?|(access|secret|subscription|account|bfl|flux|auth|authentication|authorization) (key|token)s?"
    r"|(api|bearer|auth) tokens?|authori[sz]ation header|authentication header"
    r"|bearer (auth|authori[sz]ation|scheme|key)|(not|un) ?authenticated|(invalid|bad|wrong|incorrect|missing|no) "
    r"(api )?(authentication|authori[sz]ation|auth|credentials)|(authentication|authori[sz]ation|auth) "
    r"(failed|failure|error|required|invalid|missing|is|was|credentials))\b"
)
_FAULT = (
    r"\b(in ?valid|mal ?formed|missing|absent|empty|blank|required?|requires|needed|not?|bad|wrong|incorrect|unknown"
    r"|unrecogni[sz]ed|expired?|revoked|disabled|deactivated|inactive|suspended|blocked|deleted|unsupported"
    r"|illegal|must|should|expected|mismatch(ed)?|fail|failed|failure|error|refused|rejected|denied|unauthori[sz]ed"
    r"|unauthenticated|cannot|can t|could|doesn t|isn t|too (short|long)|un ?parsable|provide)\b"
)
# What a request has, or what is done with its inputs: a text that names one of these is about the request.
_OF_REQUEST = (
    r"\b(prompts?|negative|images?|img|pictures?|photos?|masks?|videos?|clips?|audio|files?|fields?|property|properties|body"
    r"|json|payload|schema|inputs?|outputs?|width|height|sizes?|dimensions?|pixels?|aspects?|ratios?|megapixels?"
    r"|resolutions?|seeds?|steps?|guidance|safety|tolerance|strength|raw|frames?|keyframes?|durations?|seconds"
    r"|references?|web ?hooks?|urls?|uris?|links?|formats? must be (jpeg|jpg|png|webp)|jpeg|jpg|png|webp|base64"
    r"|finetunes?|loras?|models?|upsampling|pup|polling|moderat(ed|ion)|polic(y|ies)|dicts?|dictionar(y|ies)"
    r"|download(ed|ing)?|fetch(ed|ing)?|load(ed|ing)?|retrieved?|retrieving|extra|unexpected)\b"
)
# Parameters are of a request too, and of a header: "missing header parameter x-key".
_HEADER = r"\bheaders?\b"
_PARAMETER = r"\b(parameters?|params?|arguments?|attributes?|value_error)\b"

# A text that speaks of a key and of nothing else has one of the nouns, and no word beside these.
_PLAIN_NOUN = (
    r"\b(keys?|tokens?|apikey|credentials?|auth|bearer|authentication|(un)?authenticated"
    r"|(un)?authori[sz](ed|ation))\b"
)
_PLAIN_TEXT = (
    r"((keys?|tokens?|apikey|credentials?|auth|bearer|authentication|(un)?authenticated|(un)?authori[sz](ed|ation)"
    r"|an?|the|this|your?|it|or|and|for|in|of|to|with|must|please|try|check|provided?|given|sent|set|supplied"
    r"|is|are|was|be|has|have|does|do|not?|cannot|could|found|exist|validate|verify|authenticate|supported|(in)?valid"
    r"|(in)?active|(in)?correct|bad|blank|empty|wrong|malformed|missing|required|expired|revoked|disabled|rejected|refused"
    r"|illegal|(un)?recogni[sz]ed|error|failed|failure|format|length|account|access|secret|api|bfl|flux|x|headers?|https?"
    r"|4[0-9][0-9]) )+"
)


def refuses_key(data: Mapping[str, JSON] | None, hidden: HiddenTexts | None = None) -> bool:
    """Return whether the body of a 400 or 422 says that the key cannot work.

    Args:
        data: The object in the body; None if there is none.
        hidden: Texts of the request, which the server may repeat.
    """
    if data is None:
        return False
    detail = data.get("detail")
    if isinstance(detail, list) and detail and not all(isinstance(part, str) for part in detail):
        return _names_header(detail)
    texts = _texts_of(data)
    return bool(texts) and all(_is_about_key(text, hidden) for text in texts)


def _names_header(detail: Sequence[JSON]) -> bool:
    """Return whether a validator's list is about the header of the key, and about nothing else."""
    return all(_is_of_header(item) for item in detail[:_MOST_PARTS])


def _is_of_header(item: JSON) -> bool:
    loc = item.get("loc") if isinstance(item, dict) else None
    if not isinstance(loc, list) or len(loc) != 2 or loc[0] != "header":
        return False
    return isinstance(loc[1], str) and _normal(loc[1]) in _HEADER_NAMES


def _texts_of(data: Mapping[str, JSON]) -> list[str]:
    """Return what an error says: `detail` as a text or as texts, else `message` or `error`, also one level deeper."""
    for name in ("detail", "message", "error"):
        value = data.get(name)
        if isinstance(value, dict):
            value = next((value[key] for key in ("message", "msg", "detail", "error") if key in value), None)
        if isinstance(value, str) and value.strip():
            return [value]
        if isinstance(value, list):
            return [part for part in value[:_MOST_PARTS] if isinstance(part, str)]
    return []


def _is_about_key(text: str, hidden: HiddenTexts | None) -> bool:
    if len(text) > _MOST_CHARS:
        return False
    plain = _normal(re.sub(_URLS, " ", text))
    if re.search(_PLAIN_NOUN, plain) and re.fullmatch(_PLAIN_TEXT, plain + " "):
        # Also where a prompt has the same words: this text holds nothing else that came from a request.
        return bool(re.search(_FAULT, plain))
    line = _normal(re.sub(_QUOTED, _header_name, re.sub(_URLS, " ", hide(text, hidden))))
    if not (re.search(_KEY, line) and re.search(_FAULT, line)) or re.search(_OF_REQUEST, line):
        return False
    return re.search(_HEADER, line) is not None or re.search(_PARAMETER, line) is None


def _header_name(found: re.Match[str]) -> str:
    quoted = found["text"] or ""
    return f" {quoted} " if _normal(quoted) in _HEADER_NAMES else " "


def _normal(text: str) -> str:
    """Return the words of a text in one case and one form of Unicode, with one blank between them."""
    return " ".join(re.findall(_WORD, unicodedata.normalize("NFKC", text).casefold()))

"""Sizes from a ratio and megapixels: multiples and bounds exactly, the ratio nearly, never a pixel too many."""

from __future__ import annotations

import math

import pytest

from bfl_async import FluxKontextPro, InvalidRequestError, request, size_for
from bfl_async.models import CATALOG, request_classes
from bfl_async.models.sizes import size_fields

MP = 1024 * 1024
RATIOS = ["1:1", "16:9", "9:16", "21:9", "9:21", "3:2", "2:3", "4:3", "5:4", "1.85:1", "3:1"]
SIDED = sorted(
    name
    for name, row in CATALOG.items()
    if row.state != "retired"
    and any({"width", "height"} <= cls.model_fields.keys() for cls in request_classes(name))
)


@pytest.mark.parametrize("model", SIDED)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("megapixels", [None, 0.25, 0.5, 1, 1.5, 2, 4])
def test_a_size_is_one_that_the_model_takes(model: str, ratio: str, megapixels: float | None) -> None:
    """Its class is the judge; what cannot be done is refused, and not rounded away."""
    flux1 = not model.startswith(("flux-2", "flux-3", "flux-tools"))
    wide, high = map(float, ratio.split(":"))
    if not flux1:
        fits = True
    else:
        long = max(wide / high, high / wide)
        fits = megapixels is None or 256**2 * long <= megapixels * MP <= 1440**2 / long
    if not fits:
        with pytest.raises(InvalidRequestError, match="MP"):
            size_for(model, ratio, megapixels)
        return
    width, height = size_for(model, ratio, megapixels)
    step, least, most = (32, 256, 1440) if flux1 else (16, 64, 4 * MP)
    for side in (width, height):
        assert side % step == 0
        assert least <= side <= most
    assert width * height <= (megapixels or 1) * MP
    if megapixels is not None or not flux1:
        assert width * height >= 0.84 * (megapixels or 1) * MP
    assert abs(math.log(width / height / (wide / high))) < 0.06
    if not model.startswith("flux-tools") and "finetuned" not in model:
        request(model, prompt="x", **{"width": width, "height": height})


def test_usual_sizes() -> None:
    """Those that people expect."""
    assert size_for("flux-pro-1.1", "1:1") == (1024, 1024)
    assert size_for("flux-pro-1.1", "16:9") == (1344, 768)
    assert size_for("flux-2-pro", "3:2") == (1248, 832)
    assert size_for("flux-2-pro", "1:1", 4) == (2048, 2048)
    assert size_for("flux-dev", "4:3").width == 1152
    assert size_for("flux-dev", "1440:256") == (1440, 256)


@pytest.mark.parametrize(
    ("model", "ratio", "megapixels", "field"),
    [
        ("flux-pro-1.1", "10:1", None, "aspect_ratio"),
        ("flux-pro-1.1", "abc", None, "aspect_ratio"),
        ("flux-pro-1.1", "0:9", None, "aspect_ratio"),
        ("flux-pro-1.1", "16:9", 2, "megapixels"),
        ("flux-2-pro", "1:1", 4.1, "megapixels"),
        ("flux-2-pro", "1:1", 0, "megapixels"),
        ("flux-2-pro", "1:1", float("nan"), "megapixels"),
        ("flux-2-pro", "1:1", True, "megapixels"),
        ("flux-kontext-pro", "16:9", None, "width"),
        ("flux-next", "16:9", None, "width"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(
    model: str, ratio: str, megapixels: float | None, field: str
) -> None:
    """Nothing else is drawn in its place."""
    with pytest.raises(InvalidRequestError) as caught:
        size_for(model, ratio, megapixels)
    assert [path for path, _ in caught.value.errors] == [field]


def test_the_fields_of_a_size_are_those_of_the_model() -> None:
    """A ratio of the model's own is sent as it is."""
    assert size_fields("flux-2-pro", "16:9") == {"width": 1360, "height": 768}
    assert size_fields("flux-kontext-pro", "16:9") == {"aspect_ratio": "16:9"}
    assert size_fields("flux-3-image", "auto") == {"aspect_ratio": "auto"}
    assert size_fields("flux-next", "16:9") == {"aspect_ratio": "16:9"}
    assert size_fields("flux-dev", None, 0.25) == {"width": 512, "height": 512}
    assert size_fields("flux-dev") == {}
    for model, ratio, megapixels in (("flux-kontext-pro", "1:1", 2), ("flux-pro-1.0-fill", "1:1", None)):
        with pytest.raises(InvalidRequestError):
            size_fields(model, ratio, megapixels)


@pytest.mark.parametrize(
    "url", ["abc", "ftp://x/y", "http://", "//x/y", "https:///", "x.example/hook", "http://a b/"]
)
def test_a_webhook_has_a_url(url: str) -> None:
    """The server refuses any other text, as its schema says."""
    with pytest.raises(InvalidRequestError, match="webhook_url"):
        request("flux-dev", prompt="x", webhook_url=url)


@pytest.mark.parametrize(
    "url", ["https://x.example/hook?a=b#c", "http://127.0.0.1:8000", "HTTPS://EXAMPLE.org"]
)
def test_a_url_is_sent_as_it_was_given(url: str) -> None:
    """Not in a form that it was brought into."""
    assert request("flux-dev", prompt="x", webhook_url=url).body()["webhook_url"] == url


@pytest.mark.parametrize(
    "ratio", ["abc", "16", "16:", ":9", "16:0", "-1:2", "16/9", "16:9:4", "nan:1", "1e3:1", ""]
)
def test_a_ratio_is_two_numbers(ratio: str) -> None:
    """What the server will refuse costs no round trip."""
    for model in ("flux-pro-1.1-ultra", "flux-kontext-pro"):
        with pytest.raises(InvalidRequestError, match="aspect_ratio"):
            request(model, prompt="x", aspect_ratio=ratio)
        made = FluxKontextPro(prompt="x", aspect_ratio="21:9", extra_body={"aspect_ratio": ratio})
        assert made.body()["aspect_ratio"] == ratio

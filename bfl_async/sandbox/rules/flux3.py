"""FLUX 3: images and video, all strict but for the image model whose schema is not known."""

from bfl_async.sandbox.rules.kinds import COMMON, FLAG, TEXT, USER, Modes, Rule, Shape

_SAFETY = Rule("int", ge=0, le=4)
# 0 to 7 by a client's release notes of 2026-10-15, 0 to 4 by a digest of BFL's pages of 2026-10-08. What either of
# them allows is taken.
_IMAGE_SAFETY = Rule("int", ge=0, le=7)
# A text or a list of texts, by the same digest; the clients of 2026-10-01 knew lists alone.
_IMAGES = Rule("either", parts=(TEXT, Rule("list", parts=(TEXT,), min_length=1, max_length=10)))
_IMAGE_RESOLUTION = Rule("literal", choices=("768sq", "1k", "1.5k", "2k", "4k"))
_VIDEO_RATIOS = ("21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21")
_IMAGE_RATIOS = (
    *("auto", "21:9", "2:1", "16:9", "3:2", "7:5", "4:3", "5:4", "1:1"),
    *("4:5", "3:4", "5:7", "2:3", "9:16", "1:2", "9:21"),
)
_AUTO = Rule("literal", choices=("auto",))
_RESOLUTION = Rule("literal", choices=("hd", "fhd", "qhd", "uhd"))
_AT = Rule("pair", parts=(Rule("float"), TEXT))  # a moment in seconds and the image that shows there
_KEYFRAMES = Rule(
    "either",
    required=True,
    parts=(TEXT, _AT, Rule("list", parts=(TEXT,)), Rule("list", parts=(_AT,))),
)


def _duration(longest_s: int) -> Rule:
    return Rule("either", parts=(Rule("int", ge=5, le=longest_s), _AUTO))


def _video(mode: str, longest_s: int, **more: Rule) -> Shape:
    return Shape(
        {
            "user": USER,
            "prompt": Rule("str", required=True),
            "aspect_ratio": Rule("either", parts=(Rule("literal", choices=_VIDEO_RATIOS), _AUTO)),
            "duration": _duration(longest_s),
            "resolution": _RESOLUTION,
            "version": Rule("literal", choices=("latest",)),
            "generate_audio": FLAG,
            "safety_tolerance": _SAFETY,
            "draft": FLAG,
            "mode": Rule("literal", choices=(mode,), required=True),
            **more,
        },
        strict=True,
    )


RULES: dict[str, Shape | Modes] = {
    # Published after the spec: put together from what its clients send.
    "flux-3-image": Shape(
        {
            "prompt": Rule("str", required=True, min_length=1),
            "images": _IMAGES,
            "aspect_ratio": Rule("literal", choices=_IMAGE_RATIOS),
            "resolution": _IMAGE_RESOLUTION,
            "safety_tolerance": _IMAGE_SAFETY,
            "grounding": FLAG,
            "version": TEXT,
        },
        strict=True,
    ),
    # Its schema is not known. These fields are what the release notes of its clients name (AI SDK, 2026-10-15 and
    # 2026-10-16), with no bounds but those that a picture needs; a field beyond them is ignored and not refused.
    "flux-3-image-klein": Shape(
        {
            "prompt": Rule("str", required=True, min_length=1),
            "images": _IMAGES,
            "width": Rule("int", nullable=True, ge=1),
            "height": Rule("int", nullable=True, ge=1),
            "aspect_ratio": Rule("literal", choices=_IMAGE_RATIOS),
            "resolution": _IMAGE_RESOLUTION,
            "steps": Rule("int", nullable=True, ge=1),
            "safety_tolerance": _IMAGE_SAFETY,
            "grounding": FLAG,
            "version": TEXT,
            **COMMON,
        },
    ),
    "flux-3-video": Modes(
        "mode",
        {
            "t2v": _video("t2v", 20),
            "i2v": _video("i2v", 20, keyframes=_KEYFRAMES),
            "v2v": _video("v2v", 15, start_video=Rule("str", required=True)),
            "draft_enhance": Shape(
                {
                    "user": USER,
                    "mode": Rule("literal", choices=("draft_enhance",), required=True),
                    "draft_cache": Rule("str", required=True),
                    "resolution": _RESOLUTION,
                    "safety_tolerance": _SAFETY,
                },
                strict=True,
            ),
        },
        # Named in the documentation, not in the schema.
        aliases={
            "text-to-video": "t2v",
            "image-continuation": "i2v",
            "video-continuation": "v2v",
            "draft-enhance": "draft_enhance",
        },
    ),
}

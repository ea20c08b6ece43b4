"""The tools beneath /v1/flux-tools/, and the bodies of the calls that make no task."""

from bfl_async.sandbox.rules.kinds import COMMON, FLAG, OUTPUT_FORMAT, TEXT, TEXT_OR_NULL, USER, Rule, Shape

_SAFETY = Rule("int", ge=0, le=5)
_VIDEO_SAFETY = Rule("int", ge=0, le=4)
_NEEDED = Rule("str", required=True)
_TRY_ON = Shape(
    {"prompt": _NEEDED, "person": _NEEDED, "garment": _NEEDED, "safety_tolerance": _SAFETY, **COMMON}
)
_OFFSET = Rule("int", nullable=True)

RULES = {
    "flux-tools/outpainting-v1": Shape(
        {
            "user": USER,
            "input_image": _NEEDED,
            "width": Rule("int", required=True, ge=64),
            "height": Rule("int", required=True, ge=64),
            "auto_crop": FLAG,
            "safety_tolerance": _SAFETY,
            "output_format": OUTPUT_FORMAT,
            "prompt": TEXT_OR_NULL,
            "reference_offset_x": _OFFSET,
            "reference_offset_y": _OFFSET,
            "mode": Rule("literal", choices=("high", "fast")),
        },
        strict=True,
    ),
    "flux-tools/erase-v1": Shape(
        {
            "image": _NEEDED,
            "mask": _NEEDED,
            "dilate_pixels": Rule("int", ge=0, le=25),
            "safety_tolerance": _SAFETY,
            **COMMON,
        }
    ),
    "flux-tools/deblur-v1": Shape({"image": _NEEDED, "safety_tolerance": _SAFETY, **COMMON}),
    "flux-tools/vto-v1": _TRY_ON,
    "flux-tools/vto-v2": _TRY_ON,
    "flux-tools/video-edit-v1": Shape(
        {
            "user": USER,
            "video": _NEEDED,
            "prompt": Rule("str", required=True, min_length=1, max_length=4096),
            "safety_tolerance": _VIDEO_SAFETY,
        },
        strict=True,
    ),
    "flux-tools/video-upscale-v1": Shape(
        {
            "user": USER,
            "input_video": _NEEDED,
            "prompt": TEXT,
            "creativity": Rule("literal", choices=(0, 1)),
            "upscale_factor": Rule("float", ge=1.5, le=3),
            "safety_tolerance": _VIDEO_SAFETY,
            "webhook_url": COMMON["webhook_url"],
            "webhook_secret": TEXT_OR_NULL,
        },
        strict=True,
    ),
}

DELETE_FINETUNE = Shape({"finetune_id": _NEEDED})
LICENSE_USAGE = Shape({"number_of_generations": Rule("int", gt=0)})

"""FLUX.1: generation, Kontext, fill and expand, their finetuned and retired kin."""

from bfl_async.sandbox.rules.kinds import COMMON, FLAG, TEXT, TEXT_OR_NULL, Rule, Shape

_COMMON = {"safety_tolerance": Rule("int", ge=0, le=6), **COMMON}
_SIZE = {
    "width": Rule("int", ge=256, le=1440, multiple_of=32),
    "height": Rule("int", ge=256, le=1440, multiple_of=32),
}
_GENERATE = {
    "prompt": TEXT_OR_NULL,
    "image_prompt": TEXT_OR_NULL,
    **_SIZE,
    "prompt_upsampling": FLAG,
    **_COMMON,
}
_STEPS_AND_GUIDANCE = {
    "steps": Rule("int", nullable=True, ge=1, le=50),
    "guidance": Rule("float", nullable=True, ge=1.5, le=5.0),
}
_FLUX_PRO = {**_GENERATE, **_STEPS_AND_GUIDANCE, "interval": Rule("float", nullable=True, ge=1, le=4)}
_ULTRA = {
    "prompt": TEXT_OR_NULL,
    "prompt_upsampling": FLAG,
    "aspect_ratio": TEXT,
    "image_prompt": TEXT_OR_NULL,
    "image_prompt_strength": Rule("float", ge=0.0, le=1.0),
    **_COMMON,
}
_KONTEXT = {
    "prompt": Rule("str", required=True),
    "input_image": TEXT_OR_NULL,
    "input_image_2": TEXT_OR_NULL,
    "input_image_3": TEXT_OR_NULL,
    "input_image_4": TEXT_OR_NULL,
    "aspect_ratio": TEXT_OR_NULL,
    "prompt_upsampling": FLAG,
    **_COMMON,
}
_EDIT = {
    "image": Rule("str", required=True),
    "prompt": TEXT_OR_NULL,
    "steps": Rule("int", nullable=True, ge=15, le=50),
    "prompt_upsampling": Rule("bool", nullable=True),
    "guidance": Rule("float", nullable=True, ge=1.5, le=100.0),
    **_COMMON,
}
_FILL = {**_EDIT, "mask": TEXT_OR_NULL}
_MARGIN = Rule("int", nullable=True, ge=0, le=2048)
_EXPAND = {**_EDIT, "top": _MARGIN, "bottom": _MARGIN, "left": _MARGIN, "right": _MARGIN}
_FINETUNE = {"finetune_id": Rule("str", required=True), "finetune_strength": Rule("float", ge=0.0, le=2.0)}

# Gone from the spec, still answered here; their bounds are those of the official client of their time.
_DEPTH = {
    "prompt": TEXT_OR_NULL,
    "control_image": TEXT_OR_NULL,
    "preprocessed_image": TEXT_OR_NULL,
    "prompt_upsampling": FLAG,
    "steps": Rule("int", nullable=True, ge=15, le=50),
    "guidance": Rule("float", nullable=True, ge=1.0, le=100.0),
    **_COMMON,
}
_THRESHOLD = Rule("int", nullable=True, ge=0, le=500)
_CANNY = {**_DEPTH, "canny_low_threshold": _THRESHOLD, "canny_high_threshold": _THRESHOLD}

RULES = {
    "flux-pro-1.1": Shape(_GENERATE),
    "flux-dev": Shape({**_GENERATE, **_STEPS_AND_GUIDANCE, "prompt": TEXT}),
    "flux-pro-1.1-ultra": Shape({**_ULTRA, "raw": FLAG}),
    "flux-kontext-pro": Shape(_KONTEXT),
    "flux-kontext-max": Shape(_KONTEXT),
    "flux-pro-1.0-fill": Shape(_FILL),
    "flux-pro-1.0-expand": Shape(_EXPAND),
    "flux-pro-1.1-ultra-finetuned": Shape({**_FINETUNE, **_ULTRA}),
    # Unlike those of fill itself, these fields may not be null.
    "flux-pro-1.0-fill-finetuned": Shape(
        {
            **_FINETUNE,
            **_FILL,
            "prompt": TEXT,
            "steps": Rule("int", ge=15, le=50),
            "prompt_upsampling": FLAG,
            "guidance": Rule("float", ge=1.5, le=100.0),
        }
    ),
    "flux-pro": Shape(_FLUX_PRO),
    "flux-pro-1.0-canny": Shape(_CANNY),
    "flux-pro-1.0-depth": Shape(_DEPTH),
    "flux-pro-finetuned": Shape({**_FINETUNE, **_FLUX_PRO}),
    "flux-pro-1.0-canny-finetuned": Shape({**_FINETUNE, **_CANNY}),
    "flux-pro-1.0-depth-finetuned": Shape({**_FINETUNE, **_DEPTH}),
}

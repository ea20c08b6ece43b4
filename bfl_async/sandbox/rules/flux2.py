"""FLUX.2: generation and editing."""

from bfl_async.sandbox.rules.kinds import COMMON, FLAG, TEXT_OR_NULL, Rule, Shape

_FLUX_2 = {
    "prompt": Rule("str", required=True),
    "width": Rule("int", nullable=True, ge=64),
    "height": Rule("int", nullable=True, ge=64),
    "safety_tolerance": Rule("int", ge=0, le=5),
    **COMMON,
}


def _input_images(count: int) -> dict[str, Rule]:
    names = ["input_image", *(f"input_image_{n}" for n in range(2, count + 1))]
    return dict.fromkeys(names, TEXT_OR_NULL)


_PRO = Shape({**_FLUX_2, **_input_images(8), "disable_pup": FLAG})
_KLEIN = Shape({**_FLUX_2, **_input_images(4)})
# The bounds of the strength are not documented.
_KLEIN_FINETUNED = Shape(
    {
        **_FLUX_2,
        **_input_images(4),
        "finetune_id": Rule("str", required=True),
        "finetune_strength": Rule("float"),
    }
)

RULES = {
    "flux-2-pro": _PRO,
    "flux-2-pro-preview": _PRO,
    "flux-2-max": _PRO,
    "flux-2-flex": Shape(
        {
            **_FLUX_2,
            **_input_images(8),
            "input_image_blob_path": TEXT_OR_NULL,
            "prompt_upsampling": Rule("bool", nullable=True),
            "guidance": Rule("float", nullable=True, ge=1.5, le=10.0),
            "steps": Rule("int", nullable=True, ge=1, le=50),
        }
    ),
    "flux-2-klein-4b": _KLEIN,
    "flux-2-klein-9b": _KLEIN,
    "flux-2-klein-9b-preview": _KLEIN,
    "flux-2-klein-4b-finetuned": _KLEIN_FINETUNED,
    "flux-2-klein-9b-finetuned": _KLEIN_FINETUNED,
    "flux-2-klein-9b-kv-finetuned": _KLEIN_FINETUNED,
    "flux-2-klein-9b-kv-bf16-finetuned": _KLEIN_FINETUNED,
    "flux-2-klein-base-4b-finetuned": _KLEIN_FINETUNED,
    "flux-2-klein-base-9b-finetuned": _KLEIN_FINETUNED,
}

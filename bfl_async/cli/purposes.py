"""What each model is for, in a few words that fit a column."""

from __future__ import annotations

from bfl_async.models import ModelInfo

_PURPOSES = {
    "flux-pro-1.1-ultra": "images of 4 MP",
    "flux-pro-1.0-fill": "fill a mask",
    "flux-pro-1.0-expand": "grow an image",
    "flux-pro-1.0-canny": "follow edges",
    "flux-pro-1.0-depth": "follow depth",
    "flux-3-video": "videos",
    "flux-tools/outpainting-v1": "grow an image",
    "flux-tools/erase-v1": "erase a part",
    "flux-tools/deblur-v1": "sharpen",
    "flux-tools/vto-v1": "try on clothes",
    "flux-tools/vto-v2": "try on clothes",
    "flux-tools/video-edit-v1": "edit a video",
    "flux-tools/video-upscale-v1": "enlarge a video",
}
_FAMILIES = {
    "FLUX.1": "images",
    "FLUX.1 editing": "images, edits",
    "FLUX.2": "images, edits",
    "FLUX.3": "images, edits",
}


def purpose_of(info: ModelInfo) -> str:
    """Return what a model is for; of one that is known from a description alone, whether it makes videos."""
    found = _PURPOSES.get(info.name.removesuffix("-finetuned"), _FAMILIES.get(info.family, ""))
    return found or ("videos" if "video" in info.name else "images")

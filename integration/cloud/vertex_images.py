"""The image models of the Vertex stand-in: Imagen's predict, and Gemini's generateContent that answers with an image."""

from __future__ import annotations

from typing import Any

from . import gemini_shapes, google, pictures
from .frame import CALL_HEADERS
from .http import json_bytes
from .pictures import flag, members, number, one_of, text, whole
from .replies import Reply, Turn
from .strict import Refused

#: Pixels of the smallest resolution, by ratio: https://cloud.google.com/vertex-ai/generative-ai/docs/image/generate-images
IMAGEN = {
    "1:1": (1024, 1024), "3:4": (896, 1280), "4:3": (1280, 896), "9:16": (768, 1408), "16:9": (1408, 768),
}  # fmt: skip

GEMINI = {
    "1:1": (1024, 1024), "2:3": (848, 1264), "3:2": (1264, 848), "3:4": (896, 1200), "4:3": (1200, 896),
    "4:5": (928, 1152), "5:4": (1152, 928), "9:16": (768, 1376), "16:9": (1376, 768), "21:9": (1584, 672),
}  # fmt: skip

SAFETY = ("block_low_and_above", "block_medium_and_above", "block_only_high", "block_none")

TWICE = {"512": 0.5, "1K": 1, "2K": 2, "4K": 4}


class Imagen(google.Api):
    """https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api"""

    path = google.path("publishers/google/models/(?P<model>imagen-[a-z0-9.-]*generate[a-z0-9.-]*|imagegeneration@[0-9]{3}):predict")
    more_headers = CALL_HEADERS
    parameters: dict[str, Any]

    def admit(self, body: Any) -> Turn:
        body = members(body, ("instances", "parameters", "labels"), "body", ("instances",))
        if not isinstance(body["instances"], list) or len(body["instances"]) != 1:
            raise Refused("rule", "instances: Imagen takes exactly one")
        prompt = text(members(body["instances"][0], ("prompt",), "instances[0]", ("prompt",))["prompt"], 10_000, "prompt")
        for name, value in members(body.get("labels", {}), body.get("labels", {}), "labels").items():
            text(value, 63, f"labels.{name}")
        self.parameters = self._check(body.get("parameters", {}))
        return pictures.turn(self, prompt)

    def _check(self, given: Any) -> dict[str, Any]:
        known = (
            "sampleCount", "sampleImageSize", "aspectRatio", "negativePrompt", "seed", "guidanceScale", "addWatermark",
            "enhancePrompt", "includeRaiReason", "language", "outputOptions", "personGeneration", "safetySetting",
        )  # fmt: skip
        members(given, known, "parameters")
        whole(given.get("sampleCount", 4), 1, 4, "sampleCount")
        one_of(given.get("aspectRatio", "1:1"), IMAGEN, "aspectRatio")
        if "sampleImageSize" in given:
            if "imagen-4" not in self.model or "fast" in self.model:
                raise Refused("rule", f"sampleImageSize is not supported by {self.model}")
            one_of(given["sampleImageSize"].upper(), ("1K", "2K"), "sampleImageSize")
        if "negativePrompt" in given:
            if self.model not in ("imagen-3.0-generate-001", "imagen-3.0-fast-generate-001", "imagegeneration@006"):
                raise Refused("rule", f"negativePrompt is not supported by {self.model}")
            text(given["negativePrompt"], 10_000, "negativePrompt")
        if "seed" in given:
            whole(given["seed"], 0, 2_147_483_647, "seed")
            if given.get("addWatermark", True):
                raise Refused("rule", "Seed is not supported when watermark is enabled.")
        number(given.get("guidanceScale", 1), 0, 500, "guidanceScale")
        for name in ("addWatermark", "enhancePrompt", "includeRaiReason"):
            flag(given.get(name, True), name)
        one_of(given.get("language", "en"), ("auto", "en", "zh", "zh-CN", "zh-TW", "hi", "ja", "ko", "pt", "es"), "language")
        one_of(given.get("personGeneration", "allow_adult").lower(), ("dont_allow", "allow_adult", "allow_all"), "personGeneration")
        one_of(given.get("safetySetting", "block_none").lower(), SAFETY, "safetySetting")
        _output(given.get("outputOptions", {}))
        return given

    def whole(self, reply: Reply) -> bytes:
        given, made = self.parameters, reply.pictures
        count = given.get("sampleCount", 4)
        withheld = min(made.withheld, count)
        media_type = given.get("outputOptions", {}).get("mimeType", "image/png")
        factor = TWICE[given.get("sampleImageSize", "1K").upper()]
        width, height = IMAGEN[given.get("aspectRatio", "1:1")]
        image = pictures.encoded(reply, media_type, int(width * factor), int(height * factor))
        one = {"mimeType": media_type, "bytesBase64Encoded": image}
        if given.get("enhancePrompt", True) and made.prompt:
            one["prompt"] = made.prompt
        predictions: list[dict[str, Any]] = [one] * (count - withheld)
        if withheld and given.get("includeRaiReason"):
            # One reason stands for all.
            reason = made.reason or "Unable to show generated images. Try rephrasing the prompt. Support codes: 29310472"
            predictions.append({"raiFilteredReason": reason})
        # proto3: an empty list is not written.
        return json_bytes({"predictions": predictions} if predictions else {})


class GeminiImages(google.Api):
    """https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-generation"""

    path = google.path("publishers/google/models/(?P<model>gemini-[a-z0-9.-]+-image[a-z0-9-]*):generateContent")
    more_headers = CALL_HEADERS
    config: dict[str, Any]

    def admit(self, body: Any) -> Turn:
        gemini_shapes.check_body(body)
        config = body.get("generationConfig", {})
        if "IMAGE" not in config.get("responseModalities", ["TEXT", "IMAGE"]):
            raise Refused("rule", "the stand-in plays this model for images alone")
        if config.get("candidateCount", 1) != 1:
            raise Refused("rule", "Multiple candidates is not enabled for this model")
        image = config.get("imageConfig", {})
        known = ("aspectRatio", "imageSize", "personGeneration", "prominentPeople", "imageOutputOptions")
        members(image, known, "generationConfig.imageConfig")
        one_of(image.get("aspectRatio", "1:1"), GEMINI, "aspectRatio")
        if "imageSize" in image:
            if self.model.startswith("gemini-2"):
                raise Refused("rule", f"imageSize is not supported by {self.model}")
            one_of(image["imageSize"], TWICE, "imageSize")
        one_of(image.get("personGeneration", "ALLOW_ALL"), ("ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE"), "personGeneration")
        _output(image.get("imageOutputOptions", {}))
        self.config = image
        contents = body["contents"]
        if len(contents) != 1 or contents[0].get("role") != "user":
            raise Refused("rule", "the stand-in takes one message of a user")
        return pictures.turn(self, " ".join(part["text"] for part in contents[0]["parts"]))

    def whole(self, reply: Reply) -> bytes:
        made = reply.pictures
        words = self.turn.words
        usage: dict[str, Any] = {
            "promptTokenCount": words,
            "totalTokenCount": words,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": words}],
        }
        answer: dict[str, Any] = {"modelVersion": self.turn.model, "responseId": "image", "usageMetadata": usage}
        if reply.blocked_prompt:
            return json_bytes(answer | {"promptFeedback": {"blockReason": reply.stop}})
        if made.withheld or reply.no_candidates:
            reason = made.reason or "IMAGE_SAFETY"
            return json_bytes(answer | {"candidates": [{"content": {"role": "model"}, "finishReason": reason}]})
        media_type = self.config.get("imageOutputOptions", {}).get("mimeType", "image/png")
        width, height = GEMINI[self.config.get("aspectRatio", "1:1")]
        factor = TWICE[self.config.get("imageSize", "1K")]
        image = pictures.encoded(reply, media_type, int(width * factor), int(height * factor))
        usage |= {
            "candidatesTokenCount": 1290,
            "totalTokenCount": words + 1290,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        }
        parts = [{"inlineData": {"mimeType": media_type, "data": image}}]
        return json_bytes(
            answer | {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
        )


def _output(options: Any) -> None:
    members(options, ("mimeType", "compressionQuality"), "outputOptions")
    one_of(options.get("mimeType", "image/png"), ("image/png", "image/jpeg"), "outputOptions.mimeType")
    if "compressionQuality" in options:
        whole(options["compressionQuality"], 0, 100, "outputOptions.compressionQuality")
        one_of(options.get("mimeType"), ("image/jpeg",), "outputOptions.mimeType beside compressionQuality")

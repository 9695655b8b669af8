"""The image models of the Bedrock stand-in: InvokeModel with Amazon's body and with Stability's."""

from __future__ import annotations

import re
from typing import Any

from . import aws, pictures
from .frame import CALL_HEADERS
from .http import json_bytes
from .pictures import members, number, one_of, text, whole
from .replies import Reply, Turn
from .strict import Refused

STYLES = (
    "3D_ANIMATED_FAMILY_FILM", "DESIGN_SKETCH", "FLAT_VECTOR_ILLUSTRATION", "GRAPHIC_NOVEL_ILLUSTRATION", "MAXIMALISM",
    "MIDCENTURY_RETRO", "PHOTOREALISM", "SOFT_DIGITAL_PAINTING",
)  # fmt: skip

#: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-image.html
TITAN_SIZES = {
    (1024, 1024), (768, 768), (512, 512), (768, 1152), (384, 576), (1152, 768), (576, 384), (768, 1280), (384, 640),
    (1280, 768), (640, 384), (896, 1152), (448, 576), (1152, 896), (576, 448), (768, 1408), (384, 704), (1408, 768),
    (704, 384), (640, 1408), (320, 704), (1408, 640), (704, 320), (1152, 640), (1173, 640),
}  # fmt: skip

RATIOS = {
    "16:9": (1344, 768), "1:1": (1024, 1024), "21:9": (1536, 640), "2:3": (832, 1216), "3:2": (1216, 832),
    "4:5": (896, 1088), "5:4": (1088, 896), "9:16": (768, 1344), "9:21": (640, 1536),
}  # fmt: skip


class Canvas(aws.Api):
    """Nova Canvas and Titan Image Generator.

    https://docs.aws.amazon.com/nova/latest/userguide/image-gen-req-resp-structure.html
    """

    path = re.compile(r"/model/(?P<model>amazon\.(?:nova-canvas|titan-image-generator)-[^/]*)/invoke")
    more_headers = CALL_HEADERS
    config: dict[str, Any]

    def admit(self, body: Any) -> Turn:
        is_titan = "titan" in self.model
        most = 512 if is_titan else 1024
        known = ("taskType", "textToImageParams", "imageGenerationConfig")
        body = members(body, known, "#", ("taskType", "textToImageParams"))
        one_of(body["taskType"], ("TEXT_IMAGE",), "#/taskType")
        style = () if is_titan else ("style",)
        asked = members(body["textToImageParams"], ("text", "negativeText", *style), "#/textToImageParams", ("text",))
        prompt = text(asked["text"], most, "#/textToImageParams/text")
        if "negativeText" in asked:
            text(asked["negativeText"], most, "#/textToImageParams/negativeText")
        if "style" in asked:
            one_of(asked["style"], STYLES, "#/textToImageParams/style")
        self.config = self._config(body.get("imageGenerationConfig", {}), is_titan)
        return pictures.turn(self, prompt)

    def _config(self, config: Any, is_titan: bool) -> dict[str, Any]:
        where = "#/imageGenerationConfig"
        members(config, ("width", "height", "quality", "cfgScale", "seed", "numberOfImages"), where)
        if ("width" in config) != ("height" in config):
            raise Refused("rule", f"{where}: width and height go together")
        width, height = config.get("width", 1024), config.get("height", 1024)
        if is_titan and (width, height) not in TITAN_SIZES:
            raise Refused("rule", f"{where}: {width}x{height} is not a permissible size")
        if not is_titan:
            for name, side in (("width", width), ("height", height)):
                if whole(side, 320, 4096, f"{where}/{name}") % 16:
                    raise Refused("rule", f"{where}/{name}: {side} is not a multiple of 16")
            if max(width, height) > 4 * min(width, height) or width * height > 4_194_304:
                raise Refused("rule", f"{where}: {width}x{height} is too broad or too large")
        one_of(config.get("quality", "standard"), ("standard", "premium"), f"{where}/quality")
        number(config.get("cfgScale", 6.5), 1.1, 10, f"{where}/cfgScale")
        whole(config.get("seed", 12), 0, 2_147_483_646, f"{where}/seed")
        count = whole(config.get("numberOfImages", 1), 1, 5, f"{where}/numberOfImages")
        return {"width": width, "height": height, "count": count}

    def whole(self, reply: Reply) -> bytes:
        count, made = self.config["count"], reply.pictures
        withheld = min(made.withheld, count)
        image = pictures.encoded(reply, "image/png", self.config["width"], self.config["height"])
        answer: dict[str, Any] = {"images": [image] * (count - withheld)}
        if withheld:
            some = "All" if withheld == count else "Some"
            answer["error"] = f"{some} of the generated images have been blocked by our content filters."
        return json_bytes(answer)


class Stability(aws.Api):
    """Stable Image Core and Ultra, Stable Diffusion 3 and 3.5.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-diffusion-3-5-large.html
    """

    path = re.compile(r"/model/(?P<model>(?:us\.)?stability\.(?:sd3|stable-image-core|stable-image-ultra)-[^/]*)/invoke")
    more_headers = CALL_HEADERS
    ratio: str
    format: str

    def admit(self, body: Any) -> Turn:
        known = {"prompt", "negative_prompt", "aspect_ratio", "seed", "output_format"}
        if ".sd3" in self.model:
            known.add("mode")
        body = members(body, known, "#", ("prompt",))
        prompt = text(body["prompt"], 10_000, "#/prompt")
        if "negative_prompt" in body:
            text(body["negative_prompt"], 10_000, "#/negative_prompt")
        self.ratio = one_of(body.get("aspect_ratio", "1:1"), RATIOS, "#/aspect_ratio")
        whole(body.get("seed", 0), 0, 4_294_967_294, "#/seed")
        self.format = one_of(body.get("output_format", "png"), ("png", "jpeg"), "#/output_format")
        one_of(body.get("mode", "text-to-image"), ("text-to-image",), "#/mode")
        return pictures.turn(self, prompt)

    def whole(self, reply: Reply) -> bytes:
        made = reply.pictures
        if made.withheld:
            return json_bytes({"finish_reasons": [made.reason or "Filter reason: prompt"]})
        image = pictures.encoded(reply, f"image/{self.format}", *RATIOS[self.ratio])
        return json_bytes({"seeds": [2130420379], "finish_reasons": [None], "images": [image]})

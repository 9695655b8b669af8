"""The image stand-ins take what boto3 and google-genai send, make real images, and refuse what is a little wrong."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any
from urllib.parse import quote

import botocore.exceptions
import pytest
from google import genai
from google.genai import errors, types

from . import test_bedrock, test_vertex
from .driver import StandIn
from .strict import sniff
from .test_vertex import sdk  # noqa: F401

NOVA, TITAN, STABLE = "amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0", "stability.sd3-5-large-v1:0"
IMAGEN, IMAGEN_FAST, GEMINI = "imagen-4.0-generate-001", "imagen-4.0-fast-generate-001", "gemini-3-pro-image-preview"


def look(image: str | bytes) -> tuple[str | None, int, int]:
    """Media type, width and height of an image, read as a viewer reads them."""
    data = base64.b64decode(image) if isinstance(image, str) else image
    if sniff(data) == "image/png":
        return "image/png", *struct.unpack(">II", data[16:24])
    return sniff(data), 0, 0


def nova(text: str = "A fox", **config: Any) -> dict[str, Any]:
    return {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": text}, "imageGenerationConfig": config}


def invoke(cloud: StandIn, body: Any, model: str = NOVA) -> Any:
    """What boto3 sends, and the JSON that comes back."""
    client = test_bedrock.sdk(cloud)
    return json.loads(client.invoke_model(modelId=model, body=json.dumps(body), contentType="application/json")["body"].read())


def test_boto3_gets_images_of_the_size_it_asks_for(cloud: StandIn) -> None:
    reply = invoke(cloud, nova(width=1280, height=720, numberOfImages=2, quality="premium", seed=1, cfgScale=8.5))
    assert [look(image) for image in reply["images"]] == [("image/png", 1280, 720)] * 2
    assert "error" not in reply
    assert look(invoke(cloud, nova(width=512, height=512), TITAN)["images"][0]) == ("image/png", 512, 512)
    body = {"prompt": "A fox", "mode": "text-to-image", "aspect_ratio": "16:9", "output_format": "jpeg", "seed": 7}
    reply = invoke(cloud, body, STABLE)
    assert (look(reply["images"][0])[0], reply["finish_reasons"]) == ("image/jpeg", [None])
    assert cloud.refusals() == []


def test_bedrock_withholds_images_as_its_models_do(cloud: StandIn) -> None:
    reply = invoke(cloud, nova("[[script: images withheld=1]]", numberOfImages=3))
    assert (len(reply["images"]), reply["error"][:4]) == (2, "Some")
    assert invoke(cloud, nova("[[script: images withheld=9]]"))["images"] == []
    assert invoke(cloud, {"prompt": "[[script: images withheld=1]]"}, STABLE) == {"finish_reasons": ["Filter reason: prompt"]}


def test_an_image_is_as_large_as_a_script_says(cloud: StandIn) -> None:
    for body, model in ((nova("[[script: images size=2000000]]"), NOVA),
                        ({"prompt": "[[script: images size=2000000]]", "output_format": "jpeg"}, STABLE)):  # fmt: skip
        (image,) = invoke(cloud, body, model)["images"]
        assert 2_000_000 <= len(base64.b64decode(image)) < 2_100_000


@pytest.mark.parametrize(
    ("model", "body", "about"),
    [
        (NOVA, nova(width=1000, height=1000), "multiple of 16"),
        (NOVA, nova(width=4096, height=320), "too broad"),
        (NOVA, nova(width=4096, height=2048), "too large"),
        (NOVA, nova(width=1024), "go together"),
        (NOVA, nova(numberOfImages=6), "from 1 to 5"),
        (NOVA, nova(cfgScale=1), "cfgScale"),
        (NOVA, nova(quality="high"), "'high'"),
        (NOVA, nova("x" * 1025), "1 to 1024"),
        (NOVA, nova(" "), "1 to 1024"),
        (NOVA, nova(n=1), "[n]"),
        (NOVA, {"taskType": "TEXT_IMAGE"}, "[textToImageParams]"),
        (TITAN, nova("x" * 513), "1 to 512"),
        (TITAN, nova(width=1280, height=720), "not a permissible size"),
        (STABLE, {"prompt": "x", "aspect_ratio": "7:4"}, "'7:4'"),
        (STABLE, {"prompt": "x", "seed": 2**32 - 1}, "seed"),
        (STABLE, {"prompt": "x", "output_format": "webp"}, "'webp'"),
        (STABLE, {"prompt": "x", "cfg_scale": 7}, "[cfg_scale]"),
    ],
)
def test_bedrock_refuses(cloud: StandIn, model: str, body: Any, about: str) -> None:
    status, _, answer = test_bedrock.post(cloud, body, path=f"/model/{quote(model, safe='')}/invoke")
    assert status == 400
    assert about in json.loads(answer)["message"]
    with pytest.raises(botocore.exceptions.ClientError, match="ValidationException"):
        invoke(cloud, body, model)


def test_google_genai_gets_images_of_imagen(cloud: StandIn, sdk: genai.Client) -> None:
    config = types.GenerateImagesConfig(
        number_of_images=2, aspect_ratio="16:9", image_size="2K", output_mime_type="image/png", add_watermark=False, seed=7,
        person_generation=types.PersonGeneration.ALLOW_ADULT, include_rai_reason=True, labels={"team": "blue"},
        safety_filter_level=types.SafetyFilterLevel.BLOCK_ONLY_HIGH,
    )  # fmt: skip
    reply = sdk.models.generate_images(model=IMAGEN, prompt="A fox [[script: images prompt='A red fox']]", config=config)
    images = [image.image.image_bytes for image in reply.generated_images]
    assert [look(image) for image in images] == [("image/png", 2816, 1536)] * 2
    assert reply.generated_images[0].enhanced_prompt == "A red fox"
    config = types.GenerateImagesConfig(number_of_images=3, include_rai_reason=True)
    reply = sdk.models.generate_images(model=IMAGEN, prompt="[[script: images withheld=2]]", config=config)
    assert [bool(image.image.image_bytes) for image in reply.generated_images] == [True, False]
    assert "Support codes" in reply.generated_images[1].rai_filtered_reason
    assert cloud.refusals() == []


def test_google_genai_gets_an_image_of_gemini(cloud: StandIn, sdk: genai.Client) -> None:
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="3:2", image_size="2K")
    )
    reply = sdk.models.generate_content(model=GEMINI, contents="A fox", config=config)
    assert look(reply.candidates[0].content.parts[0].inline_data.data) == ("image/png", 2528, 1696)
    reply = sdk.models.generate_content(model=GEMINI, contents="[[script: images withheld=1]]", config=config)
    assert reply.candidates[0].finish_reason == "IMAGE_SAFETY"
    reply = sdk.models.generate_content(model=GEMINI, contents="[[script: blocked]]", config=config)
    assert reply.prompt_feedback.block_reason == "SAFETY"
    assert cloud.refusals() == []


@pytest.mark.parametrize(
    ("model", "parameters", "about"),
    [
        (IMAGEN, {"sampleCount": 5}, "sampleCount"),
        (IMAGEN, {"aspectRatio": "3:2"}, "'3:2'"),
        (IMAGEN, {"seed": 1}, "watermark"),
        (IMAGEN, {"negativePrompt": "fog"}, "negativePrompt is not supported"),
        (IMAGEN, {"size": "1K"}, "[size]"),
        (IMAGEN, {"outputOptions": {"mimeType": "image/webp"}}, "'image/webp'"),
        (IMAGEN, {"outputOptions": {"compressionQuality": 50}}, "compressionQuality"),
        (IMAGEN_FAST, {"sampleImageSize": "2K"}, "sampleImageSize is not supported"),
    ],
)
def test_imagen_refuses(cloud: StandIn, model: str, parameters: Any, about: str) -> None:
    path = test_vertex.PATH.replace("gemini-2.5-flash:generateContent", f"{model}:predict")
    body = {"instances": [{"prompt": "A fox"}], "parameters": parameters}
    status, _, answer = test_vertex.post(cloud, body, path)
    assert (status, about in json.loads(answer)["error"]["message"]) == (400, True), answer


@pytest.mark.parametrize(
    ("model", "config", "about"),
    [
        (GEMINI, {"imageConfig": {"aspectRatio": "7:4"}}, "'7:4'"),
        (GEMINI, {"imageConfig": {"outputMimeType": "image/png"}}, "[outputMimeType]"),
        (GEMINI, {"responseModalities": ["TEXT"]}, "images alone"),
        (GEMINI, {"candidateCount": 2}, "candidates"),
        ("gemini-2.5-flash-image", {"imageConfig": {"imageSize": "2K"}}, "imageSize is not supported"),
    ],
)
def test_gemini_refuses(cloud: StandIn, sdk: genai.Client, model: str, config: Any, about: str) -> None:
    path = test_vertex.PATH.replace("gemini-2.5-flash", model)
    status, _, answer = test_vertex.post(cloud, test_vertex.say("A fox", generationConfig=config), path)
    assert (status, about in json.loads(answer)["error"]["message"]) == (400, True), answer
    with pytest.raises(errors.ClientError):
        sdk.models.generate_content(model="gemini-2.0-image", contents="A fox", config={"candidate_count": 2})

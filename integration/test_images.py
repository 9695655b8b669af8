"""Images: what the clouds get of OpenAI's images API, and what its client gets back."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import openai
import pytest

from .cloud.test_images import look
from .harness import PROMPT, Gate

NOVA = "bedrock/amazon.nova-canvas-v1:0"
TITAN = "bedrock/amazon.titan-image-generator-v2:0"
STABLE = "bedrock/stability.sd3-5-large-v1:0"
IMAGEN = "vertex_ai/imagen-4.0-generate-001"
GEMINI = "vertex_ai/gemini-3-pro-image-preview"

#: Every kind of model, the cloud that has it, and whether it makes several images in a call.
MODELS = {NOVA: "bedrock", TITAN: "bedrock", STABLE: "bedrock", IMAGEN: "vertex", GEMINI: "vertex"}
SEVERAL = (NOVA, TITAN, IMAGEN)

PATH = "/v1/images/generations"


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    """Runs a test on each kind of model."""
    return request.param


def prompt(script: str = "", text: str = "A red fox") -> str:
    return f"{PROMPT} {text}" + (f" [[script: {script}]]" if script else "")


def generate(gate: Gate, model: str, script: str = "", **more: Any) -> Any:
    return gate.client.images.generate(model=model, prompt=prompt(script), **more)


def test_an_image_comes_as_openai_sends_it(gate: Gate, model: str) -> None:
    before = int(time.time())
    reply = generate(gate, model, size="1024x1024", n=1, quality="auto", response_format="b64_json")
    (image,) = reply.data
    assert look(image.b64_json) == ("image/png", 1024, 1024)
    assert (image.url, image.revised_prompt) == (None, None)
    assert (reply.output_format, reply.size) == ("png", "1024x1024")
    assert before - 1 <= reply.created <= time.time() + 1
    assert PROMPT in json.dumps(gate.body(MODELS[model]))


def test_an_image_comes_without_asking_for_more_than_that(gate: Gate, model: str) -> None:
    answer = gate.post({"model": model, "prompt": prompt()}, path="/images/generations?api-version=1")
    assert answer.status == 200
    assert answer.headers["x-fairlead-model"] == model.partition("/")[2]
    assert "x-fairlead-dropped" not in answer.headers
    assert "x-fairlead-withheld" not in answer.headers
    (image,) = json.loads(answer.body)["data"]
    assert look(image["b64_json"]) == ("image/png", 1024, 1024)


def test_several_images_come_in_one_reply(gate: Gate, model: str) -> None:
    reply = generate(gate, model, n=3)
    assert [look(image.b64_json)[0] for image in reply.data] == ["image/png"] * 3
    assert len(gate.requests(MODELS[model])) == (1 if model in SEVERAL else 3)
    if model == GEMINI:
        assert (reply.usage.output_tokens, reply.usage.total_tokens) == (3870, 3882)


def test_ten_images_are_made_in_calls_with_seeds_of_their_own(gate: Gate) -> None:
    for model, seeds in ((NOVA, [7, 12]), (STABLE, list(range(7, 17))), (GEMINI, list(range(7, 17)))):
        gate.fresh()
        assert len(generate(gate, model, n=10, extra_body={"seed": 7}).data) == 10
        bodies = [request["body"] for request in gate.requests(MODELS[model])]
        configs = [body.get("imageGenerationConfig", body.get("generationConfig", body)) for body in bodies]
        assert sorted(config["seed"] for config in configs) == seeds
        gate.verify()
    generate(gate, NOVA, n=10)
    assert [request["body"]["imageGenerationConfig"].get("seed") for request in gate.requests("bedrock")[-2:]] == [None, 17]


def test_of_several_calls_one_that_fails_is_the_end_and_one_that_is_filtered_is_not(gate: Gate) -> None:
    for model in (STABLE, GEMINI):
        gate.force("images withheld=1", MODELS[model])
        answer = gate.post({"model": model, "prompt": prompt(), "n": 3}, path=PATH)
        assert (answer.status, answer.headers["x-fairlead-withheld"]) == (200, "1")
        assert len(json.loads(answer.body)["data"]) == 2
        gate.force("error type=throttle", MODELS[model])
        with pytest.raises(openai.RateLimitError):
            generate(gate, model, n=3)
        with pytest.raises(openai.BadRequestError, match="withheld every image"):
            generate(gate, model, "images withheld=1", n=3)


def test_large_images_of_several_calls_come_whole(gate: Gate) -> None:
    reply = generate(gate, GEMINI, "images size=2000000", n=5)
    assert [len(base64.b64decode(image.b64_json)) >= 2_000_000 for image in reply.data] == [True] * 5
    with pytest.raises(openai.BadRequestError, match="n: asks for more images"):
        generate(gate, GEMINI, "images size=9000000", n=9)


def test_amazon_gets_everything_that_its_models_know(gate: Gate) -> None:
    extra = {"negative_prompt": "fog", "seed": 7, "cfg_scale": 8.5}
    generate(gate, NOVA, n=2, size="1280x720", quality="high", style="PHOTOREALISM", extra_body=extra)
    assert gate.body("bedrock") == {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": prompt(), "negativeText": "fog", "style": "PHOTOREALISM"},
        "imageGenerationConfig": {
            "numberOfImages": 2, "width": 1280, "height": 720, "quality": "premium", "cfgScale": 8.5, "seed": 7,
        },
    }  # fmt: skip
    assert gate.sent("bedrock")["path"] == "/model/amazon.nova-canvas-v1%3A0/invoke"


def test_stability_gets_everything_that_its_models_know(gate: Gate) -> None:
    extra = {"extra": {"negative_prompt": "fog", "seed": 7}}
    raw = gate.client.images.with_raw_response.generate(
        model=STABLE, prompt=prompt(), size="1536x1024", output_format="jpeg", extra_body=extra
    )
    assert gate.body("bedrock") == {
        "prompt": prompt(), "mode": "text-to-image", "aspect_ratio": "3:2", "negative_prompt": "fog", "seed": 7,
        "output_format": "jpeg",
    }  # fmt: skip
    assert raw.headers["x-fairlead-dropped"] == "size"
    assert (raw.parse().output_format, look(raw.parse().data[0].b64_json)[0]) == ("jpeg", "image/jpeg")


def test_imagen_gets_everything_that_it_knows(gate: Gate) -> None:
    extra = {
        "seed": 7, "add_watermark": False, "person_generation": "dont_allow", "safety_filter_level": "block_only_high",
        "enhance_prompt": True, "language": "en", "labels": {"team": "blue"},
    }  # fmt: skip
    reply = generate(gate, IMAGEN, 'images prompt="A fox at dawn"', n=2, size="2816x1536", output_format="png", extra_body=extra)
    assert gate.body("vertex") == {
        "instances": [{"prompt": prompt('images prompt="A fox at dawn"')}],
        "parameters": {
            "sampleCount": 2, "includeRaiReason": True, "aspectRatio": "16:9", "sampleImageSize": "2K", "seed": 7,
            "personGeneration": "dont_allow", "safetySetting": "block_only_high", "addWatermark": False,
            "enhancePrompt": True, "language": "en", "outputOptions": {"mimeType": "image/png"},
        },
        "labels": {"team": "blue"},
    }  # fmt: skip
    assert gate.sent("vertex")["path"].endswith("/publishers/google/models/imagen-4.0-generate-001:predict")
    assert [image.revised_prompt for image in reply.data] == ["A fox at dawn"] * 2
    assert reply.size == "2816x1536"


def test_gemini_gets_everything_that_it_knows(gate: Gate) -> None:
    extra = {"seed": 7, "aspect_ratio": "3:2", "image_size": "2K", "person_generation": "ALLOW_ADULT", "labels": {"team": "blue"}}
    reply = generate(gate, GEMINI, output_format="jpeg", output_compression=60, extra_body=extra)
    assert gate.body("vertex") == {
        "contents": [{"role": "user", "parts": [{"text": prompt()}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"], "seed": 7,
            "imageConfig": {
                "aspectRatio": "3:2", "imageSize": "2K", "personGeneration": "ALLOW_ADULT",
                "imageOutputOptions": {"mimeType": "image/jpeg", "compressionQuality": 60},
            },
        },
        "labels": {"team": "blue"},
    }  # fmt: skip
    assert reply.output_format == "jpeg"
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (4, 1290, 1294)
    assert (reply.usage.input_tokens_details.text_tokens, reply.usage.output_tokens_details.image_tokens) == (4, 1290)


@pytest.mark.parametrize(
    ("asked", "param", "about"),
    [
        ({"response_format": "url"}, "response_format", "b64_json"),
        ({"stream": True}, "stream", "leave it out"),
        ({"partial_images": 2}, "partial_images", "leave it out"),
        ({"background": "transparent"}, "background", "leave it out"),
        ({"size": "1000x333"}, "size", "auto"),
        ({"size": "large"}, "size", "1024x1024"),
        ({"output_format": "svg"}, "output_format", "png"),
        ({"output_compression": 50}, "output_compression", "jpeg"),
        ({"n": 0}, "n", "from 1 to 10"),
        ({"n": 11}, "n", "from 1 to 10"),
        ({"quality": "best"}, "quality", "auto"),
        ({"extra": {"strange": 1}}, "extra.strange", "no field"),
        ({"storageUri": "gs://bucket"}, "storageUri", "leave it out"),
        ({"prompt": " "}, "prompt", "blank"),
        ({"prompt": None}, "prompt", "missing"),
    ],
)
def test_what_no_model_makes_is_refused_by_its_path(gate: Gate, model: str, asked: Any, param: str, about: str) -> None:
    answer = gate.post({"model": model, "prompt": prompt()} | asked, path=PATH)
    assert answer.status == 400
    assert answer.error["param"] == param
    assert about in answer.error["message"] or "no field" in answer.error["message"]
    gate.nothing_was_sent()


def test_what_makes_no_difference_is_left_out_and_named(gate: Gate, model: str) -> None:
    asked = {"user": "ada", "moderation": "low", "style": "vivid", "xyzzy": 1, "background": "auto", "stream": False}
    answer = gate.post({"model": model, "prompt": prompt()} | asked, path=PATH)
    assert answer.status == 200
    assert set(answer.headers["x-fairlead-dropped"].split(", ")) == {"user", "moderation", "style", "xyzzy"}


def test_a_model_that_makes_no_images_is_refused_with_those_that_do(gate: Gate) -> None:
    for model, known in (("bedrock/amazon.nova-lite-v1:0", "nova-canvas"), ("vertex_ai/gemini-2.5-flash", "imagen")):
        answer = gate.post({"model": model, "prompt": prompt()}, path=PATH)
        assert (answer.status, answer.error["param"], answer.error["code"]) == (404, "model", "model_not_found")
        assert known in answer.error["message"]
    gate.nothing_was_sent()


def test_images_that_are_all_withheld_are_an_error(gate: Gate, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        generate(gate, model, "images withheld=1")
    assert (caught.value.code, caught.value.type) == ("content_policy_violation", "invalid_request_error")
    assert caught.value.response.headers["x-fairlead-model"] == model.partition("/")[2]


def test_of_images_that_are_withheld_in_part_the_others_come(gate: Gate) -> None:
    for model in SEVERAL:
        answer = gate.post({"model": model, "prompt": prompt("images withheld=3"), "n": 4}, path=PATH)
        assert (answer.status, answer.headers["x-fairlead-withheld"]) == (200, "3")
        assert len(json.loads(answer.body)["data"]) == 1


def test_a_prompt_that_is_refused_is_an_error_of_the_same_kind(gate: Gate) -> None:
    for model, words in (
        (NOVA, "This request has been blocked by our content filters. Please adjust your text prompt."),
        (IMAGEN, "The prompt could not be submitted. This prompt contains sensitive words that violate "
                 "Google's Responsible AI practices."),
    ):  # fmt: skip
        gate.force(f'error type=invalid message="{words}"')
        with pytest.raises(openai.BadRequestError) as caught:
            generate(gate, model)
        assert caught.value.code == "content_policy_violation"
        assert words[:30] in caught.value.message
    with pytest.raises(openai.BadRequestError, match="blocked"):
        generate(gate, GEMINI, "blocked")


def test_errors_of_the_clouds_keep_their_kind(gate: Gate, model: str) -> None:
    for script, expected in (
        ("error type=throttle retry_after=7", openai.RateLimitError),
        ("error type=denied", openai.PermissionDeniedError),
        ("error type=unavailable", openai.InternalServerError),
        ("raw kind=wrong", openai.InternalServerError),
        ("raw kind=truncated", openai.InternalServerError),
        ("raw kind=empty", openai.InternalServerError),
    ):
        with pytest.raises(expected) as caught:
            generate(gate, model, script)
        assert PROMPT not in str(caught.value)
        if "retry_after" in script:
            assert caught.value.response.headers["retry-after"] == "7"


def test_five_images_of_two_megabytes_come_whole(gate: Gate) -> None:
    reply = generate(gate, NOVA, "images size=2000000", n=5)
    images = [base64.b64decode(image.b64_json) for image in reply.data]
    assert [len(image) >= 2_000_000 for image in images] == [True] * 5
    assert {look(image) for image in images} == {("image/png", 1024, 1024)}


def test_a_large_reply_comes_whole_however_it_is_cut(gate: Gate) -> None:
    reply = generate(gate, IMAGEN, "images size=1000000 cut=65521 drip=0", n=2)
    assert [len(base64.b64decode(image.b64_json)) >= 1_000_000 for image in reply.data] == [True] * 2


def test_images_beyond_all_measure_are_an_error(gate: Gate) -> None:
    gate.expected_errors.append("")
    with pytest.raises(openai.InternalServerError, match="larger than 48 MiB"):
        generate(gate, NOVA, "images size=8000000", n=5)

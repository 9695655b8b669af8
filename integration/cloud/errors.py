"""Every error that the clouds document, and the words by which a script may ask for each cloud's form."""

from __future__ import annotations

from typing import Any

from .shapes import service

#: Bedrock error -> HTTP status, from botocore's model; plus the ones that AWS's front end answers for any service.
AWS: dict[str, int] = {
    name: shape["error"]["httpStatusCode"]
    for name, shape in service("bedrock-runtime")._service_description["shapes"].items()
    if shape.get("exception")
} | {
    "MissingAuthenticationTokenException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "ExpiredTokenException": 403,
    "UnknownOperationException": 404,
}

AWS_MESSAGES = {
    "AccessDeniedException": "You don't have access to the model with the specified model ID.",
    "ThrottlingException": "Too many requests, please wait before trying again.",
    "ResourceNotFoundException": "Could not resolve the foundation model from the provided model identifier.",
    "ModelTimeoutException": "Model has timed out in processing the request. Try your request again.",
    "InternalServerException": "The system encountered an unexpected error during processing. Try your request again.",
    "ServiceUnavailableException": "Bedrock is unable to process your request.",
    "ValidationException": "The provided request is not valid.",
    "ModelNotReadyException": "Model is not ready for inference. Wait and try your request again.",
    "ModelErrorException": "The model returned an error while it processed the request.",
    "ModelStreamErrorException": "The model stream ended in an error.",
    "ServiceQuotaExceededException": "Your request exceeds the service quota for your account.",
    "ExpiredTokenException": "The security token included in the request is expired",
}

#: google.rpc status -> HTTP status, https://cloud.google.com/apis/design/errors#handling_errors
GOOGLE: dict[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "DATA_LOSS": 500,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

GOOGLE_MESSAGES = {
    "INVALID_ARGUMENT": "Request contains an invalid argument.",
    "UNAUTHENTICATED": "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
    "or other valid authentication credential.",
    "PERMISSION_DENIED": "Permission 'aiplatform.endpoints.predict' denied on the resource (or it may not exist).",
    "NOT_FOUND": "Publisher Model was not found or your project does not have access to it.",
    "RESOURCE_EXHAUSTED": "Resource exhausted. Please try again later.",
    "INTERNAL": "Internal error encountered.",
    "UNAVAILABLE": "The service is currently unavailable.",
    "DEADLINE_EXCEEDED": "Deadline expired before operation could complete.",
}

#: Anthropic's error -> HTTP status, https://docs.claude.com/en/api/errors
ANTHROPIC: dict[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

#: OpenAI's error code -> HTTP status and type, https://platform.openai.com/docs/guides/error-codes
OPENAI: dict[str, tuple[int, str]] = {
    "invalid_value": (400, "invalid_request_error"),
    "context_length_exceeded": (400, "invalid_request_error"),
    "invalid_api_key": (401, "invalid_request_error"),
    "unsupported_country_region_territory": (403, "request_forbidden"),
    "model_not_found": (404, "invalid_request_error"),
    "rate_limit_exceeded": (429, "requests"),
    "insufficient_quota": (429, "insufficient_quota"),
    "server_error": (500, "server_error"),
    "service_unavailable": (503, "service_unavailable_error"),
    "timeout": (504, "server_error"),
}

#: Words that mean the same everywhere: (Bedrock, Google, Anthropic, OpenAI).
COMMON: dict[str, tuple[str, str, str, str]] = {
    "throttle": ("ThrottlingException", "RESOURCE_EXHAUSTED", "rate_limit_error", "rate_limit_exceeded"),
    "quota": ("ServiceQuotaExceededException", "RESOURCE_EXHAUSTED", "rate_limit_error", "insufficient_quota"),
    "invalid": ("ValidationException", "INVALID_ARGUMENT", "invalid_request_error", "invalid_value"),
    "denied": ("AccessDeniedException", "PERMISSION_DENIED", "permission_error", "unsupported_country_region_territory"),
    "expired": ("ExpiredTokenException", "UNAUTHENTICATED", "authentication_error", "invalid_api_key"),
    "not_found": ("ResourceNotFoundException", "NOT_FOUND", "not_found_error", "model_not_found"),
    "timeout": ("ModelTimeoutException", "DEADLINE_EXCEEDED", "timeout_error", "timeout"),
    "internal": ("InternalServerException", "INTERNAL", "api_error", "server_error"),
    "unavailable": ("ServiceUnavailableException", "UNAVAILABLE", "overloaded_error", "service_unavailable"),
    "not_ready": ("ModelNotReadyException", "UNAVAILABLE", "overloaded_error", "service_unavailable"),
    "model": ("ModelErrorException", "UNKNOWN", "api_error", "server_error"),
    "stream": ("ModelStreamErrorException", "UNKNOWN", "api_error", "server_error"),
}

#: The names of each column of `COMMON`.
OWN = (AWS, GOOGLE, ANTHROPIC, OPENAI)


def aws_name(word: str) -> str:
    """Bedrock's name for an error given by anybody's name, or a common word."""
    return _translate(word, 0)


def google_name(word: str) -> str:
    """Google's name for an error given by anybody's name, or a common word."""
    return _translate(word, 1)


def anthropic_name(word: str) -> str:
    """Anthropic's name for an error given by anybody's name, or a common word."""
    return _translate(word, 2)


def openai_name(word: str) -> str:
    """OpenAI's code for an error given by anybody's name, or a common word."""
    return _translate(word, 3)


def _translate(word: str, column: int) -> str:
    capital = word[:1].upper() + word[1:]  # Event streams write the names with a small first letter.
    for name in (word, capital):
        if name in OWN[column]:
            return name
    for common, names in COMMON.items():
        if word == common or word in names or capital in names:
            return names[column]
    raise ValueError(f"no error called {word!r}")


def aws_body(name: str, message: str | None) -> dict[str, Any]:
    """Bedrock's error body; the two errors of the model itself carry more members."""
    body: dict[str, Any] = {"message": message or AWS_MESSAGES.get(name, name)}
    if name == "ModelErrorException":
        body |= {"originalStatusCode": 500, "resourceName": "stand-in"}
    if name == "ModelStreamErrorException":
        body |= {"originalStatusCode": 500, "originalMessage": "the model stopped"}
    return body


def google_body(name: str, message: str | None, details: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Google's error body: a google.rpc.Status."""
    error = {"code": GOOGLE[name], "message": message or GOOGLE_MESSAGES.get(name, name), "status": name}
    return {"error": error | ({"details": details} if details else {})}


def anthropic_body(name: str, message: str | None) -> dict[str, Any]:
    """Anthropic's error body."""
    return {"type": "error", "error": {"type": name, "message": message or name.replace("_", " ")}}


def openai_body(name: str, message: str | None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    kind = OPENAI[name][1]
    return {"error": {"message": message or name.replace("_", " "), "type": kind, "param": param, "code": name}}

"""Every error that the two clouds document, and the words by which a script may ask for either cloud's form."""

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

#: Words that mean the same on both clouds: (Bedrock, Google).
COMMON: dict[str, tuple[str, str]] = {
    "throttle": ("ThrottlingException", "RESOURCE_EXHAUSTED"),
    "quota": ("ServiceQuotaExceededException", "RESOURCE_EXHAUSTED"),
    "invalid": ("ValidationException", "INVALID_ARGUMENT"),
    "denied": ("AccessDeniedException", "PERMISSION_DENIED"),
    "expired": ("ExpiredTokenException", "UNAUTHENTICATED"),
    "not_found": ("ResourceNotFoundException", "NOT_FOUND"),
    "timeout": ("ModelTimeoutException", "DEADLINE_EXCEEDED"),
    "internal": ("InternalServerException", "INTERNAL"),
    "unavailable": ("ServiceUnavailableException", "UNAVAILABLE"),
    "not_ready": ("ModelNotReadyException", "UNAVAILABLE"),
    "model": ("ModelErrorException", "UNKNOWN"),
    "stream": ("ModelStreamErrorException", "UNKNOWN"),
}


def aws_name(word: str) -> str:
    """Bedrock's name for an error given by its own name, Google's, or a common word."""
    return _translate(word, 0)


def google_name(word: str) -> str:
    """Google's name for an error given by its own name, Bedrock's, or a common word."""
    return _translate(word, 1)


def _translate(word: str, side: int) -> str:
    own = (AWS, GOOGLE)[side]
    capital = word[:1].upper() + word[1:]  # Event streams write the names with a small first letter.
    if capital in own:
        return capital
    if word in COMMON:
        return COMMON[word][side]
    for pair in COMMON.values():
        if capital == pair[1 - side]:
            return pair[side]
    raise ValueError(f"no error called {word!r}")


def aws_body(name: str, message: str | None) -> dict[str, Any]:
    """Bedrock's error body; the two errors of the model itself carry more members."""
    body: dict[str, Any] = {"message": message or AWS_MESSAGES.get(name, name)}
    if name == "ModelErrorException":
        body |= {"originalStatusCode": 500, "resourceName": "stand-in"}
    if name == "ModelStreamErrorException":
        body |= {"originalStatusCode": 500, "originalMessage": "the model stopped"}
    return body


def google_body(name: str, message: str | None) -> dict[str, Any]:
    """Google's error body."""
    return {"error": {"code": GOOGLE[name], "message": message or GOOGLE_MESSAGES.get(name, name), "status": name}}

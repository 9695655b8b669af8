"""What all APIs of Bedrock answer alike: a request id, and errors that name themselves in a header."""

from __future__ import annotations

import re
import uuid

from . import frame, sigv4
from .delivery import Whole
from .errors import AWS, aws_body, aws_name
from .http import json_bytes
from .replies import Error
from .strict import Refused


class Api(frame.Api):
    """An API that AWS's own front end serves."""

    #: The host that serves this API. That of an endpoint in a VPC is as in
    #: https://docs.aws.amazon.com/vpc/latest/privatelink/privatelink-access-aws-services.html.
    host = re.compile(
        r"(?:(?P<vpc>vpce-[0-9a-f]{17}-[a-z0-9]{8}(?:-[a-z0-9-]+)?)\.)?bedrock-runtime(?:-fips)?"
        r"\.(?P<region>(?:(?P<china>cn-)|(?!cn-))[a-z0-9-]+)(?(vpc)\.vpce)\.amazonaws\.com(?(china)\.cn)"
    )
    #: The service that the signature is for.
    service = sigv4.SERVICE

    def head(self) -> dict[str, str]:
        return {"x-amzn-RequestId": str(uuid.uuid4())}

    def refusal(self, refused: Refused) -> Whole:
        status, headers, body = front_end(refused.error or "ValidationException", refused.detail)
        if refused.kind == "token":
            # The check of API keys writes its message with a capital letter.
            body = json_bytes({"Message": refused.detail})
        return status, headers, body

    def error(self, error: Error) -> Whole:
        """An error of the service behind, whose name carries a suffix in real life."""
        name = aws_name(error.type)
        status, headers, body = front_end(name, error.message)
        headers["x-amzn-ErrorType"] = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
        if error.retry_after:
            headers["Retry-After"] = error.retry_after
        return status, headers, body


def front_end(name: str, message: str | None) -> Whole:
    """An error with the bare name, as AWS's front end answers."""
    headers = {
        "x-amzn-RequestId": str(uuid.uuid4()),
        "Content-Type": "application/json",
        "x-amzn-ErrorType": name,
    }
    return AWS[name], headers, json_bytes(aws_body(name, message))

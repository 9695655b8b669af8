"""The stand-in for Amazon Bedrock: its APIs, and the credentials that all of them want."""

from __future__ import annotations

from . import aws, embeddings, sigv4
from .converse import Converse, CountTokens
from .delivery import Whole
from .frame import Cloud
from .http import Request
from .invoke_images import Canvas, Stability
from .messages import CountMantle, Invoke, Mantle
from .strict import LOOPBACK, Refused, check_headers

OWN_HEADERS = ("x-amz-date", "x-amz-security-token", "x-amz-content-sha256")


class Bedrock(Cloud):
    """Handler of the Bedrock port."""

    name = "bedrock"
    apis = (Converse, CountTokens, Canvas, Stability, *embeddings.BEDROCK, Invoke, Mantle, CountMantle)

    def enter(self, request: Request, api: aws.Api) -> str:
        settings = self.state.settings
        headers = check_headers(request.headers, OWN_HEADERS + api.more_headers, settings.allow_headers)
        host = api.host.fullmatch(headers["host"])
        if host is None and not LOOPBACK.fullmatch(headers["host"]):
            raise Refused("headers", f"host {headers['host']!r} does not serve {request.path}")
        region = host["region"] if host else None
        known = self.state.known(set(settings.bearer_tokens))
        api.caller = sigv4.check(request, headers, region, api.service, known).record()
        return f"Amazon Bedrock ({region or 'no region'})"

    def clock(self) -> float:
        return self.state.aws_now()

    def refusal(self, refused: Refused) -> Whole:
        return aws.front_end("UnknownOperationException", refused.detail)

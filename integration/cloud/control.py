"""The control port: what arrived, what was refused, and what shall be answered next."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

from .accounts import KEYED
from .http import Exchange, Request, json_bytes
from .keys import Key
from .metadata import issue
from .scripts import CLOUDS, BadScript, Forced, parse
from .state import State, Token, readable


class Control:
    """Handler of the control port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, request: Request, exchange: Exchange) -> None:
        try:
            status, answer = 200, self._answer(request)
        except LookupError as error:
            status, answer = 404, {"error": f"unknown: {error}"}
        except (ValueError, TypeError, BadScript) as error:
            status, answer = 400, {"error": str(error)}
        await exchange.whole(status, {"Content-Type": "application/json"}, json_bytes(answer))

    def _answer(self, request: Request) -> Any:
        state = self._state
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        body = json.loads(request.body) if request.body else {}
        if not isinstance(body, dict):
            raise ValueError("the body must be an object")
        match request.method, request.path:
            case "GET", "/control/health":
                return {"ready": True}
            case "GET", "/control/requests":
                return {"requests": self._requests(query)}
            case "GET", "/control/refusals":
                return {"refusals": list(state.refusals)}
            case "GET", "/control/counters":
                return dict(sorted(state.counters.items()))
            case "GET", "/control/tokens":
                return {"tokens": [_shown(token) for token in state.tokens]}
            case "POST", "/control/tokens/revoke":
                return {"revoked": self._revoke(body)}
            case "POST", "/control/tokens/issue":
                return {"access_token": issue(state).value}
            case "GET", "/control/keys":
                return {"keys": [self._key(key) for key in state.keyring.issued()]}
            case "POST", "/control/keys/revoke":
                return {"revoked": state.keyring.revoke(state.aws_now(), body.get("access_key_id"))}
            case "POST", "/control/service_accounts":
                return state.account_keys.create(body.get("email", KEYED))
            case "POST", "/control/service_accounts/delete":
                state.account_keys.delete(body.get("private_key_id"))
                return {}
            case "GET", "/control/config":
                return state.settings_json()
            case "PUT" | "POST", "/control/config":
                state.change(body)
                return state.settings_json()
            case "PUT" | "POST", "/control/script":
                return self._force(body)
            case "DELETE", "/control/script":
                state.stage.forced.clear()
                return {}
            case ("PUT" | "POST"), "/control/reset":
                state.reset()
                return {}
        raise LookupError(f"{request.method} {request.path}")

    def _requests(self, query: dict[str, str]) -> list[dict[str, Any]]:
        cloud = query.get("cloud")
        kept = self._state.requests
        chosen = list(kept[cloud]) if cloud else sorted(sum(map(list, kept.values()), []), key=lambda e: e["at"])
        limit = int(query.get("limit", 50))
        return [readable(entry) for entry in chosen[-limit:]] if limit > 0 else []

    def _key(self, key: Key) -> dict[str, Any]:
        return asdict(key) | {"valid": self._state.aws_now() < key.expires}

    def _revoke(self, wanted: dict[str, Any]) -> int:
        if unknown := wanted.keys() - {"token", "principal"}:
            raise ValueError(f"unknown: {sorted(unknown)}")
        chosen = [
            token
            for token in self._state.tokens
            if token.valid
            and wanted.get("token") in (None, token.value)
            and wanted.get("principal") in (None, token.principal)
        ]
        for token in chosen:
            token.revoked = True
        return len(chosen)

    def _force(self, body: dict[str, Any]) -> dict[str, Any]:
        cloud, script, times = body.get("cloud"), body.get("script"), body.get("times", 1)
        if cloud not in (None, *CLOUDS) or not isinstance(script, str) or not isinstance(times, int):
            raise ValueError(f'wanted: {{"cloud": one of {CLOUDS} or left out, "script": "…", "times": N}}')
        parse(script)
        self._state.stage.forced.append(Forced(cloud, script, times))
        return {"queued": len(self._state.stage.forced)}


def _shown(token: Token) -> dict[str, Any]:
    return {"value": token.value, "principal": token.principal, "valid": token.valid}

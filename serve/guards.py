"""Middleware in pure ASGI: the check of the bearer key, and the limit on a body's size."""

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

from serve.errors import ApiError
from serve.key import key_digest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# The page is only a form that asks for the key, and health probes carry no key.
_OPEN_PATHS = ("/", "/healthz")


def error_response(error: ApiError) -> JSONResponse:
    """An error as an HTTP response."""
    return JSONResponse(error.body(), error.status, error.headers)


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key.lower() == name:
            return bytes(value).decode("latin-1")
    return None


def path_of(scope: Scope) -> str:
    """The path of a request below the application's root."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


class KeyGuard:
    """Answers 401 to requests without the bearer key; the page and ``/healthz`` stay open."""

    def __init__(self, app: AsgiApp, digest: bytes) -> None:
        self.app = app
        self.digest = digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) in _OPEN_PATHS or self._knows(scope):
            await self.app(scope, receive, send)
            return
        message = "a valid key is required: send it as 'Authorization: Bearer KEY'"
        headers = {"WWW-Authenticate": "Bearer"}
        error = ApiError(401, message, code="invalid_api_key", headers=headers)
        await error_response(error)(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        kind, _, key = (_header(scope, b"authorization") or "").partition(" ")
        # Digests have equal lengths, and compare_digest's time does not depend on the content.
        digest = key_digest(key.strip())
        return kind.lower() == "bearer" and hmac.compare_digest(digest, self.digest)


class BodyLimit:
    """Answers 413 to bodies over a size, also chunked ones, and passes on the others whole.

    Args:
        max_bytes: of a body.
        allowances: bytes on top for the pictures in bodies to some paths.
    """

    def __init__(
        self, app: AsgiApp, max_bytes: int, allowances: Mapping[str, int] | None = None
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.allowances = dict(allowances or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.max_bytes + self.allowances.get(path_of(scope), 0)
        declared = _header(scope, b"content-length") or ""
        body = b""
        more = True
        too_large = declared.isdigit() and int(declared) > most
        while more and not too_large:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_large = len(body) > most
        if too_large:
            text = f"the body is larger than {most} bytes"
            error = ApiError(413, text, code="body_too_large")
            await error_response(error)(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replay, send)

"""Errors as the API shows them: the objects that ``--json`` prints, with a fitting status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from concierge.documents import document
from concierge.errors import (
    ArtefactError,
    ChatError,
    ConciergeError,
    InterruptedByUser,
    NothingSuitableError,
    ServerError,
    UnknownRunError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException


class ApiError(ConciergeError):
    """The API refuses a request, for a reason that only HTTP has a word for."""

    def __init__(
        self, what: str, *, status: int, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(what, hint=hint)
        self.status = status
        self.headers = headers


STATUSES: tuple[tuple[type[ConciergeError], int], ...] = (
    (UnknownRunError, 404),
    (UsageError, 400),
    (ChatError, 502),
    (NothingSuitableError, 503),
    (ArtefactError, 503),
    (ServerError, 503),
    (InterruptedByUser, 503),
)
"""The first that fits; anything else that concierge raises is a 500."""


def response(error: ConciergeError, *, status: int | None = None) -> JSONResponse:
    """Return the error as a response."""
    told = document(**error.as_dict())
    if isinstance(error, ApiError):
        return JSONResponse(told, error.status, headers=error.headers)
    if status is None:
        status = next((number for kind, number in STATUSES if isinstance(error, kind)), 500)
    return JSONResponse(told, status)


def invalid(error: RequestValidationError) -> JSONResponse:
    """Return a body or a parameter that does not fit as a ``UsageError`` that names the field."""
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return response(UsageError("The body is not valid JSON."), status=400)
    field = ".".join(str(word) for word in first["loc"][1:]) or "body"
    problem = UsageError(f"`{field}`: {first['msg']}.", where=field, hint="docs/api.md lists every field.")
    return response(problem, status=422)


def refused(error: HTTPException) -> JSONResponse:
    """Return what the router itself refuses: an unknown path or method."""
    hint = "docs/api.md lists every route."
    return response(ApiError(f"{error.detail}.", status=error.status_code, hint=hint, headers=error.headers))


def crashed() -> JSONResponse:
    """Return a fault of concierge without its insides."""
    return response(ApiError("concierge failed.", status=500, hint="Its log has the details."))

"""Errors as the API shows them: the objects that ``--json`` prints, with a fitting status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from concierge import errors
from concierge.documents import document
from concierge.errors import ConciergeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from fastapi import Request, Response


class ApiError(ConciergeError):
    """The API refuses a request, for a reason that only HTTP has a word for."""

    def __init__(
        self, what: str, *, status: int, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(what, hint=hint)
        self.status = status
        self.headers = headers


STATUSES: dict[int, tuple[type[ConciergeError], ...]] = {
    404: (errors.UnknownRunError,),
    400: (UsageError,),
    502: (errors.ChatError,),
    503: (errors.NothingSuitableError, errors.ArtefactError, errors.ServerError, errors.InterruptedByUser),
}
"""Anything else that concierge raises is a 500."""


def response(error: ConciergeError, *, status: int | None = None) -> JSONResponse:
    """Return the error as a response, with the status that fits its kind unless another is given."""
    told = document(**error.as_dict())
    if isinstance(error, ApiError):
        return JSONResponse(told, error.status, headers=error.headers)
    if status is None:
        status = next((number for number, kinds in STATUSES.items() if isinstance(error, kinds)), 500)
    return JSONResponse(told, status)


async def _known(_: Request, error: ConciergeError) -> JSONResponse:
    return response(error)


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return response(UsageError("The body is not valid JSON."))
    field = ".".join(str(word) for word in first["loc"][1:]) or "body"
    problem = UsageError(f"`{field}`: {first['msg']}.", where=field, hint="docs/api.md lists every field.")
    return response(problem, status=422)


async def _refused(_: Request, error: HTTPException) -> JSONResponse:
    hint = "docs/api.md lists every route."
    return response(ApiError(f"{error.detail}.", status=error.status_code, hint=hint, headers=error.headers))


async def _crashed(_: Request, __: Exception) -> JSONResponse:
    return response(ApiError("concierge failed.", status=500, hint="Its log has the details."))


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ConciergeError: _known,
    # A body or a parameter that does not fit.
    RequestValidationError: _invalid,
    # An unknown path or method.
    HTTPException: _refused,
    # A fault of concierge, without its insides.
    Exception: _crashed,
}
"""How every error that a route raises is answered."""

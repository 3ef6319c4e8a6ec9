import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from concierge.chat.client import OllamaChatClient, OpenAICompatibleChatClient
from concierge.chat.failure import RetryPolicy
from concierge.chat.port import ChatClient, Delta, ToolCall, Usage
from concierge.chat.transport import read
from concierge.endpoint import Dialect, Endpoint
from concierge.errors import ConfigError, ReplyError, StatusError, TransportError

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "Hello?"}]
GOOD = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "model": "m"}
SSE = {"content-type": "text/event-stream"}
Answer = httpx.Response | Exception


class Server:
    """Answers with each entry in turn and remembers the requests; the last entry stays."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds


def good(**headers: str) -> httpx.Response:
    return httpx.Response(200, json=GOOD, headers=headers)


def refusal(status: int, message: str = "no", **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"error": {"message": message}}, headers=names)


def streamed(*events: str) -> httpx.Response:
    return httpx.Response(200, headers=SSE, content="".join(f"data: {event}\n\n" for event in events).encode())


def client(
    server: Callable[[httpx.Request], httpx.Response],
    *,
    base_url: str = "http://127.0.0.1:9/v1",
    api_key: str | None = None,
    dialect: Dialect = "generic",
    retry: RetryPolicy | None = None,
    time: Time | None = None,
) -> OpenAICompatibleChatClient:
    time = time or Time()
    return OpenAICompatibleChatClient(
        Endpoint(base_url, "m", api_key, dialect),
        transport=httpx.MockTransport(server),
        retry=retry,
        clock=time.clock,
        now=time.clock,
        sleep=time.sleep,
        random=lambda: 1.0,
    )


def test_the_client_has_exactly_the_signature_of_the_port() -> None:
    port = inspect.signature(ChatClient.chat).parameters
    ours = inspect.signature(OpenAICompatibleChatClient.chat).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [(p.name, p.kind, p.default) for p in port.values()]


def test_the_old_name_stays() -> None:
    assert OllamaChatClient is OpenAICompatibleChatClient


async def test_a_question_is_posted_and_its_answer_returned() -> None:
    server = Server(good())
    async with client(server, api_key="key") as chat:
        reply = await chat.chat(QUESTION, "m", temperature=0.0, max_tokens=5)
    assert (reply, reply.finish_reason, reply.model) == ("Hi.", "stop", "m")
    request = server.requests[0]
    assert (request.method, str(request.url)) == ("POST", "http://127.0.0.1:9/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["accept-encoding"] == "identity"
    sent = {"model": "m", "messages": QUESTION, "stream": False, "temperature": 0.0, "max_tokens": 5}
    assert server.bodies == [sent]


async def test_without_a_key_none_is_sent() -> None:
    server = Server(good())
    await client(server).chat(QUESTION, "m")
    assert not {"authorization", "api-key"} & server.requests[0].headers.keys()


async def test_azure_gets_its_key_in_its_own_header_and_its_own_limit() -> None:
    server = Server(good())
    await client(server, base_url="https://r.openai.azure.com/openai/v1", api_key="key").chat(
        QUESTION, "dep", max_tokens=5
    )
    assert server.requests[0].headers["api-key"] == "key"
    assert "authorization" not in server.requests[0].headers
    assert server.bodies[0]["max_completion_tokens"] == 5


async def test_a_legacy_azure_deployment_is_named_in_the_url() -> None:
    server = Server(good())
    await client(server, base_url="https://r.openai.azure.com?api-version=2024-10-21").chat(
        QUESTION, "dep", max_tokens=5
    )
    assert server.requests[0].url.path == "/openai/deployments/dep/chat/completions"
    assert server.requests[0].url.query == b"api-version=2024-10-21"
    assert server.bodies[0]["max_tokens"] == 5


async def test_tool_calls_usage_and_thinking_come_with_the_reply() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": {"path": "a"}}}
    message = {"content": None, "tool_calls": [call], "reasoning": "Look."}
    document = {
        "choices": [{"message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
    }
    reply = await client(Server(httpx.Response(200, json=document))).chat(QUESTION, "m")
    assert reply == ""
    assert reply.tool_calls == (ToolCall("c1", "read", '{"path": "a"}'),)
    assert (reply.usage, reply.reasoning, reply.finish_reason) == (Usage(9, 4), "Look.", "tool_calls")


async def test_a_stream_is_asked_for_only_when_somebody_listens() -> None:
    server = Server(streamed('{"choices":[{"delta":{"content":"Hi."},"finish_reason":"stop"}]}', "[DONE]"))
    deltas: list[Delta] = []
    assert await client(server).chat(QUESTION, "m", on_delta=deltas.append) == "Hi."
    assert deltas == [Delta("Hi.")]
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_a_server_that_does_not_stream_is_listened_to_all_the_same() -> None:
    deltas: list[Delta] = []
    assert await client(Server(good())).chat(QUESTION, "m", on_delta=deltas.append) == "Hi."
    assert deltas == [Delta("Hi.")]


async def test_a_compressed_stream_is_read() -> None:
    import gzip

    plain = b'data: {"choices":[{"delta":{"content":"Hi."},"finish_reason":"stop"}]}\n\n'
    answer = httpx.Response(200, headers={**SSE, "content-encoding": "gzip"}, content=gzip.compress(plain))
    assert await client(Server(answer)).chat(QUESTION, "m", on_delta=lambda _: None) == "Hi."


# Spelling


UNSUPPORTED = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."


async def test_a_limit_that_the_server_does_not_know_is_sent_under_its_other_name_from_then_on() -> None:
    server = Server(refusal(400, UNSUPPORTED), good())
    chat = client(server)
    for _ in range(2):
        assert await chat.chat(QUESTION, "m", max_tokens=5) == "Hi."
    limits = [{name: body[name] for name in body if name.startswith("max_")} for body in server.bodies]
    assert limits == [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}]


async def test_a_swap_that_does_not_help_is_not_remembered() -> None:
    server = Server(refusal(400, UNSUPPORTED), refusal(400, "Unsupported parameter: max_completion_tokens"), good())
    chat = client(server)
    with pytest.raises(StatusError, match="max_completion_tokens"):
        await chat.chat(QUESTION, "m", max_tokens=5)
    await chat.chat(QUESTION, "m", max_tokens=5)
    assert "max_tokens" in server.bodies[-1]


async def test_a_value_that_the_server_refuses_is_not_sent_under_another_name() -> None:
    server = Server(refusal(400, "max_tokens is too large: 5000000"))
    with pytest.raises(StatusError, match="too large"):
        await client(server).chat(QUESTION, "m", max_tokens=5_000_000)
    assert len(server.requests) == 1


async def test_a_server_that_does_not_know_stream_options_is_asked_without() -> None:
    answer = streamed('{"choices":[{"delta":{"content":"Hi."},"finish_reason":"stop"}]}')
    server = Server(refusal(422, "stream_options: Extra inputs are not permitted"), answer)
    assert await client(server).chat(QUESTION, "m", on_delta=lambda _: None) == "Hi."
    assert "stream_options" not in server.bodies[1]


# Insisting


@pytest.mark.parametrize(
    "first",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        *(refusal(status) for status in (408, 429, 500, 502, 503, 504)),
    ],
    ids=repr,
)
async def test_what_may_pass_is_tried_again(first: Answer) -> None:
    time, server = Time(), Server(first, good())
    assert await client(server, time=time).chat(QUESTION, "m") == "Hi."
    assert time.pauses == [0.25]


@pytest.mark.parametrize(
    "first",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        *(refusal(status) for status in (302, 400, 401, 403, 404, 413, 422, 501)),
        httpx.Response(429, json={"error": {"message": "pay", "code": "insufficient_quota"}}),
        httpx.Response(200, json={}),
    ],
    ids=repr,
)
async def test_what_cannot_pass_is_not_tried_again(first: Answer) -> None:
    server = Server(first, good())
    with pytest.raises((TransportError, StatusError, ReplyError)):
        await client(server).chat(QUESTION, "m")
    assert len(server.requests) == 1


@pytest.mark.promise("L10")
async def test_the_attempts_are_counted_and_the_last_error_told() -> None:
    time, server = Time(), Server(refusal(500, "first"), refusal(500, "second"), refusal(502, "third"))
    with pytest.raises(StatusError, match="answered 502: third"):
        await client(server, time=time, retry=RetryPolicy(attempts=3)).chat(QUESTION, "m")
    assert time.pauses == [0.25, 0.5]


async def test_a_server_that_names_a_wait_is_obeyed() -> None:
    time, server = Time(), Server(refusal(429, retry_after="7"), good())
    await client(server, time=time).chat(QUESTION, "m")
    assert time.pauses == [7.0]


async def test_a_wait_beyond_the_budget_is_told_not_made() -> None:
    time, server = Time(), Server(refusal(429, "slow down", retry_after="3600"), good())
    with pytest.raises(StatusError, match="asks to wait 3600 s") as caught:
        await client(server, time=time).chat(QUESTION, "m")
    assert caught.value.retry_after == 3600.0
    assert time.pauses == []


async def test_a_model_that_loads_is_waited_for() -> None:
    time, server = Time(), Server(*[refusal(503, "Loading model")] * 50, good())
    assert await client(server, time=time).chat(QUESTION, "m") == "Hi."
    assert len(time.pauses) == 50


async def test_a_model_that_loads_for_ever_is_given_up() -> None:
    time, server = Time(), Server(refusal(503, "Loading model"))
    with pytest.raises(StatusError, match="still loading"):
        await client(server, time=time, retry=RetryPolicy(loading_seconds=30)).chat(QUESTION, "m")
    assert 29 <= time.seconds <= 30


async def test_nothing_is_sent_again_once_pieces_were_shown() -> None:
    async def breaks() -> Any:
        yield b'data: {"choices":[{"delta":{"content":"He"}}]}\n\n'
        raise httpx.ReadError("reset")

    deltas: list[Delta] = []
    server = Server(httpx.Response(200, headers=SSE, content=breaks()), good())
    with pytest.raises(TransportError, match="broke in the middle of the answer"):
        await client(server).chat(QUESTION, "m", on_delta=deltas.append)
    assert deltas == [Delta("He")]
    assert len(server.requests) == 1


async def test_a_break_after_the_end_was_announced_loses_nothing() -> None:
    async def breaks() -> Any:
        yield b'data: {"choices":[{"delta":{"content":"Hi."},"finish_reason":"stop"}]}\n\n'
        raise httpx.ReadError("reset")

    server = Server(httpx.Response(200, headers=SSE, content=breaks()))
    assert await client(server).chat(QUESTION, "m", on_delta=lambda _: None) == "Hi."


# Errors


async def test_an_error_object_inside_a_stream_is_a_status_error_without_a_status() -> None:
    server = Server(streamed('{"choices":[{"delta":{"content":"He"}}]}', '{"error":{"message":"out of memory"}}'))
    with pytest.raises(StatusError, match="out of memory") as caught:
        await client(server).chat(QUESTION, "m", on_delta=lambda _: None)
    assert caught.value.status == 0


async def test_an_error_object_under_status_200_is_a_status_error() -> None:
    with pytest.raises(StatusError, match="answered 200: out of memory"):
        await client(Server(httpx.Response(200, json={"error": "out of memory"}))).chat(QUESTION, "m")


@pytest.mark.parametrize("listen", [None, lambda _: None])
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, html="<title>Router login</title>"), "a web page, not a chat completion: Router login"),
        (httpx.Response(200, content=b"", headers={"content-type": "application/json"}), "an empty body"),
        (httpx.Response(200, json={"data": []}), "no choice with a message"),
        (httpx.Response(204), "empty body|before it began"),
    ],
    ids=["page", "empty", "other", "no content"],
)
async def test_what_is_not_a_completion_is_a_reply_error(answer: httpx.Response, says: str, listen: Any) -> None:
    with pytest.raises(ReplyError, match=says) as caught:
        await client(Server(answer)).chat(QUESTION, "m", on_delta=listen)
    assert caught.value.where == "http://127.0.0.1:9/v1"
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refusal(401, "Invalid API Key"), "api_key_env"),
        (refusal(404, "model not found"), "that the server has the model"),
        (httpx.Response(307, headers={"location": "https://elsewhere/v1"}), "never sent along a redirect"),
        (httpx.Response(400, json={"error": {"message": "m", "type": "exceed_context_size_error"}}), "larger context"),
        (httpx.Response(502, html="<title>Bad Gateway</title>"), "answered 502: Bad Gateway"),
        (httpx.Response(404), "answered 404: Not Found"),
    ],
)
async def test_a_refusal_says_where_and_what_to_do(answer: httpx.Response, says: str) -> None:
    with pytest.raises(StatusError, match=says) as caught:
        await client(Server(answer), retry=RetryPolicy(attempts=1)).chat(QUESTION, "m")
    assert caught.value.status == answer.status_code
    assert caught.value.where == "http://127.0.0.1:9/v1"


async def test_a_host_that_no_resolver_takes_is_said_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match="Invalid IDNA hostname") as caught:
        OpenAICompatibleChatClient(Endpoint("http://a²/v1", "m"))
    assert caught.value.where == "llm.base_url"


def transport_errors(root: type[httpx.HTTPError] = httpx.HTTPError) -> list[type[httpx.HTTPError]]:
    leaves = [leaf for child in root.__subclasses__() for leaf in transport_errors(child)]
    return leaves or [root]


@pytest.mark.promise("L8", "L9")
@pytest.mark.parametrize("error", [kind for kind in transport_errors() if kind is not httpx.HTTPStatusError])
@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/v1", "https://llm.example/v1"])
async def test_every_transport_error_says_what_where_and_what_to_do(
    error: type[httpx.HTTPError], base_url: str
) -> None:
    with pytest.raises(TransportError) as caught:
        await client(Server(error("cause")), base_url=base_url, retry=RetryPolicy(attempts=1)).chat(QUESTION, "m")
    assert base_url in caught.value.what
    assert caught.value.where == base_url
    assert caught.value.hint


async def test_an_error_whose_body_breaks_off_is_told_by_its_status() -> None:
    async def breaks() -> Any:
        yield b'{"error":'
        raise httpx.ReadError("reset")

    with pytest.raises(StatusError, match="answered 400: Bad Request"):
        await client(Server(httpx.Response(400, content=breaks()))).chat(QUESTION, "m")


async def test_an_error_page_of_any_length_is_told_in_a_line() -> None:
    page = httpx.Response(400, content=b"<title>Proxy</title>" + b"x" * 1_000_000)
    with pytest.raises(StatusError, match=r"answered 400: Proxy$"):
        await client(Server(page)).chat(QUESTION, "m")


@pytest.mark.promise("L14")
async def test_an_answer_that_does_not_end_is_refused_at_the_limit() -> None:
    with pytest.raises(ReplyError, match="longer than 1,000 bytes"):
        await read(httpx.Response(200, content=b"x" * 1001), limit=1000)


async def test_what_a_listener_raises_reaches_the_caller() -> None:
    def listener(_: Delta) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await client(Server(streamed('{"choices":[{"delta":{"content":"He"}}]}'))).chat(
            QUESTION, "m", on_delta=listener
        )


# The key


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "Incorrect API key provided: sekret-key."),
        httpx.Response(200, json={"error": "sekret-key"}),
        httpx.Response(200, content=b"you sent sekret-key"),
        httpx.Response(307, headers={"location": "https://x/?key=sekret-key"}),
    ],
)
async def test_a_key_that_the_server_repeats_is_not_shown(answer: httpx.Response) -> None:
    with pytest.raises((StatusError, ReplyError)) as caught:
        await client(Server(answer), api_key="sekret-key").chat(QUESTION, "m")
    assert "sekret" not in f"{caught.value} {caught.value!r} {caught.value.as_dict()}"
    assert "***" in str(caught.value)


def test_the_client_shows_where_it_goes_and_no_key() -> None:
    chat = client(Server(good()), base_url="http://user:word@127.0.0.1:9/v1", api_key="sekret")
    assert repr(chat) == "OpenAICompatibleChatClient('http://127.0.0.1:9/v1', dialect='generic')"


async def test_the_line_break_of_a_key_file_is_not_sent() -> None:
    server = Server(good())
    await client(server, api_key="key\n").chat(QUESTION, "m")
    assert server.requests[0].headers["authorization"] == "Bearer key"


@pytest.mark.parametrize("key", ["se\nkret", "sékret", "se\0kret"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client(Server(good()), api_key=key)
    assert "kret" not in str(caught.value)


async def test_a_redirect_is_not_followed() -> None:
    server = Server(httpx.Response(307, headers={"location": "https://elsewhere.example/v1"}), good())
    with pytest.raises(StatusError, match=r"redirect to https://elsewhere.example/v1"):
        await client(server, api_key="key").chat(QUESTION, "m")
    assert [request.url.host for request in server.requests] == ["127.0.0.1"]


@pytest.mark.parametrize("base_url", ["http://127.0.0.1/\0/v1", "http://127.0.0.1:99999/v1"])
def test_a_base_url_that_cannot_be_reached_by_anyone_is_refused(base_url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        client(Server(good()), base_url=base_url)

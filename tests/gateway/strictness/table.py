"""The table: raw requests and what is right for each of them.

The outcome of a row holds for a service's own port and for a gateway, unless the row says otherwise. It holds behind NGINX
unless `behind_nginx.py` says otherwise.
"""

from tests.gateway.strictness.rows import (
    Fate,
    Outcome,
    Row,
    Step,
    chunked,
    get,
    handshake,
    old,
    post,
    request,
)

AWAIT_ANSWER, AWAIT_EARLY_ANSWER, AWAIT_ARRIVAL, HALF_CLOSE, BYTE_BY_BYTE = Step
KEPT, CLOSED, SWITCHED = Fate
GET_LINE = b"GET /echo/{row} HTTP/1.1"
POST_LINE = b"POST /echo/{row} HTTP/1.1"
LARGE = 100_000  # bytes; more than a head may have


def served(name: str, *sent: bytes | Step, reached: tuple[str, ...] = ("GET",), **options: object) -> Row:
    """Return a row whose requests are all answered with 200 on a connection that stays open."""
    fate = options.pop("fate", KEPT)
    return Row(name, sent, Outcome((200,) * len(reached), fate, reached), **options)  # type: ignore[arg-type]


def refused(name: str, *sent: bytes | Step, status: int = 400, **options: object) -> Row:
    """Return a row whose request is refused, and whose connection is closed."""
    return Row(name, sent, Outcome((status,), CLOSED), **options)  # type: ignore[arg-type]


def closed(name: str, *sent: bytes | Step, **options: object) -> Row:
    """Return a row whose connection is closed without an answer."""
    return Row(name, sent, Outcome((), CLOSED), **options)  # type: ignore[arg-type]


REQUEST_LINES = [
    served("a plain GET", get()),
    served("a GET with a query", request(b"GET /echo/{row}? HTTP/1.1")),
    served("a HEAD", request(b"HEAD /echo/{row} HTTP/1.1"), reached=("HEAD",)),
    served("a DELETE", request(b"DELETE /echo/{row} HTTP/1.1"), reached=("DELETE",)),
    served("an empty line before the request", b"\r\n" + get()),
    served("four empty lines before the request", b"\r\n" * 4 + get()),
    served("a target in absolute form", request(b"GET http://a/echo/{row} HTTP/1.1")),
    refused("HTTP/2.0", request(b"GET /echo/{row} HTTP/2.0"), status=505),
    refused("HTTP/3.0", request(b"GET /echo/{row} HTTP/3.0"), status=505),
    refused("HTTP/1.2", request(b"GET /echo/{row} HTTP/1.2"), status=505),
    refused("HTTP/0.9 by name", request(b"GET /echo/{row} HTTP/0.9"), status=505),
    refused("HTTP/9.9", request(b"GET /echo/{row} HTTP/9.9"), status=505),
    refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status=505),
    refused(
        "HTTP/2.0 for a POST with a body",
        request(b"POST /echo/{row} HTTP/2.0", b"Content-Length: 3", body=b"abc"),
        status=505,
    ),
    refused("HTTP/0.9: a request line without a version", b"GET /echo/{row}\r\n"),
    refused("HTTP/0.9 with fields", request(b"GET /echo/{row}")),
    refused("HTTP/0.9 with a space at the end", b"GET /echo/{row} \r\n\r\n"),
    refused("RTSP/1.0", request(b"GET /echo/{row} RTSP/1.0")),
    refused("RTSP/1.0 with a method of RTSP", request(b"DESCRIBE /echo/{row} RTSP/1.0")),
    refused("RTSP/2.0", request(b"GET /echo/{row} RTSP/2.0")),
    refused("ICE/1.0", request(b"SOURCE /echo/{row} ICE/1.0")),
    refused("a name of the protocol in lower case", request(b"GET /echo/{row} http/1.1")),
    refused("a name of the protocol in mixed case", request(b"GET /echo/{row} Http/1.1")),
    refused("no version after the protocol", request(b"GET /echo/{row} HTTP/")),
    refused("a version without a minor number", request(b"GET /echo/{row} HTTP/1")),
    refused("a version with three numbers", request(b"GET /echo/{row} HTTP/1.1.1")),
    refused("a version with two digits", request(b"GET /echo/{row} HTTP/1.10")),
    refused("a version with a leading zero", request(b"GET /echo/{row} HTTP/01.1")),
    refused("a version that is no number", request(b"GET /echo/{row} HTTP/a.b")),
    refused("a negative version", request(b"GET /echo/{row} HTTP/-1.1")),
    refused("a version with a space", request(b"GET /echo/{row} HTTP/1. 1")),
    refused("a space after the version", request(b"GET /echo/{row} HTTP/1.1 ")),
    refused("a tab after the version", request(b"GET /echo/{row} HTTP/1.1\t")),
    refused("two spaces after the method", request(b"GET  /echo/{row} HTTP/1.1")),
    refused("two spaces before the version", request(b"GET /echo/{row}  HTTP/1.1")),
    refused("a tab after the method", request(b"GET\t/echo/{row} HTTP/1.1")),
    refused("a tab before the version", request(b"GET /echo/{row}\tHTTP/1.1")),
    refused("a space before the method", request(b" GET /echo/{row} HTTP/1.1")),
    refused("a space in the target", request(b"GET /echo/{row} x HTTP/1.1")),
    refused("a NUL in the target", request(b"GET /echo/\x00{row} HTTP/1.1")),
    refused("a byte above ASCII in the target", request(b"GET /echo/\xe9{row} HTTP/1.1")),
    refused("a fragment in the target", request(b"GET /echo/{row}#x HTTP/1.1")),
    refused("no target", request(b"GET HTTP/1.1")),
    refused("an empty target", request(b"GET  HTTP/1.1")),
    refused("a target that is no path", request(b"GET echo/{row} HTTP/1.1")),
    refused("a method in lower case", request(b"get /echo/{row} HTTP/1.1")),
    refused("a method with a control character", request(b"G\x01T /echo/{row} HTTP/1.1")),
    refused("a method with a delimiter", request(b"GE(T /echo/{row} HTTP/1.1")),
    refused("an unknown method", request(b"BREW /echo/{row} HTTP/1.1")),
    refused("CONNECT in authority form", request(b"CONNECT a:80 HTTP/1.1")),
    refused("CONNECT with a path", request(b"CONNECT /echo/{row} HTTP/1.1")),
    refused("a bare CR as the end of the request line", GET_LINE + b"\rHost: a\r\n\r\n"),
    refused("a bare LF as the end of the request line", GET_LINE + b"\nHost: a\r\n\r\n"),
    refused("bare LFs everywhere", GET_LINE + b"\nHost: a\n\n"),
    refused("no request line", b"Host: a\r\n\r\n"),
    refused("a word", b"HELLO\r\n\r\n"),
    refused("a TLS handshake", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"),
    refused("an answer instead of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    refused("a target longer than a head may be", request(b"GET /echo/" + b"a" * LARGE + b" HTTP/1.1"), status=431),
]

HOSTS = [
    served("Host with white space around it", request(GET_LINE, host=b"Host:  a ")),
    served("Host with a tab behind it", request(GET_LINE, host=b"Host: a\t")),
    served("Host with a port", request(GET_LINE, host=b"Host: a:8080")),
    served("Host without white space", request(GET_LINE, host=b"Host:a")),
    served("Host in capitals", request(GET_LINE, host=b"HOST: a")),
    refused("no Host", request(GET_LINE, host=None)),
    refused("two Hosts", request(GET_LINE, b"Host: b")),
    refused("the same Host twice", request(GET_LINE, b"Host: a")),
    refused("Hosts in two spellings", request(GET_LINE, b"hOST: b")),
    refused("no Host and a body", request(POST_LINE, b"Content-Length: 3", host=None, body=b"abc")),
    refused("an empty Host", request(GET_LINE, host=b"Host: "), service=Outcome((200,), KEPT, ("GET",))),
    refused("a Host with a path", request(GET_LINE, host=b"Host: a/b"), service=Outcome((200,), KEPT, ("GET",))),
    refused("a Host with a user", request(GET_LINE, host=b"Host: x@a"), service=Outcome((200,), KEPT, ("GET",))),
    refused("a Host of two words", request(GET_LINE, host=b"Host: a b"), service=Outcome((200,), KEPT, ("GET",))),
]

FIELDS = [
    served("an empty field", get(b"X-Note:")),
    served("a field of white space", get(b"X-Note:  \t ")),
    served("a field with white space behind it", get(b"X-Note: a \t"), seen={b"x-note": b"a"}),
    served("a field with white space inside it", get(b"X-Note: a \t b"), seen={b"x-note": b"a \t b"}),
    served("a field in UTF-8", get("X-Note: é".encode()), seen={b"x-note": "é".encode()}),
    served("a field name with every sign", get(b"X!#$%&'*+.^`|~: a")),
    refused("white space before the colon", get(b"X-Note : a")),
    refused("a tab before the colon", get(b"X-Note\t: a")),
    refused("a line without a colon", get(b"X-Note")),
    refused("a line without a name", get(b": a")),
    refused("a name with a space", get(b"X Note: a")),
    refused("a name with a delimiter", get(b"X(Note): a")),
    refused("a name with a byte above ASCII", get(b"X-\xe9: a")),
    refused("a name with a NUL", get(b"X-\x00: a")),
    refused("a value with a NUL", get(b"X-Note: a\x00b")),
    refused("a value with a control character", get(b"X-Note: a\x01b")),
    refused("a value with DEL", get(b"X-Note: a\x7fb")),
    refused("a value with a bare CR", get(b"X-Note: a\rb")),
    refused("a value with a bare LF", get(b"X-Note: a\nX-Request-Deadline-Ms: 7")),
    refused("a folded value", get(b"X-Note: a", b" b")),
    refused("a value folded with a tab", get(b"X-Note: a", b"\tb")),
    refused("a folded first line", request(GET_LINE, host=b" Host: a")),
    refused("a bare LF behind a field", GET_LINE + b"\r\nHost: a\nX-Note: b\r\n\r\n"),
    refused("a bare LF as the empty line", GET_LINE + b"\r\nHost: a\r\n\n"),
    refused("a bare CR as the empty line", GET_LINE + b"\r\nHost: a\r\n\r\r\n\r\n"),
    refused("a field longer than a head may be", get(b"X-Note: " + b"a" * LARGE), status=431),
    refused("more fields than a head may hold", get(*[b"X-Note: a"] * 7_000), status=431),
]

LENGTHS = [
    served("a POST with a length", post(b"Content-Length: 3", body=b"abc"), reached=("POST abc",)),
    served("a POST with length 0", post(b"Content-Length: 0"), reached=("POST",)),
    served("a POST without a length", post(), reached=("POST",)),
    served("a GET with a body", get(b"Content-Length: 3") + b"abc", reached=("GET abc",)),
    served("a length with white space behind it", post(b"Content-Length: 3 ", body=b"abc"), reached=("POST abc",)),
    served("a length with a tab behind it", post(b"Content-Length: 3\t", body=b"abc"), reached=("POST abc",)),
    served("a length with white space before it", post(b"Content-Length: \t 3", body=b"abc"), reached=("POST abc",)),
    served("a length without white space", post(b"Content-Length:3", body=b"abc"), reached=("POST abc",)),
    served("a length with leading zeros", post(b"Content-Length: 003", body=b"abc"), reached=("POST abc",)),
    served("a body of one line feed", post(b"Content-Length: 1", body=b"\n"), reached=("POST \n".strip(),)),
    served(
        "a body that looks like a request",
        post(b"Content-Length: 37", body=b"GET /echo/1 HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"[:37]),
        reached=("POST GET /echo/1 HTTP/1.1\r\nHost: a\r\nX: 1".strip(),),
    ),
    served(
        "a body in two segments", post(b"Content-Length: 3", body=b"a"), AWAIT_ARRIVAL, b"bc", reached=("POST abc",)
    ),
    served("everything byte by byte", BYTE_BY_BYTE, post(b"Content-Length: 3", body=b"abc"), reached=("POST abc",)),
    refused("two lengths", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc")),
    refused("the same length twice", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc")),
    refused("a list of lengths", post(b"Content-Length: 3, 3", body=b"abc")),
    refused("a length with a sign", post(b"Content-Length: +3", body=b"abc")),
    refused("a negative length", post(b"Content-Length: -3", body=b"abc")),
    refused("a hexadecimal length", post(b"Content-Length: 0x3", body=b"abc")),
    refused("a length with a decimal point", post(b"Content-Length: 3.0", body=b"abc")),
    refused("a length with an exponent", post(b"Content-Length: 3e0", body=b"abc")),
    refused("a length with an underscore", post(b"Content-Length: 1_0", body=b"abc")),
    refused("a length of words", post(b"Content-Length: three", body=b"abc")),
    refused("a length in quotes", post(b'Content-Length: "3"', body=b"abc")),
    refused("a length of two numbers", post(b"Content-Length: 1 1", body=b"abc")),
    refused("a length of digits that are not ASCII", post("Content-Length: ٣".encode(), body=b"abc")),
    refused("a length above 64 bits", post(b"Content-Length: 99999999999999999999", body=b"abc")),
    refused("an empty length", post(b"Content-Length:", body=b"abc")),
    refused("a folded length", post(b"Content-Length:", b" 3", body=b"abc")),
    refused("white space before the colon of a length", post(b"Content-Length : 3", body=b"abc")),
    refused(
        "a refused length and a request behind it",
        post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc") + get(),
    ),
    Row(
        "a length above the limit of the route",
        (post(b"Content-Length: 1048577", body=b"a" * 1_048_577),),
        Outcome((413,), KEPT),
    ),
]

CODINGS = [
    served("a chunked body", chunked(b"3\r\nabc\r\n0\r\n\r\n"), reached=("POST abc",)),
    served("an empty chunked body", chunked(b"0\r\n\r\n"), reached=("POST",)),
    served("two chunks", chunked(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), reached=("POST abc",)),
    served("a chunk with the end of a head in it", chunked(b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n"), reached=("POST",)),
    served(
        "chunk sizes in hexadecimal",
        chunked(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
        reached=("POST " + "0123456789" * 2,),
    ),
    served("chunk sizes with leading zeros", chunked(b"0003\r\nabc\r\n000\r\n\r\n"), reached=("POST abc",)),
    served("a chunk with an extension", chunked(b"3;a=b\r\nabc\r\n0\r\n\r\n"), reached=("POST abc",)),
    served("a chunk with an extension in quotes", chunked(b'3;a="b c"\r\nabc\r\n0\r\n\r\n'), reached=("POST abc",)),
    served("a last chunk with an extension", chunked(b"3\r\nabc\r\n0;a=b\r\n\r\n"), reached=("POST abc",)),
    served("a chunked body byte by byte", BYTE_BY_BYTE, chunked(b"3\r\nabc\r\n0\r\n\r\n"), reached=("POST abc",)),
    served(
        "a chunked body in segments", chunked(b"3\r\nab"), AWAIT_ARRIVAL, b"c\r\n0\r\n\r", b"\n", reached=("POST abc",)
    ),
    served(
        "a coding in capitals",
        post(b"Transfer-Encoding: CHUNKED", body=b"3\r\nabc\r\n0\r\n\r\n"),
        reached=("POST abc",),
    ),
    served(
        "a coding with white space behind it",
        post(b"Transfer-Encoding: chunked \t", body=b"3\r\nabc\r\n0\r\n\r\n"),
        reached=("POST abc",),
    ),
    served("a chunked GET", get(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n", reached=("GET abc",)),
    refused("a length and a coding", chunked(b"0\r\n\r\n", b"Content-Length: 5")),
    refused("a coding and a length", post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refused("a length of 0 and a coding", post(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refused("a length and a coding with a request behind them", chunked(b"0\r\n\r\n", b"Content-Length: 5") + get()),
    refused("an unknown coding", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    refused(
        "an unknown coding with a request behind it", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n") + get()
    ),
    refused("a coding that is not last", post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n")),
    refused("identity", post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    refused("gzip alone", post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n")),
    refused("gzip before chunked", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), status=501),
    refused(
        "gzip and chunked on two lines",
        post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        status=501,
    ),
    refused("chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    refused(
        "chunked on two lines", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")
    ),
    refused(
        "chunked and then identity on two lines",
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    ),
    refused("an empty coding", post(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
    refused("an empty element before chunked", post(b"Transfer-Encoding: , chunked", body=b"0\r\n\r\n")),
    refused("chunked with a parameter", post(b"Transfer-Encoding: chunked;a=b", body=b"0\r\n\r\n")),
    refused("chunked in quotes", post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    refused("chunked behind a vertical tab", post(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n")),
    refused("chunked behind a NUL", post(b"Transfer-Encoding: \x00chunked", body=b"0\r\n\r\n")),
    refused("white space before the colon of a coding", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    refused("a coding on a folded line", post(b"X-Note: a", b" Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refused("a folded coding", post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n")),
    refused("a coding in HTTP/1.0", old(b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\n0\r\n\r\n")),
    refused(
        "a coding in HTTP/1.0 that stays open",
        old(b"Connection: keep-alive", b"Transfer-Encoding: chunked", method=b"POST", body=b"0\r\n\r\n") + get(),
    ),
    refused(
        "a coding and a length in HTTP/1.0",
        old(b"Transfer-Encoding: chunked", b"Content-Length: 5", method=b"POST", body=b"0\r\n\r\n"),
    ),
    refused("identity in HTTP/1.0", old(b"Transfer-Encoding: identity", method=b"POST")),
]

BROKEN_BODIES = [
    refused("a chunk size that is no number", chunked(b"3\r\nabc\r\nx\r\n\r\n")),
    refused("a first chunk size that is no number", chunked(b"x\r\nabc\r\n0\r\n\r\n")),
    refused("a negative chunk size", chunked(b"-3\r\nabc\r\n0\r\n\r\n")),
    refused("a chunk size with a sign", chunked(b"+3\r\nabc\r\n0\r\n\r\n")),
    refused("a chunk size with 0x", chunked(b"0x3\r\nabc\r\n0\r\n\r\n")),
    refused("a chunk size with an underscore", chunked(b"0_3\r\nabc\r\n0\r\n\r\n")),
    refused("a chunk size with white space before it", chunked(b" 3\r\nabc\r\n0\r\n\r\n")),
    refused("a chunk size with white space behind it", chunked(b"3 \r\nabc\r\n0\r\n\r\n")),
    refused("a chunk size above 64 bits", chunked(b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
    refused("an empty chunk size", chunked(b"\r\nabc\r\n0\r\n\r\n")),
    refused("a chunk longer than its size", chunked(b"3\r\nabcd\r\n0\r\n\r\n")),
    refused("no line end behind a chunk", chunked(b"3\r\nabc0\r\n\r\n")),
    refused("bare LFs between chunks", chunked(b"3\nabc\n0\n\n")),
    refused("a bare LF behind a chunk size", chunked(b"3\nabc\r\n0\r\n\r\n")),
    refused("a bare LF behind a chunk", chunked(b"3\r\nabc\n0\r\n\r\n")),
    refused("a bare CR behind a chunk size", chunked(b"3\rabc\r\n0\r\n\r\n")),
    refused("a bare LF as the last line", chunked(b"3\r\nabc\r\n0\r\n\n")),
    refused("a control character in an extension", chunked(b"3;a\x01\r\nabc\r\n0\r\n\r\n")),
    refused("a bare CR in an extension", chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n")),
    refused("a bare LF in an extension", chunked(b"3;a\nb\r\nabc\r\n0\r\n\r\n")),
    refused("a chunked body that breaks in a later segment", chunked(b"3\r\nabc\r\n"), AWAIT_ARRIVAL, b"x\r\n\r\n"),
    refused("a broken chunk and a request behind it", chunked(b"x\r\n\r\n") + get()),
    refused("an extension without end", chunked(b"3;" + b"a" * LARGE), status=431),
    refused("an invalid trailer", chunked(b"3\r\nabc\r\n0\r\nX Note: a\r\n\r\n")),
    refused("a trailer without a colon", chunked(b"3\r\nabc\r\n0\r\nX-Note\r\n\r\n")),
    refused("a trailer with a NUL", chunked(b"3\r\nabc\r\n0\r\nX-Note: \x00\r\n\r\n")),
    refused("a trailer without end", chunked(b"3\r\nabc\r\n0\r\nX-Note: " + b"a" * LARGE), status=431),
]

TRAILERS = [
    served("a trailer", chunked(b"3\r\nabc\r\n0\r\nX-Note: a\r\n\r\n"), reached=("POST abc",), hidden=(b"x-note",)),
    served(
        "two trailers",
        chunked(b"0\r\nX-Note: a\r\nX-Note-2: a\r\n\r\n"),
        reached=("POST",),
        hidden=(b"x-note", b"x-note-2"),
    ),
    *(
        served(
            f"a trailer named {name.decode()}",
            chunked(b"3\r\nabc\r\n0\r\n" + name + b": " + value + b"\r\n\r\n", b"Trailer: " + name),
            reached=("POST abc",),
            hidden=(name.lower(),),
        )
        for name, value in (
            (b"Authorization", b"Bearer x"),
            (b"Cookie", b"a=b"),
            (b"Origin", b"http://evil.example"),
            (b"Idempotency-Key", b"k"),
            (b"If-Match", b'"1"'),
            (b"Content-Encoding", b"gzip"),
            (b"X-HTTP-Method-Override", b"DELETE"),
        )
    ),
    *(
        served(
            f"a trailer named {name.decode()} that frames or routes",
            chunked(b"3\r\nabc\r\n0\r\n" + name + b": " + value + b"\r\n\r\n"),
            get(),
            reached=("POST abc", "GET"),
        )
        for name, value in (
            (b"Host", b"evil.example"),
            (b"Connection", b"close"),
            (b"Expect", b"100-continue"),
            (b"X-Forwarded-For", b"6.6.6.6"),
            (b"Forwarded", b"for=6.6.6.6"),
            (b"X-Request-ID", b"forged"),
            (b"X-Request-Deadline-Ms", b"7"),
            (b"Traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"),
        )
    ),
    refused("a trailer with a length", chunked(b"3\r\nabc\r\n0\r\nContent-Length: 1\r\n\r\n")),
    refused("a trailer with a coding", chunked(b"3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n")),
    served(
        "a trailer with an upgrade",
        chunked(b"0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") + get(),
        reached=("POST", "GET"),
        hidden=(b"upgrade",),
    ),
    served(
        "a trailer in a segment of its own",
        chunked(b"3\r\nabc\r\n0\r\n"),
        AWAIT_ARRIVAL,
        b"X-Note: a\r\n\r\n",
        reached=("POST abc",),
        hidden=(b"x-note",),
    ),
    served(
        "a trailer byte by byte",
        BYTE_BY_BYTE,
        chunked(b"0\r\nX-Note: a\r\n\r\n"),
        reached=("POST",),
        hidden=(b"x-note",),
    ),
    served(
        "a trailer does not pass to the next request",
        chunked(b"0\r\nX-Note: a\r\n\r\n") + get(),
        reached=("POST", "GET"),
        hidden=(b"x-note",),
    ),
    served(
        "a trailer of a GET",
        get(b"Transfer-Encoding: chunked") + b"0\r\nX-Note: a\r\n\r\n",
        reached=("GET",),
        hidden=(b"x-note",),
    ),
]

UPGRADES = [
    served("an unknown upgrade", get(b"Connection: Upgrade", b"Upgrade: foo"), dropped=(b"upgrade", b"connection")),
    served("an upgrade to TLS", get(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), dropped=(b"upgrade",)),
    served(
        "an upgrade to HTTP/2",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        dropped=(b"upgrade", b"http2-settings"),
    ),
    served(
        "an unknown upgrade with a request behind it",
        get(b"Connection: Upgrade", b"Upgrade: foo") + get(),
        reached=("GET", "GET"),
    ),
    served(
        "an unknown upgrade with two requests behind it",
        get(b"Connection: Upgrade", b"Upgrade: foo") + get() + post(b"Content-Length: 3", body=b"abc"),
        reached=("GET", "GET", "POST abc"),
    ),
    served("two unknown upgrades", get(b"Connection: Upgrade", b"Upgrade: foo") * 2, reached=("GET", "GET")),
    served(
        "an unknown upgrade with a body",
        post(b"Connection: Upgrade", b"Upgrade: foo", b"Content-Length: 3", body=b"abc"),
        reached=("POST abc",),
    ),
    served(
        "an unknown upgrade with a chunked body",
        chunked(b"3\r\nabc\r\n0\r\n\r\n", b"Connection: Upgrade", b"Upgrade: foo"),
        reached=("POST abc",),
    ),
    served(
        "an unknown upgrade with a body and a request behind it",
        post(b"Connection: Upgrade", b"Upgrade: foo", b"Content-Length: 3", body=b"abc") + get(),
        reached=("POST abc", "GET"),
    ),
    served(
        "an unknown upgrade with a body in another segment",
        post(b"Connection: Upgrade", b"Upgrade: foo", b"Content-Length: 3"),
        AWAIT_ARRIVAL,
        b"abc",
        reached=("POST abc",),
    ),
    served(
        "a body that looks like a request behind an upgrade",
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 18", body=b"GET / HTTP/1.1\r\n\r\n"),
        reached=("POST GET / HTTP/1.1",),
    ),
    served("an upgrade that the connection does not name", get(b"Upgrade: websocket")),
    served("a connection that names no upgrade", get(b"Connection: Upgrade")),
    served("an empty upgrade", get(b"Connection: Upgrade", b"Upgrade:")),
    served("two upgrades of which none is known", get(b"Connection: Upgrade", b"Upgrade: foo, bar")),
    served("two lines of unknown upgrades", get(b"Connection: Upgrade", b"Upgrade: foo", b"Upgrade: bar")),
    served("an unknown upgrade in HTTP/1.0", old(b"Connection: Upgrade", b"Upgrade: foo"), fate=CLOSED),
    refused("a folded upgrade", get(b"Connection: Upgrade", b"Upgrade: foo", b" bar")),
    refused("white space before the colon of an upgrade", get(b"Connection: Upgrade", b"Upgrade : foo")),
    refused("an upgrade with a NUL", get(b"Connection: Upgrade", b"X: \x00", b"Upgrade: foo")),
]

OPEN = Outcome((101,), SWITCHED, ("WEBSOCKET",))


def opened(name: str, *sent: bytes | Step, **options: object) -> Row:
    """Return a row whose WebSocket is accepted."""
    return Row(name, sent, OPEN, **options)  # type: ignore[arg-type]


HANDSHAKES = [
    opened("a WebSocket", handshake()),
    opened("a WebSocket byte by byte", BYTE_BY_BYTE, handshake()),
    opened("a WebSocket with names in lower case", handshake().replace(b"Upgrade: websocket", b"upgrade: WebSocket")),
    opened(
        "a WebSocket with white space behind the fields",
        handshake(upgrade=b"Upgrade: websocket ", connection=b"Connection: Upgrade \t"),
    ),
    opened("a WebSocket with a list of connection options", handshake(connection=b"Connection: keep-alive, Upgrade")),
    opened("a WebSocket with two lines of connection options", handshake(b"Connection: keep-alive")),
    opened(
        "a WebSocket with two lines of connection options, reversed",
        handshake(connection=b"Connection: keep-alive\r\nConnection: Upgrade"),
    ),
    opened("a WebSocket with an extension", handshake(b"Sec-WebSocket-Extensions: permessage-deflate")),
    opened("a WebSocket with a length of 0", handshake(b"Content-Length: 0")),
    Row("a WebSocket behind a request", (get() + handshake(),), Outcome((200, 101), SWITCHED, ("GET", "WEBSOCKET"))),
    Row(
        "a WebSocket behind two requests",
        (get() * 2 + handshake(),),
        Outcome((200, 200, 101), SWITCHED, ("GET", "GET", "WEBSOCKET")),
    ),
    refused("a WebSocket with a body", handshake(b"Content-Length: 2", body=b"{}")),
    refused("a WebSocket with a length and no body", handshake(b"Content-Length: 2")),
    refused("a WebSocket with a chunked body", handshake(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refused(
        "a WebSocket with a body, at a route without WebSockets",
        handshake(b"Content-Length: 2", line=GET_LINE, body=b"{}"),
    ),
    refused("a WebSocket with two lengths", handshake(b"Content-Length: 0", b"Content-Length: 2", body=b"{}")),
    refused("a WebSocket by POST", handshake(line=b"POST /ws/{row} HTTP/1.1")),
    refused(
        "a WebSocket by POST with a body",
        handshake(b"Content-Length: 2", line=b"POST /echo/{row} HTTP/1.1", body=b"{}"),
    ),
    refused("a WebSocket by PUT", handshake(line=b"PUT /echo/{row} HTTP/1.1")),
    refused("a WebSocket by DELETE", handshake(line=b"DELETE /echo/{row} HTTP/1.1")),
    refused("a WebSocket by OPTIONS", handshake(line=b"OPTIONS /echo/{row} HTTP/1.1")),
    refused("a WebSocket by HEAD", handshake(line=b"HEAD /ws/{row} HTTP/1.1")),
    refused("a WebSocket in HTTP/2.0", handshake(line=b"GET /ws/{row} HTTP/2.0"), status=505),
    refused("a WebSocket in RTSP/1.0", handshake(line=b"GET /ws/{row} RTSP/1.0")),
    refused("a WebSocket without a key", handshake(key=b"")),
    refused("a WebSocket with an empty key", handshake(key=b"Sec-WebSocket-Key:")),
    refused("a WebSocket with two keys", handshake(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
    refused("a WebSocket with a short key", handshake(key=b"Sec-WebSocket-Key: dGhl")),
    refused("a WebSocket with a key that is not base64", handshake(key=b"Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==")),
    refused("a WebSocket without a version", handshake(version=b""), status=426),
    refused("WebSocket version 12", handshake(version=b"Sec-WebSocket-Version: 12"), status=426),
    refused("WebSocket version 14", handshake(version=b"Sec-WebSocket-Version: 14"), status=426),
    refused("WebSocket version 0", handshake(version=b"Sec-WebSocket-Version: 0"), status=426),
    refused(
        "a WebSocket with a version with a leading zero", handshake(version=b"Sec-WebSocket-Version: 013"), status=426
    ),
    refused("a WebSocket with a list of versions", handshake(version=b"Sec-WebSocket-Version: 13, 8"), status=426),
    refused("a WebSocket with an empty version", handshake(version=b"Sec-WebSocket-Version:"), status=426),
    refused("a WebSocket with two lines of versions", handshake(b"Sec-WebSocket-Version: 13"), status=426),
    refused(
        "an unknown WebSocket version at a route without WebSockets",
        handshake(line=GET_LINE, version=b"Sec-WebSocket-Version: 99"),
        status=426,
    ),
    refused("a WebSocket with a line of more than 8 KiB", handshake(b"X-Note: " + b"a" * 9_000)),
    refused("a WebSocket with a target of more than 8 KiB", handshake(line=b"GET /ws/" + b"1" * 9_000 + b" HTTP/1.1")),
    refused("a WebSocket with 200 fields", handshake(*[b"X-Note: a"] * 200)),
    refused("a WebSocket without a Host", handshake().replace(b"Host: a\r\n", b"")),
    refused("a WebSocket with two Hosts", handshake(b"Host: b")),
    refused("a WebSocket with a name that is no token", handshake(b"X Note: a")),
    refused("a WebSocket with a folded field", handshake(b"X-Note: a", b" b")),
    refused("a WebSocket with a NUL", handshake(b"X-Note: \x00")),
    refused("a WebSocket with an extension that cannot be read", handshake(b"Sec-WebSocket-Extensions: ;;")),
    refused("a WebSocket with data before it is accepted", handshake(body=b"\x81\x85\x00\x00\x00\x00hello")),
    refused("a WebSocket with a request behind it", handshake() + get()),
    Row(
        "a WebSocket at a route without WebSockets",
        (handshake(line=GET_LINE),),
        Outcome((405,), CLOSED),
        service=Outcome((403,), CLOSED),
    ),
    Row(
        "a WebSocket at an unknown route",
        (handshake(line=b"GET /nowhere HTTP/1.1"),),
        Outcome((404,), CLOSED),
        service=Outcome((403,), CLOSED),
    ),
    Row(
        "a WebSocket route without a handshake",
        (request(b"GET /ws/{row} HTTP/1.1"),),
        Outcome((404,), KEPT),
        service=Outcome((400,), KEPT, ("GET",)),
    ),
    Row("a WebSocket in HTTP/1.0", (handshake(line=b"GET /echo/{row} HTTP/1.0"),), Outcome((200,), CLOSED, ("GET",))),
    Row(
        "a refused WebSocket behind a request",
        (get() + handshake(b"Content-Length: 2", body=b"{}"),),
        Outcome((200, 400), CLOSED, ("GET",)),
    ),
    Row(
        "an unknown WebSocket version behind a request",
        (get() + handshake(version=b"Sec-WebSocket-Version: 7"),),
        Outcome((200, 426), CLOSED, ("GET",)),
    ),
    served("two upgrades of which one is WebSocket", get(b"Connection: Upgrade", b"Upgrade: foo, bar")),
]

PIPELINES = [
    served("two requests", get() + get(), reached=("GET", "GET")),
    served("two requests in segments", get(), get(), reached=("GET", "GET")),
    served("two requests, one after the other", get(), AWAIT_ANSWER, get(), reached=("GET", "GET")),
    served("ten requests", get() * 10, reached=("GET",) * 10),
    served("ten requests byte by byte", BYTE_BY_BYTE, get() * 10, reached=("GET",) * 10),
    served("a POST and a GET", post(b"Content-Length: 3", body=b"abc") + get(), reached=("POST abc", "GET")),
    served("a GET and a POST", get() + post(b"Content-Length: 3", body=b"abc"), reached=("GET", "POST abc")),
    served(
        "two POSTs",
        post(b"Content-Length: 3", body=b"abc") + post(b"Content-Length: 2", body=b"de"),
        reached=("POST abc", "POST de"),
    ),
    served("a chunked POST and a GET", chunked(b"3\r\nabc\r\n0\r\n\r\n") + get(), reached=("POST abc", "GET")),
    served(
        "two chunked POSTs",
        chunked(b"3\r\nabc\r\n0\r\n\r\n") + chunked(b"2\r\nde\r\n0\r\n\r\n"),
        reached=("POST abc", "POST de"),
    ),
    served("empty lines between requests", get() + b"\r\n\r\n" + get(), reached=("GET", "GET")),
    served(
        "an empty line behind a body",
        post(b"Content-Length: 3", body=b"abc") + b"\r\n" + get(),
        reached=("POST abc", "GET"),
    ),
    served("the second request in two segments", get() + get()[:30], AWAIT_ANSWER, get()[30:], reached=("GET", "GET")),
    served(
        "a POST whose body comes behind the first answer",
        get() + post(b"Content-Length: 3"),
        AWAIT_ANSWER,
        b"abc",
        reached=("GET", "POST abc"),
    ),
    *(
        Row(name, (get() + broken,), Outcome((200, status), CLOSED, ("GET",)))
        for name, broken, status in (
            ("a word behind a request", b"HELLO\r\n\r\n", 400),
            ("HTTP/2.0 behind a request", request(b"GET /echo/{row} HTTP/2.0"), 505),
            ("RTSP/1.0 behind a request", request(b"GET /echo/{row} RTSP/1.0"), 400),
            ("HTTP/0.9 behind a request", b"GET /echo/{row}\r\n\r\n", 400),
            ("two lengths behind a request", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"), 400),
            ("a length and a coding behind a request", chunked(b"0\r\n\r\n", b"Content-Length: 5"), 400),
            ("an unknown coding behind a request", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
            ("no Host behind a request", request(GET_LINE, host=None), 400),
            ("a NUL behind a request", get(b"X-Note: \x00"), 400),
            ("a broken chunk behind a request", chunked(b"x\r\n\r\n"), 400),
            ("a late broken chunk behind a request", chunked(b"3\r\nabc\r\nx\r\n\r\n"), 400),
            ("a TLS handshake behind a request", b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n", 400),
            ("a long target behind a request", request(b"GET /echo/" + b"a" * LARGE + b" HTTP/1.1"), 431),
        )
    ),
    Row(
        "two requests and a broken one",
        (get() * 2 + b"HELLO\r\n\r\n",),
        Outcome((200, 200, 400), CLOSED, ("GET", "GET")),
    ),
    Row("a broken request between two", (get() + b"HELLO\r\n\r\n" + get(),), Outcome((200, 400), CLOSED, ("GET",))),
    Row(
        "a POST and a broken request",
        (post(b"Content-Length: 3", body=b"abc") + b"HELLO\r\n\r\n",),
        Outcome((200, 400), CLOSED, ("POST abc",)),
    ),
    Row(
        "a body longer than its length",
        (post(b"Content-Length: 3", body=b"abcdef\r\n\r\n"),),
        Outcome((200, 400), CLOSED, ("POST abc",)),
    ),
    Row(
        "data behind a last chunk",
        (chunked(b"3\r\nabc\r\n0\r\n\r\nxyz\r\n\r\n"),),
        Outcome((200, 400), CLOSED, ("POST abc",)),
    ),
    Row("a request behind one that closes", (get(b"Connection: close") + get(),), Outcome((200,), CLOSED, ("GET",))),
    Row(
        "a broken request behind one that closes",
        (get(b"Connection: close") + b"HELLO\r\n\r\n",),
        Outcome((200,), CLOSED, ("GET",)),
    ),
    Row("a request behind one in HTTP/1.0", (old() + get(),), Outcome((200,), CLOSED, ("GET",))),
    Row(
        "an unknown route between two requests",
        (get() + request(b"GET /nowhere HTTP/1.1") + get(),),
        Outcome((200, 404, 200), KEPT, ("GET", "GET")),
    ),
]

CONNECTIONS = [
    served("Connection: close", get(b"Connection: close"), fate=CLOSED),
    served("Connection: Close", get(b"Connection: Close"), fate=CLOSED),
    served("close in a list", get(b"Connection: foo, close"), fate=CLOSED),
    served("close on a second line", get(b"Connection: foo", b"Connection: close"), fate=CLOSED),
    served("close with white space behind it", get(b"Connection: close "), fate=CLOSED),
    served("Connection: keep-alive", get(b"Connection: keep-alive")),
    served(
        "a POST that closes",
        post(b"Connection: close", b"Content-Length: 3", body=b"abc"),
        reached=("POST abc",),
        fate=CLOSED,
    ),
    served(
        "a chunked POST that closes",
        chunked(b"3\r\nabc\r\n0\r\n\r\n", b"Connection: close"),
        reached=("POST abc",),
        fate=CLOSED,
    ),
    served("HTTP/1.0", old(), fate=CLOSED),
    served("HTTP/1.0 without a Host", request(b"GET /echo/{row} HTTP/1.0", host=None), fate=CLOSED),
    served(
        "a POST in HTTP/1.0", old(b"Content-Length: 3", method=b"POST", body=b"abc"), reached=("POST abc",), fate=CLOSED
    ),
    Row("an unknown route", (request(b"GET /nowhere HTTP/1.1"),), Outcome((404,), KEPT)),
    Row(
        "an unknown route with a body",
        (request(b"POST /nowhere HTTP/1.1", b"Content-Length: 3", body=b"abc"),),
        Outcome((404,), KEPT),
    ),
    Row(
        "a method that the route does not have",
        (request(b"PATCH /echo/{row} HTTP/1.1", b"Content-Length: 0"),),
        Outcome((405,), KEPT),
    ),
]

HOP_BY_HOP = [
    served("a field named by Connection", get(b"Connection: X-Secret", b"X-Secret: 1"), dropped=(b"x-secret",)),
    served(
        "a field named by Connection in capitals", get(b"Connection: X-SECRET", b"x-secret: 1"), dropped=(b"x-secret",)
    ),
    served(
        "a field named on the second line of Connection",
        get(b"Connection: keep-alive", b"Connection: X-Secret", b"X-Secret: 1"),
        dropped=(b"x-secret",),
    ),
    served(
        "two fields named by Connection",
        get(b"Connection: X-Secret , X-Other", b"X-Secret: 1", b"X-Other: 1"),
        dropped=(b"x-secret", b"x-other"),
    ),
    served(
        "a field named before close",
        get(b"Connection: X-Secret, close", b"X-Secret: 1"),
        dropped=(b"x-secret",),
        fate=CLOSED,
    ),
    served(
        "a field that Connection does not name", get(b"Connection: X-Other", b"X-Secret: 1"), seen={b"x-secret": b"1"}
    ),
    served("an empty Connection", get(b"Connection:")),
    served("Connection of commas", get(b"Connection: , ,,")),
    *(
        served(f"{name.decode()} is for this hop", get(name + b": " + value), dropped=(name.lower(),))
        for name, value in (
            (b"Keep-Alive", b"timeout=5"),
            (b"Proxy-Connection", b"keep-alive"),
            (b"Proxy-Authorization", b"Basic eDp5"),
            (b"Proxy-Authenticate", b"Basic"),
            (b"TE", b"trailers"),
            (b"Trailer", b"X-Note"),
            (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"),
            (b"Proxy", b"http://evil.example"),
            (b"Via", b"1.1 evil"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"X-Original-URL", b"/admin"),
            (b"X-Rewrite-URL", b"/admin"),
            (b"X-HTTP-Method-Override", b"DELETE"),
            (b"X-Real-IP", b"6.6.6.6"),
            (b"True-Client-IP", b"6.6.6.6"),
            (b"CF-Connecting-IP", b"6.6.6.6"),
            (b"X-Forwarded-Prefix", b"/admin"),
            (b"X-Envoy-Original-Path", b"/admin"),
            (b"X_Forwarded_For", b"6.6.6.6"),
            (b"Content_Length", b"7"),
            (b"Transfer_Encoding", b"chunked"),
        )
    ),
    *(
        refused(
            f"{name.decode()} named by Connection",
            get(b"Connection: " + name, b"Content-Type: text/plain", b"Cookie: a=b", b"Authorization: x"),
            service=Outcome((200,), KEPT, ("GET",)),
        )
        for name in (b"Host", b"Content-Length", b"Content-Type", b"Authorization", b"Cookie")
    ),
    served("X-Forwarded-For named by Connection", get(b"Connection: X-Forwarded-For")),
    served(
        "Transfer-Encoding named by Connection",
        chunked(b"3\r\nabc\r\n0\r\n\r\n", b"Connection: Transfer-Encoding"),
        reached=("POST abc",),
    ),
]

EXPECTATIONS = [
    Row(
        "Expect: 100-continue",
        (post(b"Expect: 100-continue", b"Content-Length: 3"), AWAIT_ANSWER, b"abc"),
        Outcome((100, 200), KEPT, ("POST abc",)),
    ),
    Row(
        "Expect with white space behind it",
        (post(b"Expect: 100-continue ", b"Content-Length: 3"), AWAIT_ANSWER, b"abc"),
        Outcome((100, 200), KEPT, ("POST abc",)),
    ),
    Row(
        "Expect in capitals",
        (post(b"Expect: 100-Continue", b"Content-Length: 3"), AWAIT_ANSWER, b"abc"),
        Outcome((100, 200), KEPT, ("POST abc",)),
    ),
    Row(
        "Expect and a chunked body",
        (chunked(b"", b"Expect: 100-continue"), AWAIT_ANSWER, b"3\r\nabc\r\n0\r\n\r\n"),
        Outcome((100, 200), KEPT, ("POST abc",)),
    ),
    Row(
        "Expect and then another request",
        (post(b"Expect: 100-continue", b"Content-Length: 3"), AWAIT_ANSWER, b"abc" + get()),
        Outcome((100, 200, 200), KEPT, ("POST abc", "GET")),
    ),
    served(
        "Expect and a body at once",
        post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
        reached=("POST abc",),
    ),
    served(
        "Expect and the beginning of a body",
        post(b"Expect: 100-continue", b"Content-Length: 3", body=b"a"),
        AWAIT_ARRIVAL,
        b"bc",
        reached=("POST abc",),
    ),
    served("Expect without a body", get(b"Expect: 100-continue")),
    served(
        "Expect in HTTP/1.0",
        old(b"Expect: 100-continue", b"Content-Length: 3", method=b"POST", body=b"abc"),
        reached=("POST abc",),
        fate=CLOSED,
    ),
    served(
        "Expect in HTTP/1.0, and a body in another segment",
        old(b"Expect: 100-continue", b"Content-Length: 3", method=b"POST"),
        AWAIT_ARRIVAL,
        b"abc",
        reached=("POST abc",),
        fate=CLOSED,
    ),
    served("an unknown expectation", post(b"Expect: foo", b"Content-Length: 3", body=b"abc"), reached=("POST abc",)),
    Row(
        "an expected body for an unknown route",
        (request(b"POST /nowhere HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 3"),),
        Outcome((404,), CLOSED),
    ),
    Row(
        "an expected body for an unknown method",
        (request(b"PATCH /echo/{row} HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 3"),),
        Outcome((405,), CLOSED),
    ),
    Row(
        "an expected body above the limit",
        (post(b"Expect: 100-continue", b"Content-Length: 1048577"),),
        Outcome((413,), CLOSED),
    ),
    Row(
        "an expected chunked body for an unknown route",
        (request(b"POST /nowhere HTTP/1.1", b"Expect: 100-continue", b"Transfer-Encoding: chunked"),),
        Outcome((404,), CLOSED),
    ),
    Row(
        "an expected body, and the next request at once",
        (request(b"POST /nowhere HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 60"), AWAIT_ANSWER, get()),
        Outcome((404,), CLOSED),
    ),
    Row(
        "an expected body that came unasked",
        (request(b"POST /nowhere HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),),
        Outcome((404,), KEPT),
    ),
    Row(
        "an answer before the body",
        (request(b"POST /early/{row} HTTP/1.1", b"Content-Length: 3"), AWAIT_EARLY_ANSWER, b"abc"),
        Outcome((200,), KEPT, ("POST",)),
    ),
    Row(
        "an answer before the chunked body",
        (
            request(b"POST /early/{row} HTTP/1.1", b"Transfer-Encoding: chunked"),
            AWAIT_EARLY_ANSWER,
            b"3\r\nabc\r\n0\r\n\r\n",
        ),
        Outcome((200,), KEPT, ("POST",)),
    ),
    Row(
        "an answer before the body, and another request",
        (request(b"POST /early/{row} HTTP/1.1", b"Content-Length: 3"), AWAIT_EARLY_ANSWER, b"abc" + get()),
        Outcome((200, 200), KEPT, ("POST", "GET")),
    ),
    Row(
        "an answer before an expected body that the service does not read",
        (request(b"POST /early/{row} HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 3"),),
        Outcome((200,), CLOSED, ("POST",)),
        split=Outcome(
            (100, 200), CLOSED, ("POST",), "the gateway asks for the body, and takes the next request for it", (400,)
        ),
    ),
    Row(
        "an answer before a chunked body that breaks",
        (request(b"POST /early/{row} HTTP/1.1", b"Transfer-Encoding: chunked"), AWAIT_EARLY_ANSWER, b"x\r\n\r\n"),
        Outcome((200,), CLOSED, ("POST",)),
    ),
]

LEAVING = [
    closed("a half-closed connection without a request", HALF_CLOSE),
    closed("a half-closed connection in the request line", b"GET /echo", HALF_CLOSE),
    closed("a half-closed connection in the fields", get()[:-2], HALF_CLOSE),
    closed("a half-closed connection after an empty line", b"\r\n", HALF_CLOSE),
    closed("a half-closed connection in a body", post(b"Content-Length: 3", body=b"ab"), HALF_CLOSE),
    closed("a half-closed connection in a chunk", chunked(b"3\r\nab"), HALF_CLOSE),
    closed("a half-closed connection between chunks", chunked(b"3\r\nabc\r\n"), HALF_CLOSE),
    closed("a half-closed connection in trailers", chunked(b"0\r\nX-Note: a"), HALF_CLOSE),
    closed(
        "a half-closed connection in a body under way",
        post(b"Content-Length: 3", body=b"ab"),
        AWAIT_ARRIVAL,
        HALF_CLOSE,
    ),
    Row(
        "a half-closed connection instead of an expected body",
        (post(b"Expect: 100-continue", b"Content-Length: 3"), AWAIT_ANSWER, HALF_CLOSE),
        Outcome((100,), CLOSED),
    ),
    closed("a half-closed connection in a handshake", handshake()[:-2], HALF_CLOSE),
    Row(
        "a half-closed connection after an answer", (get(), AWAIT_ANSWER, HALF_CLOSE), Outcome((200,), CLOSED, ("GET",))
    ),
    Row(
        "a half-closed connection in the second request",
        (get(), AWAIT_ANSWER, get()[:20], HALF_CLOSE),
        Outcome((200,), CLOSED, ("GET",)),
    ),
]

SLOW_HEADS = [
    Row(name, sent, Outcome((408,), CLOSED), is_slow=True)
    for name, sent in (
        ("a connection without a request", ()),
        ("empty lines only", (b"\r\n",)),
        ("a part of the method", (b"GE",)),
        ("a part of the request line", (b"GET /echo/{row} HT",)),
        ("a request line without fields", (GET_LINE + b"\r\n",)),
        ("a head without its last line", (get()[:-2],)),
        ("a head without its last byte", (get()[:-1],)),
        ("a slow handshake", (handshake()[:-2],)),
        ("a slow handshake with an unknown version", (handshake(version=b"Sec-WebSocket-Version: 7")[:-2],)),
        ("a slow head with a length", (post(b"Content-Length: 3")[:-2],)),
    )
]
SLOW_HEADS += [
    Row("a slow second head", (get(), AWAIT_ANSWER, get()[:-2]), Outcome((200, 408), CLOSED, ("GET",)), is_slow=True),
    Row("a slow head behind a request", (get() + get()[:-2],), Outcome((200, 408), CLOSED, ("GET",)), is_slow=True),
    Row(
        "a slow head behind a POST",
        (post(b"Content-Length: 3", body=b"abc") + b"G",),
        Outcome((200, 408), CLOSED, ("POST abc",)),
        is_slow=True,
    ),
    Row(
        "an answer before a body that does not come",
        (request(b"POST /early/{row} HTTP/1.1", b"Content-Length: 3"),),
        Outcome((200,), CLOSED, ("POST",)),
        is_slow=True,
    ),
]

SLOW_BODIES = [
    Row(name, sent, Outcome((408,), CLOSED), is_slow=True)
    for name, sent in (
        ("a body that does not come", (post(b"Content-Length: 3"),)),
        ("half a body", (post(b"Content-Length: 3", body=b"ab"),)),
        ("half a body of a GET", (get(b"Content-Length: 3") + b"ab",)),
        ("a chunked body that does not come", (chunked(b""),)),
        ("half a chunk size", (chunked(b"3"),)),
        ("half a chunk", (chunked(b"3\r\nab"),)),
        ("a chunk without its line end", (chunked(b"3\r\nabc"),)),
        ("chunks without a last one", (chunked(b"3\r\nabc\r\n"),)),
        ("half a last chunk", (chunked(b"3\r\nabc\r\n0\r\n"),)),
        ("half a trailer", (chunked(b"3\r\nabc\r\n0\r\nX-Note: a"),)),
        (
            "half a body behind an upgrade",
            (post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"a"),),
        ),
    )
]
SLOW_BODIES += [
    Row(
        "half a body in HTTP/1.0",
        (old(b"Content-Length: 3", method=b"POST", body=b"ab"),),
        Outcome((408,), CLOSED),
        is_slow=True,
    ),
    Row(
        "an expected body that does not come",
        (post(b"Expect: 100-continue", b"Content-Length: 3"),),
        Outcome((100, 408), CLOSED),
        is_slow=True,
    ),
    Row(
        "half a body behind a request",
        (get() + post(b"Content-Length: 3", body=b"ab"),),
        Outcome((200, 408), CLOSED, ("GET",)),
        is_slow=True,
    ),
    Row(
        "half a body and a request behind it",
        (post(b"Content-Length: 60", body=get()),),
        Outcome((408,), CLOSED),
        is_slow=True,
    ),
]

GROUPS = {
    "request lines": REQUEST_LINES,
    "hosts": HOSTS,
    "fields": FIELDS,
    "lengths": LENGTHS,
    "codings": CODINGS,
    "broken bodies": BROKEN_BODIES,
    "trailers": TRAILERS,
    "upgrades": UPGRADES,
    "handshakes": HANDSHAKES,
    "pipelines": PIPELINES,
    "connections": CONNECTIONS,
    "hop by hop": HOP_BY_HOP,
    "expectations": EXPECTATIONS,
    "leaving": LEAVING,
    "slow heads": SLOW_HEADS,
    "slow bodies": SLOW_BODIES,
}

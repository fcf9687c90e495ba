"""THE fetcher: everything that comes from the internet comes through here.

Only http and https, certificates checked against the system's (SSL_CERT_FILE honoured), proxies
from HTTPS_PROXY and NO_PROXY, private addresses refused at every redirect (addresses.py), a
deadline on every hop, a bound on every size, and credentials for the host they belong to only.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.request import getproxies

import aiohttp
import msgspec
from yarl import URL

from haneul import __version__
from haneul.base.errors import FetchFailed
from haneul.models.pulling.addresses import CheckedResolver, RefusedAddress

REDIRECTS_MAX = 5
CONNECT_S = 5.0  # name, connection and TLS
IDLE_S = 30.0  # between two reads
TEXT_MAX_BYTES = 16 << 20
READ_BYTES = 1 << 18  # held of each connection before it is read
REDIRECTS = {301, 302, 303, 307, 308}
REASONS = {
    401: "wants a token, or refuses the one it got",
    403: "refuses access; the model may be gated or private",
    404: "has no such model or file",
    416: "does not have that range of the file",
    429: "asks to wait: too many requests",
}


class WrongBytes(FetchFailed):
    """The bytes that came are not the ones that were promised."""


class Text(msgspec.Struct, frozen=True):
    """A small document, the URL it came from in the end, its media type, and its next page."""

    url: str
    media_type: str
    body: bytes
    next_url: str = ""  # as a Link header names it (RFC 8288); "": this is the last


class Fetcher:
    """Owns the connections; use it as an async context manager.

    trusted_hosts (URLs or 'host:port') are the operator's own and may be on a private network.
    """

    def __init__(
        self,
        *,
        trusted_hosts: Iterable[str] = (),
        connect_s: float = CONNECT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._resolver = CheckedResolver([*trusted_hosts, *_proxies()])
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=idle_s)
        self._connect_s, self._idle_s = connect_s, idle_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = await asyncio.to_thread(ssl.create_default_context)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._resolver, ssl=context),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            headers={"User-Agent": f"haneul/{__version__}", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def trust(self, url: str) -> None:
        """Lets a host that the operator configured be on a private network."""
        try:
            self._resolver.trust(url)
        except ValueError as cause:
            raise FetchFailed(f"'{url}' is not the address of a server.") from cause

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer after redirects, its status below 400; its body is still to be read.

        Credentials are headers for the URL's own origin; they go to no other. Raises FetchFailed,
        also for what goes wrong while the body is read inside the block.
        """
        start = _web_url(url)
        target = start
        try:
            for _ in range(REDIRECTS_MAX + 1):
                own = credentials if target.origin() == start.origin() else None
                answer = await self._get(target, {**(headers or {}), **(own or {})})
                if answer.status not in REDIRECTS or "Location" not in answer.headers:
                    break
                answer.close()
                target = _next(target, answer.headers["Location"])
            else:
                raise FetchFailed(f"{start.host} redirects more than {REDIRECTS_MAX} times.")
            try:
                _check_status(answer)
                yield answer
            finally:
                answer.close()
        except (aiohttp.ClientError, RefusedAddress, TimeoutError, ssl.SSLError) as cause:
            raise FetchFailed(self._reason(target, cause)) from cause

    async def get_text(
        self,
        url: str,
        *,
        accept: str = "*/*",
        credentials: Mapping[str, str] | None = None,
        limit_bytes: int = TEXT_MAX_BYTES,
    ) -> Text:
        """A small document, whole. Raises FetchFailed, also beyond the limit."""
        async with self.open(url, headers={"Accept": accept}, credentials=credentials) as answer:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise FetchFailed(f"{answer.url.host} sent a packed answer that was not asked for.")
            body = bytearray()
            async for data in answer.content.iter_any():
                body += data
                if len(body) > limit_bytes:
                    raise FetchFailed(f"{answer.url.host} sent more than {limit_bytes} bytes.")
            following = answer.links["next"]["url"] if "next" in answer.links else ""
            return Text(str(answer.url), answer.content_type, bytes(body), str(following))

    async def get_json(self, url: str, **options: Any) -> Any:
        """A small JSON document. Raises FetchFailed."""
        text = await self.get_text(url, accept="application/json", **options)
        try:
            return msgspec.json.decode(text.body)
        except msgspec.DecodeError as cause:
            raise FetchFailed(f"{URL(url).host} did not answer in JSON.") from cause

    async def _get(self, target: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        assert self._session is not None, "a Fetcher is used within 'async with'"
        self._resolver.check_host(target.host or "", target.port or 0)
        return await self._session.get(target, headers=headers, allow_redirects=False)

    def _reason(self, target: URL, error: BaseException) -> str:
        """What a person is told of a failure on the way."""
        hidden = getattr(error, "os_error", error)
        if isinstance(hidden, RefusedAddress):
            return f"Refused for safety: {hidden}."
        match error:
            case aiohttp.ClientConnectorDNSError():
                return f"{target.host} cannot be found from here (no such name, or no network)."
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                return f"{target.host} has a certificate that this machine does not trust."
            case aiohttp.ConnectionTimeoutError():
                return f"{target.host} did not take the connection within {self._connect_s:g} s."
            case aiohttp.SocketTimeoutError() | TimeoutError():
                return f"{target.host} sent nothing for {self._idle_s:g} s."
            case aiohttp.ClientConnectorError():
                return f"{target.host} cannot be reached: {error.strerror or 'no connection'}."
            case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
                return f"{target.host} cut the connection."
        return f"{target.host} broke the exchange ({type(error).__name__})."


def _proxies() -> list[str]:
    """The proxies of the environment: the operator's own, so they may be on a private network."""
    return [url for scheme, url in getproxies().items() if scheme != "no" and "//" in url]


def _web_url(text: str) -> URL:
    try:
        url = URL(text, encoded="%" in text)
    except ValueError as cause:
        raise FetchFailed(f"'{text}' is not a URL.") from cause
    if url.scheme not in ("http", "https") or not url.host or url.user is not None:
        raise FetchFailed(f"'{text}' is not a plain http or https URL.")
    return url


def _next(target: URL, location: str) -> URL:
    """Where a redirect leads; never from https down to http."""
    try:
        step = target.join(URL(location, encoded=True))
    except ValueError as cause:
        raise FetchFailed(f"{target.host} redirects to something that is not a URL.") from cause
    if target.scheme == "https" and step.scheme != "https":
        raise FetchFailed(f"{target.host} redirects from https to {step.scheme}.")
    return _web_url(str(step))


def _check_status(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 400:
        return
    reason = REASONS.get(answer.status, "failed" if answer.status >= 500 else "refuses")
    wait = answer.headers.get("Retry-After", "")
    raise FetchFailed(
        f"{answer.url.host} {reason} (HTTP {answer.status}).",
        retry_after_s=float(wait) if re.fullmatch(r"\d{1,6}", wait) else None,
        upstream_status=answer.status,
        upstream_code=answer.headers.get("X-Error-Code", "")[:64],  # of Hugging Face's API
    )

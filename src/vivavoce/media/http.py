"""Servers that speak OpenAI's HTTP protocol: one request, tried again where that may help, told of in one sentence."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from vivavoce.errors import InputError

_TRIES = 2
_PASSING = {408, 429, 500, 502, 503, 504}  # status codes after which the same request may succeed


@dataclass(frozen=True)
class Server:
    """An address as `https://host/v1`; `key` is its bearer token, `role` what it is to the user, as "planner".

    `timeout` in seconds, of each of two tries. Raises InputError where `url` is no http or https address.
    """

    url: str
    role: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"The {self.role}'s address {self.url!r} is none: give one that begins with https:// or http://."
            )

    def at(self, path: str) -> str:
        """The full address of a path of the protocol, as "chat/completions"."""
        return f"{self.url.rstrip('/')}/{path}"

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The reply to a body sent as JSON. Raises InputError where the server does not answer or refuses."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.at(path), json.dumps(body).encode(), headers, method="POST")
        reason = ""
        for _ in range(_TRIES):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    return reply.read()
            except urllib.error.HTTPError as error:
                said = error.read(200).decode("utf-8", "replace")
                reason = f"status {error.code}: {' '.join(said.split())}"
                if error.code not in _PASSING:
                    break
            except (OSError, http.client.HTTPException) as error:  # refused, unknown host, timed out, cut off
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise InputError(
            f"The {self.role} at {self.at(path)} does not answer ({reason}): check its address, model and key."
        )

    def chat(self, body: dict[str, Any]) -> str:
        """The text that a chat completion with that body answers with, "" where it answers none.

        Raises InputError where the server does not answer, refuses, or speaks another protocol.
        """
        reply = self.post("chat/completions", body)
        try:
            answer = json.loads(reply)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"{self.at('chat/completions')} does not answer in the form of OpenAI's chat completions: "
                "check the address."
            ) from error
        return answer or ""

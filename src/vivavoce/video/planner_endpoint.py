"""A planner behind a URL: any server that speaks OpenAI's chat completions and takes images and sound."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
import wave
from typing import Any

from vivavoce.errors import InputError
from vivavoce.types import SPEECH_RATE
from vivavoce.video.planner import OmniModel, Question

_TRIES = 2
_ANSWER_TOKENS = 512
_PASSING = {408, 429, 500, 502, 503, 504}  # status codes after which the same request may succeed


class Endpoint(OmniModel):
    """The model of that name at an OpenAI-compatible address, as `https://host/v1`; `key` is its bearer token."""

    def __init__(self, url: str, model: str, *, key: str | None = None, timeout: float = 120.0) -> None:
        """`timeout` in seconds, of each of two tries. Raises InputError where `url` is no http or https address."""
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"The planner's address {url!r} is none: give one that begins with https:// or http://."
            )
        self.url = url.rstrip("/") + "/chat/completions"
        self.model = model
        self.timeout = timeout
        self.headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )

    def answer(self, question: Question) -> str:
        """Its answer. Raises InputError where the server does not answer, refuses, or speaks another protocol."""
        body = json.dumps(self._request(question)).encode()
        request = urllib.request.Request(self.url, body, self.headers, method="POST")
        reply = self._sent(request)
        try:
            answer = json.loads(reply)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"{self.url} does not answer in the form of OpenAI's chat completions: check the address."
            ) from error
        return answer or ""

    def _sent(self, request: urllib.request.Request) -> bytes:
        """The reply to a request that is tried again, once, after a failure that may pass."""
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
            except OSError as error:  # refused, unknown host, timed out
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise InputError(
            f"The planner at {self.url} does not answer ({reason}): check its address, model and key."
        )

    def _request(self, question: Question) -> dict[str, Any]:
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_jpeg(question)}"}},
            {"type": "input_audio", "input_audio": {"data": _wav(question), "format": "wav"}},
            {"type": "text", "text": question.prompt},
        ]
        messages = [{"role": "user", "content": content}]
        return {"model": self.model, "messages": messages, "max_tokens": _ANSWER_TOKENS, "temperature": 0}


def _jpeg(question: Question) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(question.image).save(buffer, "JPEG", quality=92)
    return base64.b64encode(buffer.getvalue()).decode()


def _wav(question: Question) -> str:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes((question.speech.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()

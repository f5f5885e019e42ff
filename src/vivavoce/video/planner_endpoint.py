"""A planner behind a URL: any server that speaks OpenAI's chat completions and takes images and sound."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

from vivavoce.media.http import Server
from vivavoce.types import SPEECH_RATE
from vivavoce.video.planner import OmniModel, Question

_ANSWER_TOKENS = 512


class Endpoint(OmniModel):
    """The model of that name at an OpenAI-compatible address, as `https://host/v1`; `key` is its bearer token."""

    def __init__(self, url: str, model: str, *, key: str | None = None, timeout: float = 120.0) -> None:
        """`timeout` in seconds, of each of two tries. Raises InputError where `url` is no http or https address."""
        self.server = Server(url, "planner", key, timeout)
        self.model = model

    def answer(self, question: Question) -> str:
        """Its answer. Raises InputError where the server does not answer, refuses, or speaks another protocol."""
        return self.server.chat(self._request(question))

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

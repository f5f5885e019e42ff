"""The planner behind a URL against a server on this machine: what is sent, tried again, and refused."""

import base64
import io
import json
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

from vivavoce.errors import InputError
from vivavoce.video.planner import Question
from vivavoce.video.planner_endpoint import Endpoint

PICTURE = np.zeros((24, 40, 3), np.uint8) + np.array([200, 30, 60], np.uint8)
SPEECH = np.linspace(-1, 1, 1600).astype(np.float32)
QUESTION = Question("What happens?", PICTURE, SPEECH)


class Server:
    """Answers with the given replies, one after another; keeps what it was asked."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, bytes]] = []
        self.requests: list[tuple[str, dict[str, str], dict]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server looks for
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), json.loads(body)))
                status, reply = server.replies.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *args: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1/"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def says(text: str | None) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def test_the_model_is_asked_with_picture_sound_and_prompt(server: Server):
    server.replies = [says("She nods.")]
    assert Endpoint(server.url, "some-omni", key="secret").answer(QUESTION) == "She nods."
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "some-omni"
    ((message),) = body["messages"]
    parts = {part["type"]: part for part in message["content"]}
    assert parts["text"]["text"] == "What happens?"
    head, picture = parts["image_url"]["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))), np.int16)
    assert np.abs(decoded - PICTURE).max() < 6
    assert parts["input_audio"]["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(parts["input_audio"]["input_audio"]["data"]))) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (1, 16000)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32767
    np.testing.assert_allclose(samples, SPEECH, atol=1 / 32767)


def test_without_a_key_none_is_sent_and_an_empty_answer_is_text(server: Server):
    server.replies = [says(None)]
    assert Endpoint(server.url, "some-omni").answer(QUESTION) == ""
    assert "Authorization" not in server.requests[0][1]


def test_a_passing_failure_is_tried_again_once(server: Server):
    server.replies = [(503, b"busy"), says("She nods.")]
    assert Endpoint(server.url, "some-omni").answer(QUESTION) == "She nods."
    server.replies = [(429, b"slow\ndown"), (500, b"broken"), says("never asked")]
    with pytest.raises(InputError, match="does not answer \\(status 500: broken\\)") as caught:
        Endpoint(server.url, "some-omni").answer(QUESTION)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 4


def test_a_refusal_is_not_tried_again(server: Server):
    server.replies = [(401, b"bad key"), says("never asked")]
    with pytest.raises(InputError, match=r"status 401: bad key.*check its address, model and key"):
        Endpoint(server.url, "some-omni").answer(QUESTION)
    assert len(server.requests) == 1


@pytest.mark.parametrize("reply", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"text": "old"}]}'])
def test_another_protocol_is_refused(server: Server, reply: bytes):
    server.replies = [(200, reply)]
    with pytest.raises(InputError, match="form of OpenAI's chat completions"):
        Endpoint(server.url, "some-omni").answer(QUESTION)


def test_nobody_there():
    with pytest.raises(InputError, match="planner's address 'ftp://x' is none"):
        Endpoint("ftp://x", "some-omni")
    silent = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # accepts, and never answers
    with pytest.raises(InputError, match="timed out"):
        Endpoint(f"http://127.0.0.1:{silent.server_port}", "some-omni", timeout=0.05).answer(QUESTION)
    silent.server_close()
    with pytest.raises(InputError, match="refused"):
        Endpoint(f"http://127.0.0.1:{silent.server_port}", "some-omni").answer(QUESTION)

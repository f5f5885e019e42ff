import json
import random

import pytest
from server import serving

from vivavoce.corpus.synth.text_endpoint import Endpoint
from vivavoce.corpus.synth.text_sources import KINDS, draw, held_out
from vivavoce.errors import InputError


def says(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def server():
    with serving() as made:
        yield made


def test_the_model_is_asked_for_the_kind_after_an_example(server):
    server.replies = [says(' "Well,\n hello  there,\u0007 Ben!" ')]
    source = Endpoint(server.url, "some-model", key="secret")
    assert source.utterance(random.Random(1), "greeting") == "Well, hello there, Ben!"
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "some-model"
    prompt = body["messages"][0]["content"]
    assert 'the kind "greeting"' in prompt
    assert "secret" not in repr(source.server)


def test_requests_differ_and_the_same_generator_asks_the_same(server):
    server.replies = [says("Hello.")]
    for seed in (1, 1, 2):
        Endpoint(server.url, "some-model").utterance(random.Random(seed), KINDS[0])
    one, again, other = (body for _, _, body in server.requests)
    assert one == again
    assert one["seed"] != other["seed"]
    assert one["messages"] != other["messages"]


def test_what_is_held_out_is_not_learned_from(server):
    texts = [
        f"{word} morning." for word in ("Good", "Fine", "Nice", "Cold", "Warm", "Wet", "Dry", "Long", "Late")
    ]
    texts = sorted(texts, key=held_out, reverse=True)
    server.replies = [says(text) for text in texts]
    assert draw(Endpoint(server.url, "m"), random.Random(0), "greeting") == next(
        t for t in texts if not held_out(t)
    )


def test_an_empty_answer_is_asked_for_again(server):
    server.replies = [says(None), says(' "" '), says("Hello.")]
    assert Endpoint(server.url, "m").utterance(random.Random(0), "question") == "Hello."
    server.replies = [says("")]
    with pytest.raises(InputError, match=r"'m' at http.* answers nothing that can be spoken"):
        Endpoint(server.url, "m").utterance(random.Random(0), "question")
    assert len(server.requests) == 6


def test_a_chatterbox_is_cut_off(server):
    server.replies = [says("word " * 500)]
    assert len(Endpoint(server.url, "m").utterance(random.Random(0), "lecture").split()) == 60


def test_a_passing_failure_is_tried_again_once(server):
    server.replies = [(503, b"busy"), says("Hello.")]
    assert Endpoint(server.url, "m").utterance(random.Random(0), "lecture") == "Hello."
    server.replies = [(429, b"slow\ndown"), (500, b"broken"), says("never asked")]
    with pytest.raises(
        InputError, match=r"The language model at .* does not answer \(status 500: broken\)"
    ) as caught:
        Endpoint(server.url, "m").utterance(random.Random(0), "lecture")
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 4


def test_a_refusal_is_not_tried_again(server):
    server.replies = [(401, b"bad key")]
    with pytest.raises(InputError, match=r"status 401: bad key.*check its address, model and key"):
        Endpoint(server.url, "m").utterance(random.Random(0), "lecture")
    assert len(server.requests) == 1


@pytest.mark.parametrize("reply", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"text": "old"}]}'])
def test_another_protocol_is_refused(server, reply):
    server.replies = [(200, reply)]
    with pytest.raises(InputError, match="form of OpenAI's chat completions"):
        Endpoint(server.url, "m").utterance(random.Random(0), "lecture")


def test_nobody_there():
    with pytest.raises(InputError, match="The language model's address 'ftp://x' is none"):
        Endpoint("ftp://x", "m")
    with serving() as gone:
        pass
    with pytest.raises(InputError, match="refused"):
        Endpoint(gone.url, "m").utterance(random.Random(0), "lecture")

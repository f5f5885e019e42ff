"""What a clip becomes for training, beside what the network is told in drawing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_network import LATENTS, example

import tiny
from test_methods import FRAMES, clip, scene
from vivavoce.features.loudness import leveled
from vivavoce.features.refocusing import pose_dropout
from vivavoce.methods.load import load


def test_an_examples_pose_is_dropped_by_the_loudness_of_its_four_frames():
    _, conditions = example("apoavatar")
    speech = scene().speech
    by_frame = pose_dropout(speech.samples * np.float32(speech.gain), 25.0, FRAMES)
    wanted = [by_frame[0]] + [by_frame[4 * i - 3 : 4 * i + 1].mean() for i in range(1, LATENTS)]
    np.testing.assert_allclose(conditions["pose_drop"][0], wanted, rtol=1e-6)


def test_an_example_that_lacks_what_it_is_trained_on_is_refused():
    method, names = load(tiny.method("physavatar")), {"states": "physical states", "photo": "photo"}
    for lacking, name in names.items():
        with pytest.raises(ValueError, match=f"needs its {name}"):
            method.network.example(method.make, replace(scene(), **{lacking: None}), clip())


def test_a_training_example_may_be_given_frames_as_a_chunk_is():
    method = load(tiny.method("physavatar"))
    n, make = method.network, method.make
    pictures = clip()
    _, free = n.example(make, scene(), pictures)
    _, given = n.example(make, scene(), pictures, [range(0, 5), range(13, 17)])
    z, references = 16, 1
    mask = given["control"][0, 2 * z :, references:].amax(dim=(0, 2, 3))
    assert free["control"][0, 2 * z :, references:].min() == 1
    assert mask[0] == 0
    assert mask[-1] == 0
    assert mask[2] == 1
    assert not torch.equal(free["control"][:, :z], given["control"][:, :z])


def test_a_pose_is_dropped_alike_however_loud_the_recording_is():
    method = load(tiny.method("apoavatar"))
    quiet = replace(scene(), speech=leveled(scene().speech.samples * np.float32(0.1)))
    (_, one), (_, other) = (method.network.example(method.make, s, clip()) for s in (scene(), quiet))
    torch.testing.assert_close(one["pose_drop"], other["pose_drop"], rtol=1e-4, atol=1e-5)


def longer(frames=33):
    """A scene of more frames than an example has, with everything."""
    noise = np.random.default_rng(5)
    return scene(frames=frames), noise.integers(0, 256, (frames, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("name", ["physavatar", "actavatar", "apoavatar"])
def test_a_span_hears_its_neighbours_as_a_chunk_of_a_long_video_does(name):
    from vivavoce.video.maker import Span

    whole, pictures = longer()
    method = load(tiny.method(name))
    n, make = method.network, method.make
    _, told = n.example(make, whole, pictures[8:25], first=8)
    drawn = n.conditions(make, whole, Span(8, 17))
    assert torch.equal(told["audio"], drawn["audio"])
    cut = replace(whole, speech=leveled(whole.speech.samples[8 * 640 : 25 * 640]), frames=17)
    alone = n.conditions(make, cut, Span(0, 17))
    assert not torch.allclose(told["audio"][:, 0], alone["audio"][:, 0], atol=1e-3)


def test_what_is_known_of_a_span_is_its_own_part():
    whole, pictures = longer()
    for name, key in (("physavatar", "states"), ("apoavatar", "pose"), ("apoavatar", "pose_drop")):
        method = load(tiny.method(name))
        n, make = method.network, method.make
        _, early = n.example(make, whole, pictures[:17])
        _, late = n.example(make, whole, pictures[16:33], first=16)
        assert early[key].shape == late[key].shape
        assert not torch.equal(early[key], late[key])
        if key == "pose":
            assert torch.equal(early[key][:, :, 16], late[key][:, :, 0])


def test_errors_count_by_the_mean_focus_of_a_latents_four_frames():
    method = load(tiny.method("physavatar", focus=True))
    weights = np.random.default_rng(0).uniform(1, 5, (FRAMES, 4, 4)).astype(np.float32)
    _, conditions = method.network.example(method.make, replace(scene(), focus=weights), clip())
    found = conditions["focus"][0, 0].numpy()
    assert found.shape == (1 + LATENTS, 4, 4)
    assert (found[0] == 1).all()  # the reference picture
    np.testing.assert_allclose(found[1], weights[0])
    np.testing.assert_allclose(found[3], weights[5:9].mean(axis=0), rtol=1e-6)
    plain = load(tiny.method("physavatar", focus=False))
    assert "focus" not in plain.network.example(plain.make, replace(scene(), focus=weights), clip())[1]

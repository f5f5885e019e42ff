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

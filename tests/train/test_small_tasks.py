"""The losses of autoencoder and text encoder against formulas, and the data that they are trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from vivavoce.corpus.captions import Captions
from vivavoce.corpus.windows import Stretch
from vivavoce.train.autoencoder import AutoencoderTask
from vivavoce.train.language import LanguageTask
from vivavoce.train.randomness import generator
from vivavoce.train.recipes import VAE_MINIATURE
from vivavoce.video.text import miniature_text_encoder

TINY = {
    "base_dim": 4,
    "z_dim": 16,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 0,
    "temperal_downsample": [True, True],
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
}
WHOLE = replace(VAE_MINIATURE.stages[0], crop=None)


class Listed(list):
    """Examples that lie in a list."""

    fingerprint = "listed"


def stretches(count=2, frames=5, size=32):
    rng = np.random.default_rng(0)
    return Listed(
        Stretch(
            f"clip {k}",
            rng.integers(0, 256, (frames, size, size, 3), np.uint8),
            rng.uniform(1, 5, (frames, size, size)).astype(np.float32),
        )
        for k in range(count)
    )


def test_the_losses_of_an_autoencoder_are_their_formulas():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**TINY)
    task = AutoencoderTask(vae, WHOLE, stretches())
    batch = task.batch(stretches(), [generator(0, 0, 0, k) for k in range(2)])
    found = {name: term.detach().double() for name, term in task.losses(batch).items()}
    with torch.no_grad():
        posterior = vae.encode(batch.video).latent_dist
        drawn = vae.decode(posterior.mean + posterior.std * batch.noise).sample
    error = (drawn - batch.video).double().numpy()
    focus = batch.focus.double().numpy()
    for k in range(2):
        assert found["pixels"][k] == pytest.approx((np.abs(error[k]) * focus[k]).mean(), rel=1e-5)
        total, e, w = 0.0, error[k], focus[k]
        for scale in range(3):
            if scale:
                pooled = [
                    v.reshape(*v.shape[:2], v.shape[2] // 2, 2, v.shape[3] // 2, 2).mean((3, 5))
                    for v in (e, w)
                ]
                e, w = pooled
            total += (np.abs(np.diff(e, axis=2)) * w[..., :-1, :]).mean()
            total += (np.abs(np.diff(e, axis=3)) * w[..., :-1]).mean()
        assert found["edges"][k] == pytest.approx(total, rel=1e-5)
        m, v = posterior.mean[k].double(), posterior.var[k].double()
        divergence = torch.distributions.kl_divergence(
            torch.distributions.Normal(m, v.sqrt()), torch.distributions.Normal(0.0, 1.0)
        )
        assert found["prior"][k] == pytest.approx(divergence.mean().item(), rel=1e-4)


def test_an_examples_noise_is_its_own():
    task = AutoencoderTask(AutoencoderKLWan(**TINY), WHOLE, stretches())
    one = task.batch(stretches(2), [generator(0, 0, 0, k) for k in range(2)])
    other = task.batch(stretches(2)[::-1], [generator(0, 0, 0, k) for k in (1, 0)])
    assert torch.equal(one.noise, other.noise.flip(0))
    assert torch.equal(one.video, other.video.flip(0))


def test_squares_are_cut_where_one_looks():
    stage = replace(VAE_MINIATURE.stages[0], crop=16)
    task = AutoencoderTask(AutoencoderKLWan(**TINY), stage, stretches())
    whole = stretches(1, frames=1, size=40)[0]
    rows, columns = np.mgrid[:40, :40]
    marked = np.stack([rows, columns, rows], axis=2).astype(np.uint8)[None]
    seen = np.zeros((40, 40))
    for k in range(60):
        focus = np.full((1, 40, 40), 1e-3, np.float32)
        focus[:, 30:34, 4:10] = 5.0
        batch = task.batch([replace(whole, frames=marked, focus=focus)], [generator(0, 0, k, 0)])
        corner = ((batch.video[0, :2, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert all(at % 8 == 0 and 0 <= at <= 24 for at in corner)
        top, left = corner
        expected = marked[0, top : top + 16, left : left + 16].astype(np.float32) / 127.5 - 1
        assert np.allclose(batch.video[0, :, 0].permute(1, 2, 0).numpy(), expected, atol=1e-6)
        square = focus[0, top : top + 16, left : left + 16] ** 2
        assert np.allclose(batch.focus[0, 0, 0].numpy(), square / square.mean(), rtol=1e-4)
        seen[top : top + 16, left : left + 16] += 1
    assert seen[30:34, 4:10].sum() > 0.9 * 60 * 24 / 2  # each square has the pixel that it was drawn for
    assert seen[8:16, 24:].max() == 0
    assert np.count_nonzero([seen[24, 0], seen[16, 8], seen[24, 8]]) == 3  # and it lies anywhere in it


def test_squares_that_do_not_fit_are_refused():
    for side in (12, 40):
        task = AutoencoderTask(
            AutoencoderKLWan(**TINY), replace(VAE_MINIATURE.stages[0], crop=side), stretches()
        )
        with pytest.raises(ValueError, match=f"squares of {side} do not fit pictures of 32x32"):
            task.batch(stretches(1), [generator(0, 0, 0, 0)])


def test_hidden_words_are_told_by_cross_entropy():
    encoder = miniature_text_encoder(16, length=256)
    task = LanguageTask(encoder)
    captions = [Captions(10)[k] for k in range(3)]
    batch = task.batch(captions, [generator(0, 0, 0, k) for k in range(3)])
    assert batch.hidden.any()
    assert not (batch.hidden & (batch.words == 0)).any()
    found = task.losses(batch)["hidden"].detach()
    with torch.no_grad():
        scores = torch.log_softmax(task.module(batch).double(), dim=-1)
    for k in range(3):
        places = batch.hidden[k].nonzero()[:, 0]
        told = -scores[k, places, batch.ids[k, places]]
        assert found[k].item() == pytest.approx(told.mean().item() if len(places) else 0.0, rel=1e-4)


def test_what_is_hidden_is_not_seen():
    encoder = miniature_text_encoder(16, length=256)
    task = LanguageTask(encoder)
    batch = task.batch([Captions(10)[0]], [generator(0, 0, 0, 0)])
    other = type(batch)(torch.where(batch.hidden, 7, batch.ids), batch.words, batch.hidden)
    with torch.no_grad():
        assert torch.equal(task.module(batch), task.module(other))


def test_a_language_is_learned_from_captions():
    torch.manual_seed(0)
    task = LanguageTask(miniature_text_encoder(32, length=160))
    captions = Captions(64)
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=3e-3)
    told = []
    for step in range(60):
        places = [(8 * step + k) % 64 for k in range(8)]
        batch = task.batch([captions[p] for p in places], [generator(0, 0, step, k) for k in range(8)])
        loss = task.losses(batch)["hidden"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(loss.item())
    assert np.mean(told[-5:]) < 0.7 * told[0]


def test_captions_are_the_same_again_and_differ_from_each_other():
    captions = Captions(50, seed=4)
    assert captions[7] == Captions(50, seed=4)[7]
    assert len({c.blocks for c in (captions[k] for k in range(50))}) > 45
    assert captions.fingerprint != Captions(50, seed=5).fingerprint
    assert any("[" in block for k in range(50) for block in captions[k].blocks[1:])  # told with their times

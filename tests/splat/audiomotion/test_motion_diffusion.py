"""The whole motion model: known distributions over many windows, guidance, bounds, loss, determinism, files, sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from motions import TINY, Known, clip_of, smooth, tiny
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vivavoce.errors import InputError, OutputError, WeightsError
from vivavoce.splat.audiomotion.config import AUDIOAVATAR, MINIATURE, MotionDiffusionConfig
from vivavoce.splat.audiomotion.diffusion import MotionBatch, MotionDiffusion
from vivavoce.splat.audiomotion.windows import frame_noise

CHANNELS = 200


def speech(frames, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, 3)).astype(np.float32)


def motion_of(model, audio, **options):
    return torch.cat(list(model.sample(audio, **options)))


def knowing(length=6.0, mean=0.0, *, both=False, size=1.0, **changes):
    """A model whose network is a known distribution, with the paper's windows and many channels."""
    config = replace(TINY, code=CHANNELS - 9, layout=AUDIOAVATAR.layout, noise_steps=200, steps=10)
    config = replace(config, perceiver=replace(config.perceiver, patch=25), guidance=1.0, **changes)
    model = MotionDiffusion(config)
    covariance = size**2 * smooth(config.layout.length, length)
    model.transformer = Known(config, covariance, mean, both=both)
    return model


def test_a_smooth_gaussian_process_has_its_mean_and_variance_and_no_seams_over_many_windows():
    motion = motion_of(knowing(mean=0.5, steps=20), speech(575)).double().numpy() - 0.5
    assert abs(motion.mean()) < 0.05
    within, mended = motion[:75], np.concatenate([motion[75 * k + 25 : 75 * k + 50] for k in range(1, 6)])
    assert 0.9 < within.var() < 1.15
    assert 0.9 < mended.var() < 1.15
    covariance = smooth(125, 6.0)
    for order in (1, 2):  # speed and acceleration, as the process has them
        weights = np.diff(np.eye(order + 1), order, axis=0)[0]
        expected = weights @ covariance[: order + 1, : order + 1] @ weights
        steps = (np.diff(motion, order, axis=0) ** 2).mean(1)
        assert 0.7 * expected < steps.mean() < 1.3 * expected
        assert steps.max() < 1.8 * expected


def test_who_holds_one_of_two_postures_holds_it_in_every_window():
    motion = motion_of(knowing(mean=1.0, both=True, size=0.2), speech(425)).numpy()
    postures = np.sign(motion[[40, 115, 190, 265, 340, 415]])
    assert (postures == postures[0]).mean() > 0.99
    assert 0.35 < (postures > 0).mean() < 0.65
    assert (np.abs(motion) < 0.3).mean() < 0.01  # nor does it pass between the two
    assert np.abs(motion).mean() == pytest.approx(1, abs=0.05)


def test_short_speech_is_one_whole_window():
    model = tiny(guidance=1.0)
    audio = speech(30)
    motion = motion_of(model, audio, seed=4)
    with torch.no_grad():
        features = torch.from_numpy(audio)[None]
        sound = model.transformer.hear(features, model.audio_encoder(features))
        expected = model.schedule.sample(
            lambda x, step: model.transformer(x, torch.full((1, 30), step), sound),
            frame_noise(4, 0, 30, 11)[None],
            4,
        )[0]
    assert torch.equal(motion, expected)
    shorter = motion_of(model, audio[:17], seed=4)
    mirrored = np.concatenate([audio[:17], audio[3:16][::-1]])
    assert torch.equal(shorter, motion_of(model, mirrored, seed=4)[:17])


def test_blocks_and_repetition_change_nothing_and_seeds_do():
    model, audio = tiny(), speech(100)
    whole = motion_of(model, audio, seed=1)
    assert whole.shape == (100, 11)
    cut = [audio[:1], audio[1:1], audio[1:64], audio[64:]]
    assert torch.equal(motion_of(model, iter(cut), seed=1), whole)
    assert torch.equal(motion_of(model, audio, seed=1), whole)
    assert (motion_of(model, audio, seed=2) - whole).abs().max() > 0.01


def test_guidance_moves_away_from_what_no_speech_gives():
    model, audio = tiny(), speech(30)
    heard, unheard, twice = (motion_of(model, audio, steps=1, guidance=g) for g in (1.0, 0.0, 2.5))
    torch.testing.assert_close(twice, unheard + 2.5 * (heard - unheard), rtol=1e-4, atol=1e-4)
    other = motion_of(model, speech(30, seed=9), steps=1, guidance=0.0)
    assert torch.equal(other, unheard)
    assert (heard - unheard).abs().max() > 0.01


def test_an_identity_changes_the_motion():
    model = tiny(identity=2)
    one, other = (motion_of(model, speech(30), identity=torch.tensor(v)) for v in ([1.0, 0.0], [0.0, 1.0]))
    assert (one - other).abs().max() > 0.01


def test_whatever_the_network_says_motion_stays_within_what_it_was_fitted_to():
    model = tiny(guidance=30.0)
    model.space.fit(torch.zeros(1, 3), [clip_of(80)])
    vectors = motion_of(model, speech(200))
    assert (vectors >= model.space.low).all()
    assert (vectors <= model.space.high).all()
    assert (vectors == model.space.high).any()


def test_an_untrained_model_gives_the_mean_motion():
    model = MotionDiffusion(TINY)
    model.space.fit(torch.zeros(1, 3), [clip_of(80)])
    vectors = motion_of(model, speech(70))
    assert (vectors == 0).all()
    moved = model.space.decode(vectors)[0][:, 0, :, 3]
    torch.testing.assert_close(10 * moved, model.space.mean[:3].expand(70, 3))


def test_steps_and_seeds_out_of_bounds_are_told_before_anything_is_drawn():
    model = tiny()
    with pytest.raises(InputError, match="21 denoising steps are out of bounds: take 1 to 20"):
        model.stream(steps=21)
    with pytest.raises(InputError, match="The seed -1 is negative"):
        model.stream(seed=-1)


def batch_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return MotionBatch(
        torch.randn(count, 30, 11, generator=generator), torch.randn(count, 30, 3, generator=generator)
    )


def test_the_loss_of_an_untrained_model_is_the_variance_of_what_is_not_given():
    batch = batch_of(64)
    without = MotionDiffusion(replace(TINY, given=0.0)).loss(batch)
    assert without.loss.item() == pytest.approx(batch.motion.square().mean().item(), rel=1e-5)
    assert (without.estimate == 0).all()
    given = MotionDiffusion(replace(TINY, given=1.0)).loss(batch)
    assert torch.equal(given.estimate[:, :5], batch.motion[:, :5])
    assert (given.estimate[:, 5:] == 0).all()
    expected = batch.motion[:, 5:].square().sum() / batch.motion.numel()
    assert given.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_half_of_the_items_are_given_frames_and_steps_are_uniform():
    model = MotionDiffusion(TINY)
    denoised = model.loss(batch_of(600))
    given = (denoised.estimate[:, 0] != 0).any(1)
    assert 0.43 < given.float().mean() < 0.57
    counts = torch.bincount(denoised.step, minlength=20)
    assert len(counts) == 20
    assert counts.min() > 10


def test_speech_is_dropped_as_often_as_the_config_says():
    batch = batch_of(1)
    louder = replace(batch, audio=batch.audio + 5)

    def depends(dropout):
        model = tiny(dropout=dropout, given=0.0)
        return [
            not torch.equal(
                *(model.loss(b, generator=torch.Generator().manual_seed(k)).estimate for b in (batch, louder))
            )
            for k in range(24)
        ]

    assert all(depends(0.0))
    assert not any(depends(1.0))
    assert 5 < sum(depends(0.5)) < 19


def test_the_same_generator_gives_the_same_loss_and_gradients_reach_speech_encoder_and_transformer():
    model, batch = tiny(dropout=0.0), batch_of(4)
    losses = [model.loss(batch, generator=torch.Generator().manual_seed(5)).loss for _ in range(2)]
    assert losses[0] == losses[1]
    losses[0].backward()
    for part in (model.audio_encoder, model.transformer):
        missing = [name for name, p in part.named_parameters() if p.grad is None or not p.grad.abs().any()]
        assert missing in ([], ["null"])


def test_a_few_dozen_steps_learn_a_motion_that_follows_the_speech():
    torch.manual_seed(0)
    model = MotionDiffusion(replace(TINY, given=0.3))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        batch = batch_of(8, seed=int(torch.randint(10_000, (1,), generator=generator)))
        followed = MotionBatch(batch.audio[..., :1].expand(-1, -1, 11), batch.audio)
        loss = model.loss(followed, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])
    audio = speech(100)
    motion = motion_of(model.eval(), audio, guidance=1.0).numpy()
    assert np.corrcoef(motion.mean(1), audio[:, 0])[0, 1] > 0.9


def test_a_file_holds_config_statistics_and_weights(tmp_path):
    model = tiny()
    model.space.fit(torch.ones(1, 3), [clip_of(50)])
    model.save(tmp_path / "motion.safetensors")
    again = MotionDiffusion.load(tmp_path / "motion.safetensors")
    assert again.config == model.config
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert torch.equal(motion_of(again, speech(50)), motion_of(model.eval(), speech(50)))


def test_files_that_do_not_fit_are_told(tmp_path):
    path, model = tmp_path / "motion.safetensors", tiny()
    with pytest.raises(OutputError, match="does not end in a known suffix"):
        model.save(tmp_path / "motion.pt")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="holds no motion model: give the file"):
        MotionDiffusion.load(path)
    save_file({"a": torch.zeros(1)}, path, {"vivavoce.audiomotion": '{"width": 3}'})
    with pytest.raises(WeightsError, match=r"^The header of .* cannot be read"):
        MotionDiffusion.load(path)
    model.save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    del state["space.mean"]
    save_file(state, path, metadata)
    with pytest.raises(WeightsError, match=r"it lacks: space\.mean"):
        MotionDiffusion.load(path)


def size_of(config):
    with torch.device("meta"):
        return sum(p.numel() for p in MotionDiffusion(config).parameters())


def test_the_sizes_of_the_models():
    assert 90e6 < size_of(AUDIOAVATAR) < 110e6
    assert 2e6 < size_of(MINIATURE) < 3e6


def test_the_papers_numbers():
    for config in (AUDIOAVATAR, MINIATURE):
        assert (config.layout.length, config.noise_steps, config.perceiver.patch) == (125, 200, 25)
        assert config.channels == 9 * 55


def test_a_config_survives_json_and_wrong_sizes_are_refused():
    assert MotionDiffusionConfig.from_json(MINIATURE.to_json()) == MINIATURE
    with pytest.raises(ValueError, match="even parts"):
        replace(TINY, heads=16)
    with pytest.raises(ValueError, match="no whole patches of 4"):
        replace(TINY, perceiver=replace(TINY.perceiver, patch=4))

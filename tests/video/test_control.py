"""VACE's control as diffusers' own pipeline builds it, and given latent frames against their formula."""

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_vace import WanVACEPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from PIL import Image

import tiny
from vivavoce.video.control import control_latents, given_frames, grey_latents, placed
from vivavoce.video.vae import encoded, from_pictures

KINDS = {
    "2.1": tiny.VAE,
    "2.2": {
        "base_dim": 8,
        "decoder_base_dim": 8,
        "z_dim": 48,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
        "latents_mean": np.linspace(-1, 1, 48).tolist(),
        "latents_std": np.linspace(0.5, 2, 48).tolist(),
    },
}
HEIGHT, WIDTH = 32, 64
FRAMES = 17
BOTH_ENDS = np.array([True] * 5 + [False] * 8 + [True] * 4)
"""PhysAvatar's even chunks: five frames given at the start and four at the end."""
GIVEN = {
    "none": np.zeros(FRAMES, bool),
    "both ends": BOTH_ENDS,
    "first": np.arange(FRAMES) == 0,
    "all": np.ones(FRAMES, bool),
}


def vae_of(kind: str, **changes: object) -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(**KINDS[kind] | changes).eval()


def powers_of_two(kind: str) -> dict[str, list[float]]:
    """Deviations by which to divide and by whose inverse to multiply is the same to the last bit."""
    return {"latents_std": [2.0 ** (i % 5 - 2) for i in range(KINDS[kind]["z_dim"])]}


def pipeline_of(vae: AutoencoderKLWan) -> WanVACEPipeline:
    """diffusers' own, but for the text; it takes every VAE for Wan 2.1's unless it is told."""
    pipeline = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        transformer=WanVACETransformer3DModel(**tiny.VACE),
    )
    pipeline.vae_scale_factor_spatial = vae.config.scale_factor_spatial
    return pipeline


def random_pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


@torch.no_grad()
def of_diffusers(vae, video, mask, references):
    """Control latents as the pipeline's call puts them together."""
    pipeline = pipeline_of(vae)
    latents = pipeline.prepare_video_latents(video, mask, references, None, torch.device("cpu"))
    return torch.cat([latents, pipeline.prepare_masks(mask, references)], dim=1)


def told_to_diffusers(frames, given, reference):
    """Video, mask and references as the pipeline takes them: grey (0) and 1 where there is something to draw."""
    drawn = torch.from_numpy(~given).float()[None, None, :, None, None].expand(1, 3, -1, HEIGHT, WIDTH)
    video = from_pictures(frames).masked_fill(drawn.bool(), 0)
    return video, drawn, [[]] if reference is None else [[from_pictures(reference[None])[0, :, 0]]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("picture", [True, False], ids=["with a picture", "without"])
def test_control_is_that_of_diffusers_bit_for_bit(kind, given, picture):
    vae = vae_of(kind, **powers_of_two(kind))
    frames, reference = random_pictures(FRAMES), random_pictures(1, seed=1)[0] if picture else None
    got = control_latents(vae, reference, frames, given)
    stride = vae.config.scale_factor_spatial
    assert got.shape[1:] == (2 * vae.config.z_dim + stride**2, 5 + picture, HEIGHT // stride, WIDTH // stride)
    assert torch.equal(got, of_diffusers(vae, *told_to_diffusers(frames, given, reference)))
    grey = grey_latents(vae, FRAMES, (HEIGHT, WIDTH))
    assert torch.equal(got, control_latents(vae, reference, frames, given, grey=grey))


@pytest.mark.parametrize("kind", KINDS)
def test_with_any_statistics_only_the_last_rounding_differs(kind):
    """diffusers multiplies by a rounded 1 / deviation, and the latents here are divided by it."""
    vae, frames, reference = vae_of(kind), random_pictures(FRAMES), random_pictures(1, seed=1)[0]
    got = control_latents(vae, reference, frames, BOTH_ENDS)
    wanted = of_diffusers(vae, *told_to_diffusers(frames, BOTH_ENDS, reference))
    torch.testing.assert_close(got, wanted, rtol=2**-22, atol=0)


def test_pictures_through_the_pipelines_own_preparation_give_the_same():
    """What a user of diffusers gives: pictures, and a mask that is white where there is something to draw."""
    vae, frames, reference = vae_of("2.1"), random_pictures(FRAMES), random_pictures(1, seed=1)[0]
    pictures = [Image.fromarray(frame) for frame in frames]
    white = [
        Image.fromarray(np.full((HEIGHT, WIDTH), 255 * (not g), np.uint8)).convert("RGB") for g in BOTH_ENDS
    ]
    video, mask, references = pipeline_of(vae).preprocess_conditions(
        pictures,
        white,
        Image.fromarray(reference),
        height=HEIGHT,
        width=WIDTH,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    video = video.masked_fill(mask.bool(), 0)
    got = control_latents(vae, reference, frames, BOTH_ENDS)
    torch.testing.assert_close(got, of_diffusers(vae, video, mask, references), rtol=1e-4, atol=1e-5)


def test_the_first_chunk_shows_the_network_what_the_whole_pipeline_does():
    """Nothing is given but the photo: no video and no mask in diffusers' words."""
    vae, reference = vae_of("2.1"), random_pictures(1, seed=1)[0]
    pipeline, told = pipeline_of(vae), []
    pipeline.set_progress_bar_config(disable=True)
    pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: told.append(kwargs["control_hidden_states"]), with_kwargs=True
    )
    pipeline(
        reference_images=Image.fromarray(reference),
        prompt_embeds=torch.randn(1, 12, tiny.WAN["text_dim"]),
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=1,
        guidance_scale=1.0,
        output_type="latent",
    )
    (control,) = told
    got = control_latents(vae, reference, random_pictures(FRAMES), GIVEN["none"])
    torch.testing.assert_close(got, control, rtol=1e-4, atol=1e-5)


def test_what_is_to_be_drawn_is_never_seen():
    vae, reference = vae_of("2.1"), random_pictures(1, seed=1)[0]
    one, other = random_pictures(FRAMES), random_pictures(FRAMES, seed=2)
    other[BOTH_ENDS] = one[BOTH_ENDS]
    given = control_latents(vae, reference, one, BOTH_ENDS)
    assert torch.equal(given, control_latents(vae, reference, other, BOTH_ENDS))
    other[0] += 1
    assert not torch.equal(given, control_latents(vae, reference, other, BOTH_ENDS))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_of_a_latent_is_that_of_the_frame_in_the_middle_of_its_share(kind):
    """floor((i + 1/2) F / f), whole numbers throughout; 1 is to be drawn, and the reference never is."""
    vae = vae_of(kind)
    stride, z = vae.config.scale_factor_spatial, vae.config.z_dim
    control = control_latents(vae, random_pictures(1)[0], random_pictures(FRAMES), BOTH_ENDS)
    mask = control[0, 2 * z :]
    looked_at = [(2 * i + 1) * FRAMES // (2 * 5) for i in range(5)]
    assert mask.shape[0] == stride**2
    assert torch.equal(mask[:, 0], torch.zeros_like(mask[:, 0]))
    for i, frame in enumerate(looked_at, 1):
        assert torch.equal(mask[:, i], torch.full_like(mask[:, i], not BOTH_ENDS[frame])), (i, frame)
    assert torch.equal(control[:, z : 2 * z, 0], torch.zeros_like(control[:, :z, 0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5])
def test_given_frames_are_encoded_at_the_start_and_marked(kind, count):
    vae, first = vae_of(kind), random_pictures(count)
    given = given_frames(vae, first, 4)
    known = 1 + (count - 1) // 4
    assert set(given) == {"image", "given", "given.latents"}
    latents = given["given.latents"]
    stride = vae.config.scale_factor_spatial
    assert latents.shape == (1, vae.config.z_dim, 4, HEIGHT // stride, WIDTH // stride)
    assert torch.equal(latents[:, :, :known], encoded(vae, from_pictures(first)))
    assert not latents[:, :, known:].any()
    for name in ("image", "given"):
        assert given[name].tolist() == [[1.0] * known + [0.0] * (4 - known)]


def test_all_of_a_video_may_be_given():
    given = given_frames(vae_of("2.1"), random_pictures(5), 2)
    assert given["given"].tolist() == [[1.0, 1.0]]
    assert given["given.latents"].shape[2] == 2


def given_scene(image: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Two videos of three latent frames, of which the first two are given; the picture itself as in `image`."""
    torch.manual_seed(3)
    shape = (2, 4, 3, 2, 2)
    conditions = {
        "image": torch.tensor(image),
        "given": torch.tensor([[1.0, 1.0, 0.0]] * 2),
        "given.latents": torch.randn(shape),
        "given.noise": torch.randn(shape),
        "text": torch.randn(2, 7, 5),
    }
    return torch.randn(shape), torch.tensor([0.8, 0.3]), conditions


def test_given_frames_are_clean_and_dropped_ones_on_the_path_from_their_noise():
    """Item 0 has its picture, item 1 has it dropped: (1 - s) z + s e at level s = sigma, and s = 0 where it is."""
    x, sigma, conditions = given_scene([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    z, e = (conditions[name].double().numpy() for name in ("given.latents", "given.noise"))
    got, level = placed(x, sigma, dict(conditions), tokens=6)
    for b in range(2):
        s = float(sigma[b]) * (1.0 if b else 0.0)
        for t in range(2):
            np.testing.assert_allclose(
                got[b, :, t], (1 - s) * z[b, :, t] + s * e[b, :, t], rtol=2e-6, atol=1e-7
            )
    assert torch.equal(got[0, :, :2], conditions["given.latents"][0, :, :2])
    assert torch.equal(got[:, :, 2], x[:, :, 2])
    assert level.shape == (2, 18)
    per_frame = [[0.0, 0.0, sigma[0].item()], [sigma[1].item()] * 3]
    assert level.tolist() == [[value for value in row for _ in range(6)] for row in per_frame]


def test_half_precision_latents_stay_so():
    x, sigma, conditions = given_scene([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    got, level = placed(x.bfloat16(), sigma, conditions, tokens=1)
    assert got.dtype == torch.bfloat16
    assert level.dtype == torch.float32


def test_what_places_the_given_is_taken_out_and_the_rest_left():
    x, sigma, conditions = given_scene([[1.0, 1.0, 0.0]] * 2)
    text = conditions["text"]
    placed(x, sigma, conditions, tokens=6)
    assert list(conditions) == ["text"]
    assert conditions["text"] is text


def test_without_anything_given_nothing_is_touched():
    x, sigma, conditions = given_scene([[0.0, 0.0, 0.0]] * 2)
    rest = {"text": conditions["text"]}
    got, level = placed(x, sigma, rest, tokens=6)
    assert got is x
    assert level is sigma
    assert list(rest) == ["text"]

"""LHM as it is published: the names and shapes of its file, and what its network computes from them, written anew."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import gelu, layer_norm, linear, silu, softmax

from vivavoce.splat.lhm.config import MINIATURE, DecoderConfig, HandsConfig, PyramidConfig
from vivavoce.splat.lhm.template import TemplatePoints
from vivavoce.types import Binding

EYE = PyramidConfig(width=8, layers=4, heads=2, patch=4, trained=16, side=16, taps=(0, 1, 2, 3), out=8)
PLAIN = replace(
    MINIATURE,
    layers=2,
    width=16,
    heads=2,
    condition=12,
    frequencies=2,
    head=EYE,
    body=None,
    hands=None,
    decoder=DecoderConfig(hidden=8),
)
"""LHM's layout, every number small."""
SMALL = replace(
    PLAIN,
    condition=8,
    body=EYE,
    hands=HandsConfig(width=8, layers=1, heads=2, patch=8, crop=(16, 16)),
)
"""The same with all that LHM does not have."""


def shapes(config):
    """Names and shapes of the parameters in LHM's model.safetensors, but for SMPL-X's tables."""
    out = {}

    def layer(name, rows, *columns, bias=True):
        out[f"{name}.weight"] = (rows, *columns)
        if bias:
            out[f"{name}.bias"] = (rows,)

    eye, d, c = config.head, config.width, config.condition
    e = eye.width
    out["encoder.model.cls_token"] = (1, 1, e)
    out["encoder.model.pos_embed"] = (1, (eye.trained // eye.patch) ** 2 + 1, e)
    out["encoder.model.register_tokens"] = (1, 4, e)
    layer("encoder.model.patch_embed.proj", e, 3, eye.patch, eye.patch)
    for i in range(eye.layers):
        at = f"encoder.model.blocks.{i}"
        layer(f"{at}.norm1", e)
        layer(f"{at}.attn.qkv", 3 * e, e)
        layer(f"{at}.attn.proj", e, e)
        out[f"{at}.ls1.gamma"] = (e,)
        layer(f"{at}.norm2", e)
        layer(f"{at}.mlp.fc1", 4 * e, e)
        layer(f"{at}.mlp.fc2", e, 4 * e)
        out[f"{at}.ls2.gamma"] = (e,)
    layer("encoder.model.norm", e)
    for i in range(4):
        layer(f"encoder.fusion_head.projects.{i}", e, e, 1, 1)
    layer("encoder.fusion_head.output_conv", eye.out, 4 * e, 1, 1)
    out["pcl_embed.basis"] = (3, 3 * config.frequencies)
    layer("pcl_embed.mlp", d, 6 * config.frequencies + 3)
    layer("pcl_embed.norm", d)
    layer("motion_embed_mlp.0", c // 2, c)
    layer("motion_embed_mlp.2", 2 * d, c // 2)
    layer("transformer.linear_cond_proj", d, c)
    layer("transformer.norm", d)
    for i in range(config.layers):
        last = i == config.layers - 1
        for which in ("head_dit", "body_dit"):
            at = f"transformer.layers.{i}.{which}"
            layer(f"{at}.norm1.linear", 6 * d, d)
            layer(f"{at}.norm1_context.linear", (2 if last else 6) * d, d)
            for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0"):
                layer(f"{at}.attn.{name}", d, d)
            for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
                layer(f"{at}.attn.{name}", d // config.heads, bias=False)
            layer(f"{at}.ff.net.0.proj", 4 * d, d)
            layer(f"{at}.ff.net.2", d, 4 * d)
            if not last:
                layer(f"{at}.attn.to_add_out", d, d)
                layer(f"{at}.ff_context.net.0.proj", 4 * d, d)
                layer(f"{at}.ff_context.net.2", d, 4 * d)
    h = config.decoder.hidden
    layer("renderer.mlp_net.layers.0", h, d)
    layer("renderer.mlp_net.layers.2", h, h)
    layer("renderer.mlp_net.layers.4", d, h)
    for name, size in {"shs": 3, "scaling": 3, "xyz": 3, "opacity": 1, "rotation": 4}.items():
        layer(f"renderer.gs_net.out_layers.{name}", size, d)
    return out


def state(config, seed=0):
    """Such a file with random values, in float32."""
    rng = torch.Generator().manual_seed(seed)
    made = {name: 0.3 * torch.randn(shape, generator=rng) for name, shape in shapes(config).items()}
    waves = math.pi * 2.0 ** torch.arange(config.frequencies)
    made["pcl_embed.basis"] = torch.block_diag(waves[None], waves[None], waves[None])
    return made


def computed(state, config, points, *, body, head_picture, on_head):
    """What LHM's network makes of points (N, 3; y up), body tokens (L, C) and a head's square picture, in float64."""
    s = {name: value.double() for name, value in state.items()}
    phases = points.double() @ s["pcl_embed.basis"]
    x = dense(s, "pcl_embed.mlp", torch.cat([phases.sin(), phases.cos(), points.double()], -1))
    x = normed(x, s, "pcl_embed.norm", 1e-5)
    head = _pyramid(s, config.head, head_picture.double())
    head = torch.cat([head, head.new_zeros(len(head), config.condition - head.shape[-1])], -1)
    m = dense(s, "motion_embed_mlp.0", body.double().mean(0))
    m = dense(s, "motion_embed_mlp.2", silu(m))
    m_body, m_head = m[: config.width], m[config.width :]
    body, head = (dense(s, "transformer.linear_cond_proj", t) for t in (body.double(), head))
    for i in range(config.layers):
        last, at = i == config.layers - 1, f"transformer.layers.{i}"
        tail, head = joint_block(
            s, f"{at}.head_dit", x[-on_head:], head, m_head, heads=config.heads, last=last
        )
        x = torch.cat([x[:-on_head], tail])
        x, body = joint_block(s, f"{at}.body_dit", x, body, m_body, heads=config.heads, last=last)
    x = normed(x, s, "transformer.norm", 1e-6)
    for i in (0, 2):
        x = silu(dense(s, f"renderer.mlp_net.layers.{i}", x))
    x = dense(s, "renderer.mlp_net.layers.4", x)
    out = {
        name: dense(s, f"renderer.gs_net.out_layers.{name}", x)
        for name in ("shs", "scaling", "xyz", "opacity", "rotation")
    }
    return {
        "colors": out["shs"].sigmoid(),
        "scales": out["scaling"].exp(),
        "offsets": (out["xyz"].sigmoid() - 0.5) * config.decoder.reach,
        "opacities": out["opacity"].sigmoid()[:, 0],
        "quats": out["rotation"] / out["rotation"].norm(dim=-1, keepdim=True),
    }


def joint_block(s, at, points, image, m, *, heads, last, hands=None):
    """SD3's block as LHM has it; `hands` are keys and values (n, D) that join those of points and image."""
    shift, scale, gate, shift_ff, scale_ff, gate_ff = dense(s, f"{at}.norm1.linear", silu(m)).chunk(6)
    p = plain(points) * (1 + scale) + shift
    parts = dense(s, f"{at}.norm1_context.linear", silu(m)).chunk(2 if last else 6)
    scale, shift = (parts[0], parts[1]) if last else (parts[1], parts[0])
    c = plain(image) * (1 + scale) + shift

    def project(names, norms):
        of_points, of_image = (dense(s, f"{at}.attn.{n}", t) for n, t in zip(names, (p, c), strict=True))
        rows = [_by_head(t, heads) for t in (of_points, of_image)]
        if norms:
            rows = [
                t / (t.square().mean(-1, keepdim=True) + 1e-6).sqrt() * s[f"{at}.attn.{n}.weight"]
                for t, n in zip(rows, norms, strict=True)
            ]
        return torch.cat(rows, 1)

    q = project(("to_q", "add_q_proj"), ("norm_q", "norm_added_q"))
    k = project(("to_k", "add_k_proj"), ("norm_k", "norm_added_k"))
    v = project(("to_v", "add_v_proj"), ())
    if hands is not None:
        k, v = (torch.cat([t, _by_head(h, heads)], 1) for t, h in zip((k, v), hands, strict=True))
    found = softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1) @ v
    found = found.transpose(0, 1).flatten(1)
    points = points + gate * dense(s, f"{at}.attn.to_out.0", found[: len(points)])
    points = points + gate_ff * _forward(s, f"{at}.ff", plain(points) * (1 + scale_ff) + shift_ff)
    if last:
        return points, None
    _, _, gate, shift, scale, gate_ff = parts
    image = image + gate * dense(s, f"{at}.attn.to_add_out", found[len(points) :])
    hidden = _forward(s, f"{at}.ff_context", plain(image) * (1 + scale) + shift)
    return points, image + gate_ff * hidden + hidden


def dense(s, name, x):
    weight = s[f"{name}.weight"]
    return linear(x, weight.flatten(1), s[f"{name}.bias"])


def normed(x, s, name, eps):
    return layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], eps)


def plain(x):
    return layer_norm(x, x.shape[-1:], eps=1e-6)


def _forward(s, name, x):
    return dense(s, f"{name}.net.2", gelu(dense(s, f"{name}.net.0.proj", x), approximate="tanh"))


def _by_head(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)


def _pyramid(s, eye, picture):
    """DINOv2's tokens after four of its layers, projected and fused; the picture has the size it was trained at."""
    at, p = "encoder.model", eye.patch
    n = eye.trained // p
    patches = picture.unfold(1, p, p).unfold(2, p, p).permute(1, 2, 0, 3, 4).reshape(n * n, -1)
    x = dense(s, f"{at}.patch_embed.proj", patches)
    x = torch.cat([s[f"{at}.cls_token"][0], x]) + s[f"{at}.pos_embed"][0]
    x = torch.cat([x[:1], s[f"{at}.register_tokens"][0], x[1:]])
    levels = []
    for i in range(eye.layers):
        b = f"{at}.blocks.{i}"
        q, k, v = (
            _by_head(t, eye.heads)
            for t in dense(s, f"{b}.attn.qkv", normed(x, s, f"{b}.norm1", 1e-6)).chunk(3, -1)
        )
        found = softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1) @ v
        x = x + s[f"{b}.ls1.gamma"] * dense(s, f"{b}.attn.proj", found.transpose(0, 1).flatten(1))
        hidden = gelu(dense(s, f"{b}.mlp.fc1", normed(x, s, f"{b}.norm2", 1e-6)))
        x = x + s[f"{b}.ls2.gamma"] * dense(s, f"{b}.mlp.fc2", hidden)
        if i in eye.taps:
            levels.append(normed(x, s, f"{at}.norm", 1e-6)[5:])
    levels = [dense(s, f"encoder.fusion_head.projects.{i}", t) for i, t in enumerate(levels)]
    return dense(s, "encoder.fusion_head.output_conv", torch.cat(levels, -1))


def template(count=8, seed=0):
    """Points of no body in particular, a quarter of them on the head, hung on one joint."""
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((count, 3)).astype(np.float32)
    skin = np.zeros((count, 55), np.float32)
    skin[:, 15] = 1
    parts = np.r_[np.arange(count - count // 4) % 4, np.full(count // 4, 4)].astype(np.int32)
    return TemplatePoints(
        points=rng.uniform(-0.9, 0.9, (count, 3)).astype(np.float32),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        skin=skin,
        parts=parts,
        joints=np.zeros((55, 3), np.float32),
        binding=Binding(
            np.full((count, 1), 15, np.int32),
            np.ones((count, 1), np.float32),
            np.zeros((count, 1, 3), np.float32),
        ),
    )

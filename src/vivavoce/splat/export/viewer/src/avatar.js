// The Gaussians at rest and what they hang on, as textures of a PlayCanvas container.
import {
    ADDRESS_CLAMP_TO_EDGE, BoundingBox, FILTER_NEAREST, GSplatContainer, GSplatFormat, PIXELFORMAT_RGBA16F,
    PIXELFORMAT_RGBA32F, PIXELFORMAT_RGBA32U, Texture, Vec3
} from 'playcanvas';

import { skinning } from './skinning.js';

/** A container with `facts.count` Gaussians; its shader reads the pose from the parameters of `poser`. */
export function makeContainer(device, facts, arrays) {
    const { count, slots, kinds, low, high } = facts;
    const pairs = Array.from({ length: slots / 2 }, (_, i) => ({ name: `bind${i}`, format: PIXELFORMAT_RGBA32U }));
    const format = new GSplatFormat(device, [
        { name: 'place', format: PIXELFORMAT_RGBA32F },
        { name: 'covariance0', format: PIXELFORMAT_RGBA16F },
        { name: 'covariance1', format: PIXELFORMAT_RGBA16F },
        { name: 'color', format: PIXELFORMAT_RGBA16F },
        ...pairs
    ], { readGLSL: skinning(slots, kinds) });
    const container = new GSplatContainer(device, count, format);
    const fill = (name, write) => {
        const texture = container.getTexture(name);
        write(texture.lock());
        texture.unlock();
    };
    const centers = container.centers;
    for (let i = 0; i < 3 * count; i++) {
        const axis = Math.floor(i / count);
        const value = low[axis] + (high[axis] - low[axis]) * arrays.centers[i] / 65535;
        centers[3 * (i % count) + axis] = value;
    }
    fill('place', pixels => fillPlaces(pixels, centers, facts.sizes));
    const planes = (array, from, to) => array.subarray(from * count, to * count);
    fill('covariance0', pixels => weave(pixels, planes(arrays.covariances, 0, 4), count));
    fill('covariance1', (pixels) => {
        weave(pixels, planes(arrays.covariances, 4, 6), count);
        arrays.gradient_steps.forEach((step, i) => { pixels[4 * i + 2] = step; });
    });
    fill('color', pixels => weave(pixels, arrays.colors, count));
    pairs.forEach(({ name }, i) => fill(name, pixels => fillBindings(pixels, arrays, count, 2 * i)));
    // Wide enough for every pose: nothing is to be left out while it moves.
    const middle = new Vec3(...low).add(new Vec3(...high)).mulScalar(0.5);
    container.aabb = new BoundingBox(middle, new Vec3(...high).sub(new Vec3(...low)));
    container.update(count);
    return container;
}

function fillPlaces(pixels, centers, sizes) {
    let i = 0;
    sizes.forEach((size, kind) => {
        for (const end = i + size; i < end; i++) {
            pixels.set(centers.subarray(3 * i, 3 * i + 3), 4 * i);
            pixels[4 * i + 3] = kind;
        }
    });
}

/** Planes of `count` numbers side by side in the channels of four. */
function weave(pixels, planes, count) {
    for (let i = 0; i < planes.length; i++) pixels[4 * (i % count) + Math.floor(i / count)] = planes[i];
}

/** Particle and weight in one word, the weight's gradient in the next; the slots `first` and the one after it. */
function fillBindings(pixels, { indices, weights, gradients }, count, first) {
    for (let slot = first; slot < first + 2; slot++) {
        for (let i = 0; i < count; i++) {
            const at = 4 * i + 2 * (slot - first);
            const g = a => gradients[(3 * slot + a) * count + i] + 128;
            pixels[at] = (weights[slot * count + i] << 16) | indices[slot * count + i];
            pixels[at + 1] = g(0) | (g(1) << 8) | (g(2) << 16);
        }
    }
}

/** The texture that holds one frame's pose. */
export function makePose(device, rows) {
    return new Texture(device, {
        name: 'pose', width: 3, height: rows, format: PIXELFORMAT_RGBA32F, mipmaps: false,
        minFilter: FILTER_NEAREST, magFilter: FILTER_NEAREST,
        addressU: ADDRESS_CLAMP_TO_EDGE, addressV: ADDRESS_CLAMP_TO_EDGE
    });
}

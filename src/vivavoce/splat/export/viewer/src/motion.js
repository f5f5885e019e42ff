// Particle motion: a mean and a few shapes of movement, each with its strength in every frame.

const SIZE = 7; // numbers a particle has: its displacement in metres, and a quaternion times `lever`

/** Decodes the pose of any frame into the rows of a texture, 3 texels of 4 numbers each. */
export class Motion {
    constructor({ frames, fps, particles, kinds, lever, shade }, { rest, mean, shapes, strengths, steps }) {
        Object.assign(this, { frames, fps, particles, kinds, lever, shade });
        Object.assign(this, { rest, mean, shapes, strengths, steps });
        this.values = new Float32Array(mean.length);
        this.rows = new Float32Array(12 * (kinds + particles));
    }

    /** One row for each kind, whose first texel is its gain; then one for each particle: [R | t]. */
    at(frame) {
        const { values, mean, shapes, strengths, steps, frames } = this;
        values.set(mean);
        for (let k = 0; k < steps.length; k++) {
            const strength = steps[k] * strengths[k * frames + frame];
            const start = k * values.length;
            for (let i = 0; i < values.length; i++) values[i] += strength * shapes[start + i];
        }
        const gains = SIZE * this.particles;
        for (let g = 0; g < this.kinds; g++) {
            for (let c = 0; c < 3; c++) this.rows[12 * g + c] = values[gains + 3 * g + c] / this.shade;
        }
        for (let m = 0; m < this.particles; m++) this.#place(m);
        return this.rows;
    }

    #place(m) {
        const { values, rest, rows } = this;
        let [x, y, z, w] = values.subarray(SIZE * m + 3, SIZE * m + 7);
        const length = Math.hypot(x, y, z, w);
        x /= length; y /= length; z /= length; w /= length;
        const R = [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
        ];
        const at = 12 * (this.kinds + m);
        const p = rest.subarray(3 * m, 3 * m + 3);
        for (let a = 0; a < 3; a++) {
            const r = R.slice(3 * a, 3 * a + 3);
            rows.set(r, at + 4 * a);
            rows[at + 4 * a + 3] = p[a] + values[SIZE * m + a] - (r[0] * p[0] + r[1] * p[1] + r[2] * p[2]);
        }
    }
}

// Reads a .spz with the format's own library: node read_spz.mjs MODULE FILE OUT, float32 columns into OUT.
import { appendFileSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [, , module, file, out] = process.argv;
const spz = await (await import(pathToFileURL(module).href)).default();
const cloud = spz.loadSpzFromBuffer(readFileSync(file), { to: spz.CoordinateSystem.RDF });
for (const name of ['positions', 'scales', 'rotations', 'alphas', 'colors']) {
    const values = cloud[name];
    appendFileSync(out, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

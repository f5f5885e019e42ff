// What the page carries: base64 in script elements that no browser runs.

/** The bytes in the element with this id. */
export function bytesOf(id) {
    const text = atob(document.getElementById(id).textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
}

const KINDS = { u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, f4: Float32Array };

/** The arrays and facts of a gzipped payload: a length, JSON that describes the arrays, and their bytes. */
export async function unpack(compressed) {
    const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream('gzip'));
    const buffer = await new Response(stream).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const arrays = {};
    for (const { name, kind, count, offset } of header.arrays) {
        arrays[name] = new KINDS[kind](buffer, 4 + length + offset, count);
    }
    return { facts: header.facts, arrays };
}

// GLSL that PlayCanvas runs once a Gaussian and frame: vivavoce/splat/deform.py on the graphics card.

/** The read code of a GSplatFormat whose Gaussians hang on `slots` particles, two to a texel of `bindN`. */
export function skinning(slots, kinds) {
    const loads = Array.from({ length: slots / 2 }, (_, i) => `
        pair = loadBind${i}();
        hang(x, pair.xy, step, J, G, d);
        hang(x, pair.zw, step, J, G, d);`);
    return `
uniform highp sampler2D pose;
uniform float unit;
uniform float one;
vec3 gain;
mat3 frame;
vec3 spread;

vec4 texel(int column, uint row) { return texelFetch(pose, ivec2(column, int(row)), 0); }

// One particle's share: y = sum w T x, J = sum w R + sum (T x - x) grad(w)^T.
void hang(vec3 x, uvec2 word, float step, inout mat3 J, inout vec3 G, inout vec3 d) {
    uint row = ${kinds}u + (word.x & 0xffffu);
    float w = float(int(word.x) >> 16) / one;
    vec3 g = (vec3(uvec3(word.y, word.y >> 8, word.y >> 16) & 0xffu) - 128.0) * step;
    vec4 a = texel(0, row), b = texel(1, row), c = texel(2, row);
    vec3 u = vec3(dot(a.xyz, x) + a.w, dot(b.xyz, x) + b.w, dot(c.xyz, x) + c.w) - x;
    J += w * transpose(mat3(a.xyz, b.xyz, c.xyz)) + outerProduct(u, g);
    G += g;
    d += w * u;
}

void turn(inout mat3 S, inout mat3 V, const int p, const int q) {
    if (S[q][p] == 0.0) return;
    float theta = 0.5 * (S[q][q] - S[p][p]) / S[q][p];
    float t = (theta < 0.0 ? -1.0 : 1.0) / (abs(theta) + sqrt(theta * theta + 1.0));
    float c = inversesqrt(t * t + 1.0);
    mat3 Q = mat3(1.0);
    Q[p][p] = c; Q[q][q] = c; Q[q][p] = t * c; Q[p][q] = -t * c;
    S = transpose(Q) * S * Q;
    V = V * Q;
}

vec3 getCenter() {
    vec4 place = loadPlace();
    vec3 x = place.xyz;
    vec4 front = loadCovariance0();
    vec4 rest = loadCovariance1();
    float step = rest.z;
    mat3 J = mat3(0.0);
    vec3 G = vec3(0.0), d = vec3(0.0);
    uvec4 pair;
    ${loads.join('')}
    J -= outerProduct(d, G); // the gradients sum to zero, but for their rounding
    J *= min(1.0, 4.0 / sqrt(dot(J[0], J[0]) + dot(J[1], J[1]) + dot(J[2], J[2])));
    mat3 S = mat3(front.x, front.y, front.z, front.y, front.w, rest.x, front.z, rest.x, rest.y);
    S = J * S * transpose(J);
    frame = mat3(1.0);
    for (int sweep = 0; sweep < 5; sweep++) {
        turn(S, frame, 0, 1);
        turn(S, frame, 0, 2);
        turn(S, frame, 1, 2);
    }
    spread = vec3(S[0][0], S[1][1], S[2][2]);
    gain = texel(0, uint(place.w)).rgb;
    return x + d;
}

vec4 getRotation() {
    vec3 r = vec3(frame[0][0], frame[1][1], frame[2][2]);
    vec4 q = 1.0 + vec4(r.x + r.y + r.z, r.x - r.y - r.z, r.y - r.x - r.z, r.z - r.x - r.y);
    vec3 odd = vec3(frame[1][2] - frame[2][1], frame[2][0] - frame[0][2], frame[0][1] - frame[1][0]);
    vec3 even = vec3(frame[1][2] + frame[2][1], frame[2][0] + frame[0][2], frame[0][1] + frame[1][0]);
    if (q.x >= max(q.y, max(q.z, q.w))) return normalize(vec4(q.x, odd));
    if (q.y >= max(q.z, q.w)) return normalize(vec4(odd.x, q.y, even.z, even.y));
    if (q.z >= q.w) return normalize(vec4(odd.y, even.z, q.z, even.x));
    return normalize(vec4(odd.z, even.y, even.x, q.w));
}

vec3 getScale() { return sqrt(max(spread, 0.0) / unit); }

vec4 getColor() {
    vec4 color = loadColor();
    return vec4(color.rgb * gain, color.a);
}
`;
}

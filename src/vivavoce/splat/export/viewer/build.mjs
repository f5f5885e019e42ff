// `npm ci && npm run build` makes viewer.js again, the same bytes each time.
import { copyFileSync, readFileSync } from 'node:fs';

import { build } from 'esbuild';

const engine = JSON.parse(readFileSync('node_modules/playcanvas/package.json', 'utf8'));
const license = readFileSync('node_modules/playcanvas/LICENSE', 'utf8').trim();

await build({
    entryPoints: ['src/main.js'],
    outfile: 'viewer.js',
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    // The licence asks to go with every copy, and each page that is made is one.
    banner: { js: `/*\nContains the PlayCanvas Engine ${engine.version}.\n\n${license}\n*/` },
    legalComments: 'none'
});
copyFileSync('node_modules/playcanvas/LICENSE', 'LICENSE.playcanvas');

// `npm run bench -- [scenario...]`: set-up, then hack/bench/main.ts under Node 24.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { node24, root } from './lib/places.mjs';
import { setUp } from './setup.mjs';

await setUp();
const child = spawn(node24, [path.join(root, 'hack/bench/main.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, UV_THREADPOOL_SIZE: '32' },
});
child.on('exit', (code) => process.exit(code ?? 1));

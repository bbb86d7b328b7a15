// `npm run cluster:up`, `cluster:load`, `cluster:down`: set-up, then hack/cluster/main.ts under Node 24.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { node24, root } from './lib/places.mjs';
import { setUp } from './setup.mjs';

await setUp();
const child = spawn(node24, [path.join(root, 'hack/cluster/main.ts'), ...process.argv.slice(2)], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));

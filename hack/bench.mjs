// `npm run bench -- [scenario...]`: set-up, then hack/bench/main.ts under Node 24.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { launchEnv } from './lib/launch.mjs';
import { node24, root } from './lib/places.mjs';
import { setUp } from './setup.mjs';

await setUp();
const child = spawn(node24, [path.join(root, 'hack/bench/main.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  // For the server as npm start has it, and for our clients, whose file calls must not queue behind four threads.
  env: launchEnv,
});
// The terminal sends Ctrl-C to both; the bench cleans up, and its exit is ours.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));

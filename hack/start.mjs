// `npm start`: set-up, then the server under Node 24, with the example manifest when none is named.
// package.json says `exec`, because npm passes SIGTERM on to its shell, which would die of it without a word to us.
import { spawn } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { buildServer } from './lib/build.mjs';
import { launchEnv, nodeFlags } from './lib/launch.mjs';
import { node24, root } from './lib/places.mjs';
import { setUp } from './setup.mjs';

// npm passes on the Ctrl-C that the terminal sends to everyone: the same key press arrives twice.
const SAME_KEY_PRESS_MS = 500;

const args = process.argv.slice(2);
const namesFile = args.some((arg) => /^(-f|--file$|--file=)/.test(arg)) || process.env.NARWHAL_FILE;
const file = namesFile ? [] : ['-f', path.join(root, 'examples/laptop.yaml')];

let main;
try {
  await setUp();
  main = buildServer();
} catch (error) {
  console.error(`set-up failed: ${error.message}`);
  process.exit(1);
}

const child = spawn(node24, [...nodeFlags, main, 'serve', ...file, ...args], {
  stdio: 'inherit',
  // A process group of its own: the terminal's Ctrl-C then reaches the server through us only, and once.
  detached: true,
  env: launchEnv,
});

let forwardedAt = Number.NEGATIVE_INFINITY;
for (const [received, sent] of [
  ['SIGINT', 'SIGINT'],
  ['SIGTERM', 'SIGTERM'],
  ['SIGHUP', 'SIGTERM'],
]) {
  process.on(received, () => {
    const now = performance.now();
    if (now - forwardedAt < SAME_KEY_PRESS_MS) return;
    forwardedAt = now;
    child.kill(sent);
  });
}
child.on('error', (error) => {
  console.error(`the server did not start: ${error.message}`);
  process.exitCode = 1;
});
child.on('exit', (code, signal) => {
  process.exit(code ?? 128 + os.constants.signals[signal]);
});

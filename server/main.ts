#!/usr/bin/env -S node --max-semi-space-size=4
// zlib, file reads and SQLite share libuv's threads; with four of them fsyncs would stall reads. Must be set before
// the first use of the pool, hence before any import of ours.
process.env.UV_THREADPOOL_SIZE ??= '32';

// A gateway loads nothing of a server: that is 40 MB less.
const { run } = process.argv[2] === 'gateway' ? await import('./cli/gateway.ts') : await import('./cli/commands.ts');
await run(process.argv, process.env);

export {};

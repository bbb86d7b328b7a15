#!/usr/bin/env -S node --max-semi-space-size=4
// zlib, file reads and SQLite share libuv's threads; with four of them fsyncs would stall reads. Must be set before
// the first use of the pool, hence before any import of ours.
process.env.UV_THREADPOOL_SIZE ??= '32';

const { run } = await import('./cli.ts');
await run(process.argv, process.env);

export {};

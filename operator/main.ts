#!/usr/bin/env -S node --max-semi-space-size=4
// Answers of the API server are short-lived: with 500 caches large young generations keep 130 MB of them.
import process from 'node:process';
import { run } from './cli.ts';

await run(process.argv, process.env);

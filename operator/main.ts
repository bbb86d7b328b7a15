#!/usr/bin/env node
import process from 'node:process';
import { run } from './cli.ts';

await run(process.argv, process.env);

// The process beside a cluster that looks after its volumes: `node volumes-main.ts FOLDER`, access on standard input.
import { text } from 'node:stream/consumers';
import { ensureNode } from '../components/node.mjs';
import { Machine } from './machine.ts';
import { Volumes } from './volumes.ts';

const machine = Machine.find(process.argv[2] ?? '', (await ensureNode()).env);
if (machine) await new Volumes(machine, JSON.parse(await text(process.stdin))).run();

/** Whether anything is left to do for a cache, and whether anything was done to what it consists of. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { built } from '../built.ts';
import { runToEnd } from '../run.ts';
import type { World } from './world.ts';

const CHILDREN = 'configmaps,services,serviceaccounts,persistentvolumeclaims,networkpolicies,statefulsets,secrets,pdb';
/** Their resource versions change with their status; what is wanted of them has a number of its own. */
const FIELDS = '{.kind}/{.metadata.name} {.metadata.generation} {.metadata.resourceVersion}';

/** Children of caches, each with what changes when somebody writes to it. */
export async function children(world: World): Promise<Record<string, string>> {
  const words = ['get', CHILDREN, '-l', 'app.kubernetes.io/managed-by=narwhal-operator'];
  const text = await world.kubectl([...words, '-o', `jsonpath={range .items[*]}${FIELDS}{"\\n"}{end}`]);
  const rows = text.trim().split('\n');
  return Object.fromEntries(
    rows.map((row) => {
      const [what = '', ...numbers] = row.split(' ');
      const [generation = '', version = ''] = numbers;
      return [what, generation === '' ? `version ${version}` : `generation ${generation}`];
    }),
  );
}

/** Pods of caches: who they are and how often they have restarted. */
export async function lives(world: World): Promise<Record<string, string>> {
  const pods = await world.list('pods', ['-l', 'app.kubernetes.io/managed-by=narwhal-operator']);
  return Object.fromEntries(
    pods.map(({ metadata, status }) => [
      metadata.name,
      `${metadata.uid} restarted ${status.containerStatuses?.[0]?.restartCount}`,
    ]),
  );
}

/** Fails unless `narwhal-operator plan` finds nothing to do for all caches of the story. */
export async function assertNothingToDo(world: World): Promise<void> {
  const caches = await world.list('binarycaches.narwhal.dev');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-plan-'));
  try {
    const file = path.join(folder, 'caches.yaml');
    const documents = caches.map(({ apiVersion, kind, metadata: { name, namespace }, spec }) =>
      JSON.stringify({ apiVersion, kind, metadata: { name, namespace }, spec }),
    );
    fs.writeFileSync(file, documents.join('\n---\n'));
    const words = [process.execPath, built('dist/operator/main.js'), 'plan', '-f', file];
    const { code, stdout, stderr } = await runToEnd(words, { env: world.env });
    assert.equal(code, 0, stdout + stderr);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

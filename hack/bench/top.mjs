// `node hack/bench/top.mjs FILE.cpuprofile... [--lines N]`: where the time of each profile went, by function.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));
const IDLE = new Set(['(idle)', '(root)']);

/** Milliseconds of each function: by itself, and with all that it called. */
export function summarise({ nodes, samples, timeDeltas }) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])));
  const selfMs = new Map();
  for (const [index, id] of samples.entries())
    selfMs.set(id, (selfMs.get(id) ?? 0) + (timeDeltas[index + 1] ?? 0) / 1000);
  const functions = new Map();
  let busyMs = 0;
  for (const [id, ms] of selfMs) {
    if (IDLE.has(byId.get(id).callFrame.functionName)) continue;
    busyMs += ms;
    const counted = new Set();
    for (let at = id; at !== undefined; at = parents.get(at)) {
      const name = nameOf(byId.get(at).callFrame);
      if (counted.has(name)) continue;
      counted.add(name);
      const sum = functions.get(name) ?? { selfMs: 0, totalMs: 0 };
      sum.totalMs += ms;
      if (at === id) sum.selfMs += ms;
      functions.set(name, sum);
    }
  }
  return { busyMs, functions };
}

function nameOf({ functionName, url, lineNumber }) {
  const file = url.startsWith('file:') ? path.relative(root, fileURLToPath(url)) : url;
  return `${functionName || '(anonymous)'}${file && ` ${file}:${lineNumber + 1}`}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = { lines: { type: 'string', default: '20' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  for (const file of positionals) {
    const { busyMs, functions } = summarise(JSON.parse(fs.readFileSync(file, 'utf8')));
    console.log(`${path.basename(file)}: busy for ${Math.round(busyMs)} ms`);
    for (const which of ['selfMs', 'totalMs']) {
      console.log(`  ${which === 'selfMs' ? 'by itself' : 'with what it calls'}`);
      const sorted = [...functions].sort(([, a], [, b]) => b[which] - a[which]).slice(0, Number(values.lines));
      for (const [name, sum] of sorted)
        console.log(`${((100 * sum[which]) / busyMs).toFixed(1).padStart(8)} %  ${name}`);
    }
  }
}

// The workflow for forks on GitHub, which nothing here can run: what can be known of it without GitHub.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import { root } from '../../../hack/lib/places.mjs';

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}
interface Node {
  readonly kubernetes: string;
  readonly node: string;
}
interface Job {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly 'timeout-minutes'?: number;
  readonly needs?: readonly string[];
  readonly if?: string;
  readonly strategy?: { readonly matrix: { readonly include: readonly Node[] } };
  readonly steps: readonly Step[];
}
interface Workflow {
  readonly permissions: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

/** npm knows these without `run`. */
const SHORT = ['start', 'test'];

describe('the workflow of CI', () => {
  let text: string;
  let workflow: Workflow;
  let scripts: string[];
  before(async () => {
    text = await readFile(path.join(root, '.github/workflows/ci.yml'), 'utf8');
    workflow = parse(text);
    scripts = Object.keys(JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')).scripts);
  });

  const jobs = () => Object.entries(workflow.jobs);
  const steps = () => jobs().flatMap(([, job]) => job.steps);
  const commands = () => steps().flatMap(({ run }) => run?.split('\n') ?? []);

  it('runs no npm script that does not exist', () => {
    const called = commands().flatMap((line) => {
      const [, run, name = ''] = /^npm (run )?([\w:]+)/.exec(line.trim()) ?? [];
      return name === '' ? [] : [{ name, short: run === undefined }];
    });
    assert.ok(called.length > 2);
    for (const { name, short } of called) {
      assert.ok(scripts.includes(name), `npm run ${name} is no script of package.json`);
      if (short) assert.ok(SHORT.includes(name), `npm ${name} needs "run"`);
    }
  });

  it('uses actions by the hash of a commit, with the version in words', () => {
    const lines = text.split('\n').filter((line) => /\buses:/.test(line));
    assert.equal(lines.length, steps().filter(({ uses }) => uses !== undefined).length);
    for (const line of lines) assert.match(line, /uses: [\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  it('gives each job the rights that it needs, and only those that publish more than reading', () => {
    assert.deepEqual(workflow.permissions, {});
    for (const [name, job] of jobs()) {
      const writes = Object.entries(job.permissions ?? {}).filter(([, right]) => right !== 'read');
      assert.deepEqual(writes, name === 'publish' ? [['packages', 'write']] : [], name);
      assert.ok((job['timeout-minutes'] ?? 0) > 0, `${name} may hang for six hours`);
    }
  });

  it('publishes tags only, and nothing that another job has refused', () => {
    const { publish } = workflow.jobs;
    assert.equal(publish?.if, "startsWith(github.ref, 'refs/tags/')");
    const others = Object.keys(workflow.jobs).filter((name) => name !== 'publish');
    assert.deepEqual([...(publish?.needs ?? [])].sort(), others.sort());
    for (const [name, job] of jobs()) {
      const pushes = job.steps.some((step) => step.with?.push === true || /helm push/.test(step.run ?? ''));
      assert.equal(pushes, name === 'publish', name);
    }
  });

  it('puts neither secrets nor texts that others choose into command lines', () => {
    for (const line of commands()) assert.doesNotMatch(line, /\$\{\{/);
    for (const step of steps()) {
      if (step.uses?.startsWith('actions/checkout@')) assert.equal(step.with?.['persist-credentials'], false);
    }
  });

  it('tries every Kubernetes from the oldest that the chart takes on', async () => {
    const { kubeVersion } = parse(await readFile(path.join(root, 'charts/narwhal/Chart.yaml'), 'utf8'));
    const oldest = Number(/^>=1\.(\d+)\.0-0$/.exec(kubeVersion)?.[1]);
    const nodes = workflow.jobs.kind?.strategy?.matrix.include ?? [];
    const minors = nodes.map(({ node }) =>
      Number(/^kindest\/node:v1\.(\d+)\.\d+@sha256:[0-9a-f]{64}$/.exec(node)?.[1]),
    );
    assert.deepEqual(
      nodes.map(({ kubernetes }) => kubernetes),
      minors.map((minor) => `1.${minor}`),
    );
    assert.deepEqual(
      minors,
      minors.map((_, index) => oldest + index),
    );
    assert.ok(minors.length > 1);
  });
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const START = fileURLToPath(new URL('../../hack/start.mjs', import.meta.url));

describe('npm start', () => {
  let data: string;
  before(async () => {
    data = await mkdtemp(path.join(os.tmpdir(), 'narwhal-start-'));
  });
  after(() => rm(data, { recursive: true, force: true }));

  /** Starts what `npm start` starts, and stops it as Ctrl-C does once it is ready. */
  async function startAndStop(): Promise<{ code: number | null; output: string }> {
    const flags = ['--data', data, '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
    const child = spawn(process.execPath, [START, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const hear = (chunk: Buffer) => {
      output += chunk;
      if (output.includes('Ctrl-C')) child.kill('SIGINT');
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { code, output };
  }

  it('runs the built server with the example, says what to paste, and finds everything again', async () => {
    const first = await startAndStop();
    assert.equal(first.code, 0, first.output);
    assert.match(first.output, /nix copy .*--to 'http:\/\/main\.localhost:\d+\/push\?compression=zstd'/);
    assert.match(first.output, /cachix config set hostname http:\/\/localhost:\d+/);
    const key = /main\.localhost-1:[A-Za-z0-9+/=]{44}/.exec(first.output)?.[0];
    assert.ok(key, first.output);
    const second = await startAndStop();
    assert.equal(second.code, 0, second.output);
    assert.ok(second.output.includes(key), 'the second start has another key');
  });
});

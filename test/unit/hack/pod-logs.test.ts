/** What containers have written is kept for the search for secrets. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { savePodLogs } from '../../../hack/lib/pod-logs.mjs';
import { secretsInFolder } from '../../../hack/lib/secrets-in-logs.mjs';

describe('logs of pods', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-pod-logs-'));
  const logs = path.join(folder, 'logs');
  const pods = path.join(folder, 'pods');
  const write = (pod: string, container: string, text: string) => {
    fs.mkdirSync(path.join(pods, pod, container), { recursive: true });
    fs.writeFileSync(path.join(pods, pod, container, '0.log'), text);
  };
  before(() => fs.mkdirSync(logs));
  after(() => fs.rmSync(folder, { recursive: true }));

  it('are searched: of our containers, and of the wanted namespaces', () => {
    const secret = 'authorization: Bearer 0123456789abcdef0123\n';
    write('mine_main-0_uid', 'server', secret);
    write('mine_pusher_uid', 'client', secret);
    write('other_main-0_uid', 'server', secret);
    savePodLogs(pods, logs, (namespace) => namespace === 'mine');
    const { files, found } = secretsInFolder(logs);
    assert.equal(files, 1);
    assert.deepEqual(found, ['mine_main-0_uid-server-0.log:1: a credential']);
  });

  it('are none where no cluster was', () => {
    savePodLogs(path.join(folder, 'absent'), logs);
  });
});

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { isClusterKnown, podAccess } from '../../../../operator/runtime/index.ts';

describe('the access of a pod', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-access-'));
    await writeFile(path.join(folder, 'ca.crt'), 'an authority');
    await writeFile(path.join(folder, 'token'), 'a token\n');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is by its environment and its files', async () => {
    const access = podAccess({ KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '6443' }, folder);
    assert.deepEqual(await access(), {
      server: 'https://10.96.0.1:6443',
      tls: { ca: 'an authority' },
      headers: { Authorization: 'Bearer a token' },
    });
  });

  it('is by IPv6 too', async () => {
    const { server } = await podAccess({ KUBERNETES_SERVICE_HOST: 'fd00::1' }, folder)();
    assert.equal(server, 'https://[fd00::1]:443');
  });

  it('reads the token that is there now', async () => {
    const access = podAccess({ KUBERNETES_SERVICE_HOST: '10.96.0.1' }, folder);
    await writeFile(path.join(folder, 'token'), 'a new token');
    assert.equal((await access()).headers.Authorization, 'Bearer a new token');
    await rm(path.join(folder, 'token'));
    await assert.rejects(access(), /ENOENT/);
  });
});

describe('a cluster', () => {
  it('is known by a kubeconfig that is named, or by the environment of a pod', () => {
    assert.equal(isClusterKnown({ KUBECONFIG: '/nowhere' }), true);
    assert.equal(isClusterKnown({ KUBERNETES_SERVICE_HOST: '10.96.0.1' }), true);
  });
});

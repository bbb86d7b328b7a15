import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { CertificateAuthority } from '../support/certificates.ts';
import { runCli } from '../support/cli.ts';
import { TestGateway } from '../support/gateway.ts';
import { until } from '../support/server.ts';
import { Upstream } from '../support/upstream.ts';

describe('a gateway that ends TLS', () => {
  let folder: string;
  let authority: CertificateAuthority;
  let upstream: Upstream;
  let gateway: TestGateway;
  const file = (name: string) => path.join(folder, name);

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-gateway-tls-'));
    authority = await CertificateAuthority.make(file('ca'));
    await use('first');
    upstream = await Upstream.start();
    gateway = await TestGateway.start({
      table: { caches: { main: { url: upstream.url } } },
      args: ['--tls-cert', file('tls.crt'), '--tls-key', file('tls.key')],
    });
  });
  after(async () => {
    await gateway.remove();
    await upstream.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Puts a new certificate where the gateway looks. */
  async function use(name: string): Promise<void> {
    const { certFile, keyFile } = await authority.issue('server', name, `/CN=${name}`);
    await copyFile(certFile, file('tls.crt'));
    await copyFile(keyFile, file('tls.key'));
  }

  async function get(path: string): Promise<{ status: number; text: string }> {
    const ca = await readFile(authority.caFile);
    return new Promise((resolve, reject) => {
      https
        .get({ host: '127.0.0.1', port: gateway.port, path, ca, agent: false }, async (response) => {
          let text = '';
          for await (const piece of response.setEncoding('utf8')) text += piece;
          resolve({ status: response.statusCode ?? 0, text });
        })
        .on('error', reject);
    });
  }

  const subject = () =>
    new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ host: '127.0.0.1', port: gateway.port, rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
      socket.on('error', reject);
    });

  it('passes requests on, and says that they came by https', async () => {
    assert.deepEqual(await get('/api/v1/cache/main/x'), { status: 200, text: 'hello\n' });
    assert.equal(upstream.last.headers['x-forwarded-proto'], 'https');
  });

  it('takes a renewed certificate over, and keeps the old one while a new one is no good', async () => {
    assert.equal(await subject(), 'first');
    await use('second');
    await until('it is in use', async () => (await subject()) === 'second');
    await writeFile(file('tls.crt'), 'no certificate');
    const word = 'the certificate could not be read; the last good one stays';
    await until('it is noticed', () => gateway.output.includes(word));
    assert.equal(await subject(), 'second');
    await use('third');
    await until('it is in use', async () => (await subject()) === 'third');
    assert.equal((await get('/api/v1/cache/main/x')).status, 200);
  });

  it('survives those who speak no TLS', async () => {
    await assert.rejects(fetch(`http://127.0.0.1:${gateway.port}/`));
    assert.equal((await get('/api/v1/cache/main/x')).status, 200);
  });

  it('wants certificate and key', async () => {
    const args = ['gateway', '--routes', `file:${gateway.tableFile}`, '--tls-cert', file('tls.crt')];
    const { code, stderr } = await runCli(args);
    assert.deepEqual([code, stderr], [1, 'narwhal-server: --tls-cert and --tls-key go together\n']);
  });
});

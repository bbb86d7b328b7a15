/** The gateway with TLS of its own: nix and cachix through it, hosts it does not know, a large path, a new certificate. */
import assert from 'node:assert/strict';
import type { Answer, Question } from '../support/e2e/ask-main.ts';
import { haveCaches } from '../support/e2e/caches.ts';
import { Client } from '../support/e2e/client.ts';
import { conditionOf } from '../support/e2e/conditions.ts';
import { type Acknowledged, acknowledgedIn, assertPulls, trusting } from '../support/e2e/pulls.ts';
import { API_HOST, CA, ensureRelease, SYSTEM, useNewCertificate } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';

const PROGRAMS = '/app/test/support/e2e';
const LARGE_BYTES = 2 ** 30;
/** docs/gateway.md: "at most about 250 MB under load, however large the NARs are". */
const MOST_KILOBYTES = 320 * 1024;
const GATEWAY = 'app.kubernetes.io/component=gateway';

story('gateway', 'the gateway', (world) => {
  /** Public names are one cluster's. */
  let cache: string;
  let other: string;
  let client: Client;
  let url: string;
  let publicKeys: string[];
  const pushed: Acknowledged[] = [];

  const gateways = () => world().list('pods', ['-l', GATEWAY], { namespace: SYSTEM });
  const lives = async () =>
    (await gateways()).map(({ metadata, status }) => [metadata.uid, status.containerStatuses[0].restartCount]);
  const ask = async (question: Question): Promise<Answer> =>
    JSON.parse(await client.run(`node ${PROGRAMS}/ask-main.ts '${JSON.stringify(question)}'`));
  const tokenFile = (name: string) => `/secrets/${name}-token-push/token`;

  /** The sum over all pods of the gateway. */
  async function metric(name: string, of: string, code?: string): Promise<number> {
    const labels = `cache="${of}"${code === undefined ? '' : `,code="${code}"`}`;
    const counts = (await gateways()).map(async ({ metadata }) => {
      const place = `/api/v1/namespaces/${SYSTEM}/pods/${metadata.name}:9090/proxy/metrics`;
      const lines = (await world().kubectl(['get', '--raw', place])).split('\n');
      const line = lines.find((it) => it.startsWith(`narwhal_gateway_${name}{${labels}}`));
      return Number(line?.split(' ')[1] ?? 0);
    });
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }

  before(async () => {
    await ensureRelease(world());
    [cache, other] = ['one', 'two'].map((name) => `${name}-${world().suffix}`) as [string, string];
    const tokens = [{ name: 'push', permissions: ['Write'] }];
    await haveCaches(world(), {
      [cache]: { access: 'Private', storages: [{ name: 'disk', local: { size: '3Gi' } }], tokens },
      [other]: { storages: [{ name: 'disk', local: { size: '1Gi' } }], tokens },
    });
    const secrets = [cache, other].map((name) => `${name}-token-push`);
    client = await Client.start(world(), 'client', { secrets, configMaps: [CA], env: trusting(CA) });
  });

  it('gives each cache a host of its own below that of the API, and the status tells it', async () => {
    const found = await world().get(`binarycache/${cache}`);
    url = found.status.url;
    publicKeys = found.status.publicKeys;
    assert.equal(url, `https://${cache}.${API_HOST}`);
    assert.equal(conditionOf(found, 'Exposed')?.message, `pulls at ${url}`);
    assert.match(publicKeys.join(), new RegExp(`^${cache}\\.${API_HOST}-1:`));
  });

  it('takes what nix and cachix push in pods', async () => {
    const byNix = `
      mkdir /tmp/tree && head -c 300000 /dev/urandom > /tmp/tree/random && ln -s random /tmp/tree/link
      path=$(nix store add --name tree /tmp/tree)
      nix copy --netrc-file /secrets/${cache}-token-push/netrc --to '${url}/push?compression=zstd' "$path"
      nix path-info --json --json-format 1 "$path"`;
    const found = JSON.parse(await client.run(byNix)) as Record<string, { narHash: string }>;
    for (const [storePath, { narHash }] of Object.entries(found)) pushed.push({ storePath, narHash });
    const env = `HOST=https://${API_HOST} CACHE=${cache} TOKEN_FILE=${tokenFile(cache)}`;
    const byCachix = `${env} COUNT=3 BYTES=2000000 CHUNK_BYTES=1100000 node ${PROGRAMS}/push-main.ts`;
    pushed.push(...acknowledgedIn(await client.run(byCachix)));
    assert.equal(pushed.length, 4);
  });

  it('gives all of it back to nix, byte for byte, with its signature checked', async () => {
    await assertPulls(client, pushed, { url, publicKeys, netrc: `/secrets/${cache}-token-push/netrc` });
    const stranger = await client.tryRun(`nix copy --from ${url} --to /tmp/none ${pushed[0]?.storePath}`);
    assert.notEqual(stranger.code, 0, 'the cache is private');
  });

  it('answers for hosts and caches that it does not know as its page says', async () => {
    const rows: [question: Question, status: number, text: string][] = [
      [{ url: `https://nobody-${world().suffix}.${API_HOST}/${'0'.repeat(32)}.narinfo` }, 404, 'not found'],
      [{ url: `https://${API_HOST}/nix-cache-info`, headers: { host: `${cache}.example.org` } }, 404, 'no such cache'],
      [
        { url: `https://${API_HOST}/api/v1/cache/nobody-${world().suffix}` },
        401,
        'no such cache, or no access to it without a token that it knows',
      ],
      [{ url: `https://${API_HOST}/api/v1/user` }, 401, 'no cache here knows this token'],
    ];
    for (const [question, status, text] of rows) {
      const answer = await ask(question);
      assert.deepEqual([answer.status, answer.text], [status, `${text}\n`], question.url);
    }
  });

  // No server takes WebSockets yet. What the gateway does with one that is taken: test/integration/gateway-websocket.
  it('leads a WebSocket to the cache of its token, and gives its refusal back whole', async () => {
    const script = (base: string, token: string) =>
      `authorization="Bearer $(cat ${token})"
       node ${PROGRAMS}/ask-main.ts "{\\"url\\": \\"${base}/ws\\", \\"headers\\": {\\"authorization\\": \\"$authorization\\",
         \\"connection\\": \\"Upgrade\\", \\"upgrade\\": \\"websocket\\", \\"sec-websocket-version\\": \\"13\\",
         \\"sec-websocket-key\\": \\"MDEyMzQ1Njc4OWFiY2RlZg==\\", \\"x-request-id\\": \\"one-that-we-know\\"}}"`;
    for (const name of [cache, other]) {
      const before = await metric('requests_total', name, '4xx');
      const through = JSON.parse(await client.run(script(`https://${API_HOST}`, tokenFile(name)))) as Answer;
      const direct = JSON.parse(
        await client.run(script(`http://${name}.${world().namespace}.svc`, tokenFile(name))),
      ) as Answer;
      const bare = ({ status, text, headers: { date: _, connection: __, 'keep-alive': ___, ...headers } }: Answer) => ({
        status,
        text,
        headers,
      });
      assert.deepEqual(bare(through), bare(direct));
      assert.deepEqual([through.status, through.text], [404, 'not found\n']);
      assert.equal(await metric('requests_total', name, '4xx'), before + 1);
    }
    const without = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' };
    const refused = await ask({ url: `https://${API_HOST}/ws`, headers: without });
    assert.deepEqual([refused.status, refused.text], [401, 'no cache here knows this token\n']);
  });

  let subject: string;
  let livesBefore: unknown;
  it('is given another certificate of its authority', async () => {
    livesBefore = await lives();
    subject = `renewed-${world().suffix}`;
    await useNewCertificate(world(), subject);
  });

  it('takes 1 GiB in one request and gives it back, in memory that stays flat', async () => {
    const env = `URL_OF_CACHE=${url} TOKEN_FILE=${tokenFile(cache)} BYTES=${LARGE_BYTES}`;
    const [{ storePath } = { storePath: '' }] = acknowledgedIn(
      await client.run(`${env} node ${PROGRAMS}/large-main.ts`),
    );
    assert.match(storePath, /-large$/);
    for (const way of ['received', 'sent']) assert.ok((await metric(`${way}_bytes_total`, cache)) > LARGE_BYTES, way);
    const peaks = await Promise.all((await gateways()).map(({ metadata }) => peakKilobytes(metadata.name)));
    for (const peak of peaks) assert.ok(peak < MOST_KILOBYTES, `a pod of the gateway took ${peak} kB`);
  });

  /** The most memory that the program of a pod ever had at once. */
  async function peakKilobytes(pod: string): Promise<number> {
    const script = `process.stdout.write(require('node:fs').readFileSync('/proc/1/status', 'utf8'))`;
    const status = await world().kubectl(['exec', pod, '--', 'node', '-e', script], { namespace: SYSTEM });
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
  }

  it('serves with the new certificate in all its pods, none of which has restarted', async () => {
    const addresses = (await gateways()).map(({ status }) => status.podIP);
    const script = `
      const subject = (host) => new Promise((resolve, reject) => {
        const socket = require('node:tls').connect({ host, port: 8080, servername: '${API_HOST}' }, () => {
          resolve(socket.getPeerCertificate().subject.CN);
          socket.destroy();
        });
        socket.on('error', reject);
      });
      Promise.all(${JSON.stringify(addresses)}.map(subject)).then((all) => console.log(all.join()));`;
    const expected = addresses.map(() => subject).join();
    await world().until('the new certificate', async () => {
      return (await client.run('node -', script)).trim() === expected;
    });
    assert.deepEqual(await lives(), livesBefore);
  });
});

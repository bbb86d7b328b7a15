/** A private cache: pods that mount a token's Secret do what the token allows, others get nothing. */
import assert from 'node:assert/strict';
import { BUILDING, buildCommand } from '../support/e2e/builds.ts';
import { Client, runJob } from '../support/e2e/client.ts';
import { ensureRelease } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';

const READERS = '/secrets/team-token-developers';
const PUSHERS = '/secrets/team-token-ci';
const ABSENT = '0'.repeat(32);

story('private', 'a private cache', (world) => {
  let url: string;
  let reader: Client;
  let stranger: Client;
  /** What was pushed: a path that is not content-addressed, and the hash of its NAR. */
  let path: string;
  let narHash: string;
  let narinfo: string;
  let nar: string;

  before(async () => {
    await ensureRelease(world());
    url = `http://team.${world().namespace}.svc`;
    await world().kubectl(['apply', '-f', 'examples/private.yaml']);
    await world().wait('binarycache/team', 'condition=Ready');
    [reader, stranger] = await Promise.all([
      Client.start(world(), 'reader', { secrets: ['team-token-developers'] }),
      Client.start(world(), 'stranger'),
    ]);
  });

  /** What curl is told at an address: status, body, and the headers that two answers can share. */
  async function told(client: Client, address: string, options = ''): Promise<{ status: number; answer: string }> {
    const answer = await client.run(`curl --silent --include ${options} '${url}${address}'`);
    return {
      status: Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]),
      answer: answer.replace(/^(date|x-request-id):.*\r\n/gim, ''),
    };
  }

  it('takes a closure from a Job that mounts a token to push', async () => {
    const script = `
      ${BUILDING}
      path=$(${buildCommand('secret-plans')})
      nix copy --netrc-file ${PUSHERS}/netrc --to '${url}/push?compression=zstd' "$path"
      echo "$path $(nix-store --query --hash "$path")"`;
    const log = await runJob(world(), 'push', script, { secrets: ['team-token-ci'] });
    [path = '', narHash = ''] = log.trim().split('\n').at(-1)?.split(' ') ?? [];
    assert.match(path, /^\/nix\/store\/\w{32}-secret-plans$/, log);
    narinfo = `/${path.slice(11, 43)}.narinfo`;
  });

  it('gives it to a pod that mounts the Secret of a reader, signed by its key', async () => {
    const printed = await reader.run(`
      export NIX_USER_CONF_FILES=${READERS}/nix.conf NIX_CONFIG='netrc-file = ${READERS}/netrc'
      nix-store --realise ${path}
      nix store verify --recursive --sigs-needed 1 ${path}
      nix-store --query --hash ${path}`);
    assert.equal(printed.trim().split('\n').at(-1), narHash);
    const { status, answer } = await told(reader, narinfo, `--netrc-file ${READERS}/netrc`);
    assert.equal(status, 200, answer);
    assert.match(answer, /^cache-control: private,/im);
    nar = `/${/^URL: (.*)$/m.exec(answer)?.[1]}`;
    assert.equal((await told(reader, nar, `--netrc-file ${READERS}/netrc --head`)).status, 200);
  });

  it('looks empty to a nix without a token', async () => {
    const asked = await stranger.tryRun(`nix path-info --store ${url} ${path}`);
    assert.notEqual(asked.code, 0);
    assert.match(asked.stderr, /is not valid/);
    const pulled = await stranger.tryRun(`nix-store --option substituters ${url} --realise ${path}`);
    assert.notEqual(pulled.code, 0);
    assert.doesNotMatch(pulled.stderr, /signature/);
  });

  it('answers a stranger the same about what is there and what is not', async () => {
    const pairs = [
      [narinfo, `/${ABSENT}.narinfo`],
      [nar, `/nar/${'0'.repeat(52)}.nar.zst`],
      [narinfo.replace('narinfo', 'ls'), `/${ABSENT}.ls`],
      [`/push${narinfo}`, `/push/${ABSENT}.narinfo`],
      [`/api/v1/cache/team${narinfo}`, `/api/v1/cache/team/${ABSENT}.narinfo`],
    ] as const;
    for (const [present, absent] of pairs) {
      const hidden = await told(stranger, present);
      assert.equal(hidden.status, 404, `${present}: ${hidden.answer}`);
      assert.deepEqual(hidden, await told(stranger, absent), present);
    }
    const query = `--data '["${path.slice(11, 43)}"]' --header 'Content-Type: application/json'`;
    assert.equal((await told(stranger, '/api/v1/cache/team/narinfo', query)).status, 401);
    assert.equal((await told(stranger, '/api/v1/cache/team')).status, 401);
    // Without it nix would switch the cache off.
    assert.equal((await told(stranger, '/nix-cache-info')).status, 200);
  });

  it('tells a wrong token that it is wrong', async () => {
    for (const address of [narinfo, nar, '/nix-cache-info']) {
      const { status, answer } = await told(stranger, address, '--user any:nwl_nonsense');
      assert.equal(status, 401, address);
      assert.match(answer, /^no such cache, or no access to it without a token that it knows$/m);
    }
  });

  it('lets the token of a reader push nothing, by nix or by cachix', async () => {
    const needs = /token developers has the permission Read, this needs Write/;
    const byNix = await reader.tryRun(`
      ${BUILDING}
      path=$(${buildCommand('intrusion')})
      echo "$path"
      nix copy --netrc-file ${READERS}/netrc --to '${url}/push?compression=zstd' "$path"`);
    assert.notEqual(byNix.code, 0);
    assert.match(byNix.stderr, needs);
    const hashPart = byNix.stdout.slice(11, 43);
    assert.equal((await told(reader, `/${hashPart}.narinfo`, `--netrc-file ${READERS}/netrc`)).status, 404);
    const byCachix = await reader.tryRun(`
      export CACHIX_AUTH_TOKEN=$(cat ${READERS}/token)
      node /app/test/support/e2e/cachix-push.ts ${url} team`);
    assert.notEqual(byCachix.code, 0);
    assert.match(byCachix.stderr, needs);
  });

  it('is closed to a token that has expired and to one that is not listed any more, once it is Ready again', async () => {
    const tokens = [
      { name: 'developers', permissions: ['Read'], expiresAt: '2020-01-01T00:00:00Z' },
      { name: 'next', permissions: ['Read'] },
    ];
    const patch = JSON.stringify({ spec: { tokens } });
    // The Secret of a token that is not listed any more goes; who has mounted it keeps its text.
    const removedOne = await Client.start(world(), 'removed', { secrets: ['team-token-ci'] });
    await world().kubectl(['patch', 'binarycache/team', '--type=merge', '--patch', patch]);
    await world().wait('binarycache/team', 'condition=Ready');
    const late = await Client.start(world(), 'late', { secrets: ['team-token-next'] });
    const [expired, removed, next] = await Promise.all([
      told(reader, narinfo, `--netrc-file ${READERS}/netrc`),
      told(removedOne, narinfo, `--netrc-file ${PUSHERS}/netrc`),
      told(late, narinfo, '--netrc-file /secrets/team-token-next/netrc'),
    ]);
    assert.equal(expired.status, 401);
    assert.match(expired.answer, /^cache team: token developers expired on 2020-01-01T00:00:00\.000Z$/m);
    assert.equal(removed.status, 401);
    assert.match(removed.answer, /^no such cache, or no access to it without a token that it knows$/m);
    assert.equal(next.status, 200, next.answer);
  });
});

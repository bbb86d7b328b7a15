// What is checked of files beside narinfos and NARs, and what is told of bodies that cannot be right.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import { LISTING, nixPath, push } from '../support/nix-path.ts';
import { put, send } from '../support/raw-http.ts';
import { TestServer } from '../support/server.ts';

describe('files beside narinfos and NARs', () => {
  let server: TestServer;
  let auth: Record<string, string>;
  before(async () => {
    server = await TestServer.start();
    auth = await server.auth();
  });
  after(() => server.remove());

  const write = (where: string, body: string | Buffer, headers = {}) =>
    put(`${server.api()}/push`, where, body, { ...auth, ...headers });
  const read = (where: string, method = 'GET') => send(server.api(), where, { method });

  it('are refused where their form is known and is another, and what was there stays', async () => {
    const { hashPart } = nixPath();
    const link = '{"archive":"../nar/x","member":"y"}';
    const families: [where: string, good: string, bad: string[]][] = [
      [`/${hashPart}.ls`, LISTING, ['', 'not json', '{}', `${LISTING}x`, '['.repeat(50_000), LISTING.slice(0, -1)]],
      [
        `/debuginfo/${'ab'.repeat(20)}.debug`,
        link,
        ['', 'not json', '{}', link.replace('../nar', 'https://example.org')],
      ],
    ];
    for (const [where, good, bad] of families) {
      assert.equal((await write(where, good)).status, 200);
      for (const body of bad) {
        for (const [encoding, bytes] of [
          ['identity', Buffer.from(body)],
          ['gzip', zlib.gzipSync(body)],
        ] as const) {
          const reply = await write(where, bytes, { 'content-encoding': encoding });
          assert.equal(reply.status, 400, `${where} ${body.slice(0, 50)}: ${reply.text}`);
          assert.match(reply.text, /^[ -~]+\n$/);
        }
      }
      assert.equal((await read(where)).text, good);
    }
  });

  it('have one object where debug information has two names', async () => {
    const id = `/debuginfo/${'cd'.repeat(20)}`;
    const link = (member: string) => `{"archive":"../nar/x","member":"${member}"}`;
    for (const [written, member] of [
      [id, 'first'],
      [`${id}.debug`, 'second'],
    ] as const) {
      assert.equal((await write(written, link(member))).status, 200);
      for (const name of [id, `${id}.debug`]) {
        assert.equal((await read(name)).text, link(member));
        const head = await read(name, 'HEAD');
        assert.equal(head.status, 200);
        assert.equal(head.headers['content-length'], String(link(member).length));
      }
    }
  });

  it('and NARs without a byte are told as such', async () => {
    const empty = `/nar/${nixPath().url.slice(4)}`;
    const reply = await write(empty, '');
    assert.equal(reply.status, 400);
    assert.equal(reply.text, 'the file is empty: no byte of a NAR has arrived\n');
    const { hashPart } = nixPath();
    const narinfo = await write(`/${hashPart}.narinfo`, '');
    assert.equal(narinfo.status, 400);
    assert.match(narinfo.text, /empty/);
  });

  it('and NARs with a zstd window that nix cannot read are told as such, with what to do', async () => {
    // A frame with a window of 2^28 bytes (RFC 8878, section 3.1.1.1.2).
    const header = Buffer.from('28b52ffd0090', 'hex');
    for (const size of [1000, 1_000_000]) {
      const it = nixPath({ file: () => Buffer.concat([header, randomBytes(size)]) });
      const { nar } = await push(`${server.api()}/push`, it, auth);
      assert.equal(nar.status, 415);
      const how = 'compress with one of 128 MiB or less (--long=27)';
      assert.equal(nar.text, `the zstd data has a window of 256 MiB: ${how}\n`);
    }
  });
});

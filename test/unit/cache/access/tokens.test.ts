import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { generateToken, hashToken } from '../../../../crds/index.ts';
import { authorize } from '../../../../server/cache/access/access.ts';
import { type Permission, Tokens } from '../../../../server/cache/access/tokens.ts';

const PERMISSIONS: readonly Permission[] = ['Read', 'Write', 'Admin'];
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

describe('a generated token', () => {
  it('is nwl_ and 43 base62 digits with six of their checksum', () => {
    for (let count = 0; count < 100; count++) {
      const [, body = '', check = ''] = /^nwl_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/.exec(generateToken()) ?? [];
      const value = [...check].reduce((sum, digit) => sum * 62 + BASE62.indexOf(digit), 0);
      assert.equal(value, crc32(body));
    }
  });

  it('is another one each time', () => {
    assert.equal(new Set(Array.from({ length: 100 }, generateToken)).size, 100);
  });
});

describe('the tokens of a cache', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-tokens-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  function load(...plans: Parameters<typeof Tokens.load>[0]): Promise<Tokens> {
    return Tokens.load(plans, folder);
  }

  it('know who a token is, whether it is listed by its hash or its text', async () => {
    const sha256 = createHash('sha256').update('first').digest('hex');
    assert.equal(hashToken('first'), sha256);
    const tokens = await load(
      { name: 'a', permissions: ['Read'], sha256 },
      { name: 'b', permissions: ['Read', 'Write'], secret: 'second' },
    );
    assert.deepEqual(tokens.identify('first'), { kind: 'token', name: 'a', permission: 'Read' });
    assert.deepEqual(tokens.identify('second'), { kind: 'token', name: 'b', permission: 'Write' });
  });

  it('tell strangers from people without a token', async () => {
    const tokens = await load({ name: 'a', permissions: ['Read'], secret: 'right' });
    assert.deepEqual(tokens.identify(undefined), { kind: 'anonymous' });
    for (const wrong of ['', 'wrong', 'Right', 'right ', hashToken('right')])
      assert.deepEqual(tokens.identify(wrong), { kind: 'unknown' });
  });

  it('end at their expiry', async () => {
    const expiresAt = new Date('2026-06-01T00:00:00Z');
    const tokens = await load({ name: 'a', permissions: ['Read'], secret: 'it', expiresAt });
    assert.equal(tokens.identify('it', new Date('2026-05-31T23:59:59.999Z')).kind, 'token');
    assert.deepEqual(tokens.identify('it', expiresAt), {
      kind: 'refused',
      reason: 'token a expired on 2026-06-01T00:00:00.000Z',
    });
  });

  it('are generated once, for their owner only', async () => {
    const plan = { name: 'push', permissions: ['Write'] } as const;
    const [file] = [path.join(folder, 'push')];
    await load(plan);
    const { mode, ino } = await stat(file);
    assert.equal(mode & 0o777, 0o600);
    await load(plan);
    assert.equal((await stat(file)).ino, ino);
    assert.deepEqual(await readdir(folder), ['push']);
  });

  it('allow what they include: Admin over Write over Read', async () => {
    for (const [rank, permission] of PERMISSIONS.entries()) {
      const guarded = { isPublic: false, tokens: await load({ name: 'a', permissions: [permission], secret: 'it' }) };
      const allowed = PERMISSIONS.filter((needed) => authorize(guarded, 'it', needed).allowed);
      assert.deepEqual(allowed, PERMISSIONS.slice(0, rank + 1));
    }
  });

  it('are not needed to read a public cache, not even by somebody with a wrong one', async () => {
    const guarded = { isPublic: true, tokens: await load() };
    assert.equal(authorize(guarded, undefined, 'Read').allowed, true);
    assert.equal(authorize(guarded, 'wrong', 'Read').allowed, true);
    assert.equal(authorize(guarded, undefined, 'Write').allowed, false);
  });

  it('are refused with a reason that does not repeat them', async () => {
    const guarded = {
      isPublic: false,
      tokens: await load({ name: 'a', permissions: ['Read'], secret: 'it-is-secret' }),
    };
    for (const token of [undefined, 'nwl_wrong', 'it-is-secret']) {
      const access = authorize(guarded, token, 'Write');
      assert.equal(access.allowed, false);
      assert.doesNotMatch(JSON.stringify(access), /secret|nwl_/);
    }
  });
});

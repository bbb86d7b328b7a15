import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runMigrate } from '../../server/cli/migrate.ts';
import { explained } from '../../server/explain.ts';
import type { Running } from '../../server/serve.ts';
import { startInProcess } from '../support/in-process.ts';
import { makePath, narInfoCreate, type TestPath } from '../support/nars.ts';
import { createUpload, pushByPut, sendPart } from '../support/push.ts';
import { cacheManifest, TestServer } from '../support/server.ts';

const GARBAGE = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 151 + 7) % 256));

/** What happens to a file: `: > file`, a disk that ran full, a wrong copy, a slip of the hand. */
const DAMAGE = {
  empty: (file: string) => writeFile(file, ''),
  half: async (file: string) => {
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, bytes.length >> 1));
  },
  garbage: (file: string) => writeFile(file, GARBAGE),
  folder: async (file: string) => {
    await rm(file, { recursive: true });
    await mkdir(file);
  },
  /** Of a folder. */
  file: async (file: string) => {
    await rm(file, { recursive: true });
    await writeFile(file, 'x');
  },
} as const;

type Damage = keyof typeof DAMAGE;
const FILE: readonly Damage[] = ['empty', 'half', 'garbage', 'folder'];

/** A copy of a cache's files, and what a test must know of it. */
interface Copy {
  readonly folder: string;
  readonly manifest: string;
  readonly data: string;
  readonly cache: string;
  readonly disk: string;
}

function copyAt(folder: string): Copy {
  const data = path.join(folder, 'data');
  return {
    folder,
    data,
    manifest: path.join(folder, 'cache.yaml'),
    cache: path.join(data, 'main'),
    disk: path.join(folder, 'disk'),
  };
}

const manifestOf = ({ disk }: Copy) =>
  cacheManifest(
    'main',
    `storages:\n  - {name: disk, local: {path: ${disk}}}\ntokens:\n  - {name: push, permissions: [Write]}\n`,
  );

/** Node copies no sockets, as that of a server which was killed. */
const isFile = (name: string): boolean => path.extname(name) !== '.sock';

describe('a damaged file', () => {
  let folder: string;
  /** After a stop, and after a crash, which leaves the log of the database. */
  let stopped: Copy;
  let killed: Copy;
  let published: TestPath;
  let unfinished: { path: TestPath; id: string; uploadId: string; etags: string[] };
  let secrets: string[];
  let copies = 0;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-damage-'));
    stopped = copyAt(path.join(folder, 'stopped'));
    killed = copyAt(path.join(folder, 'killed'));
    const server = await TestServer.start({ folder: stopped.folder, manifest: manifestOf(stopped) });
    published = makePath();
    await pushByPut(server, published);
    const it = makePath({ contents: randomBytes(3000) });
    const upload = await createUpload(server);
    // The last part waits in a file of its own: it overtook the one before it.
    const etags = [await sendPart(upload, 1, it.file.subarray(0, 1000))];
    etags[2] = await sendPart(upload, 3, it.file.subarray(2000));
    unfinished = { path: it, id: upload.url.split('/').at(-1) ?? '', uploadId: upload.uploadId, etags };
    await server.stop('SIGKILL');
    await cp(stopped.folder, killed.folder, { recursive: true, filter: isFile });
    await server.restart();
    await server.stop();
    secrets = [
      (await readFile(path.join(stopped.cache, 'root.key'), 'utf8')).trim(),
      (await readFile(path.join(stopped.cache, 'tokens/push'), 'utf8')).trim(),
      (await readFile(path.join(stopped.cache, 'signing/main.localhost-1'), 'utf8')).trim().split(':')[1] ?? '',
    ];
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function copied(from: Copy): Promise<Copy> {
    const copy = copyAt(path.join(folder, `copy-${++copies}`));
    await cp(from.folder, copy.folder, { recursive: true, filter: isFile });
    await writeFile(copy.manifest, manifestOf(copy));
    return copy;
  }

  const start = (copy: Copy, onLog?: (line: string) => void) =>
    startInProcess({ files: [copy.manifest], data: copy.data }, onLog);

  /** One line that names cache and file and says what to do, and nothing that is secret, not even half of it. */
  function assertLine(line: string | undefined, file: string, words: RegExp): void {
    assert.ok(line !== undefined, 'nobody expected this error');
    assert.match(line, /^[ -~]+$/);
    assert.ok(line.includes(file), `${line}\nhas no ${file}`);
    assert.match(line, words);
    for (const secret of secrets)
      for (let at = 0; at + 8 <= secret.length; at += 4) assert.ok(!line.includes(secret.slice(at, at + 8)), line);
  }

  /** Files without which no server of the cache starts: how each is damaged, and what the line says then. */
  const REFUSED: readonly (readonly [string, (copy: Copy) => string, Readonly<Partial<Record<Damage, RegExp>>>])[] = [
    [
      'the root key',
      ({ cache }) => path.join(cache, 'root.key'),
      {
        empty: /is empty: put it back from a backup, or remove it/,
        half: /is neither 32 bytes nor their base64: put it back/,
        garbage: /is neither 32 bytes nor their base64: put it back/,
        folder: /is a folder and no file: put it back/,
      },
    ],
    [
      'a signing key',
      ({ cache }) => path.join(cache, 'signing/main.localhost-1'),
      {
        empty: /is empty: put it back from a backup/,
        half: /is no signing key: .*: put it back/,
        garbage: /is not text \(UTF-8\): put it back/,
        folder: /is a folder and no file: put it back/,
      },
    ],
    [
      'a token',
      ({ cache }) => path.join(cache, 'tokens/push'),
      {
        empty: /is empty: put it back from a backup, or remove it/,
        half: /is a token of Narwhal .* something is missing or changed: put it back/,
        garbage: /is not text \(UTF-8\): put it back/,
        folder: /is a folder and no file: put it back/,
      },
    ],
    [
      'the database',
      ({ cache }) => path.join(cache, 'db.sqlite'),
      {
        empty: /is empty, and keys or storages beside it .*; bring it back from a backup/,
        half: /is damaged: its content contradicts itself; bring it back from a backup/,
        garbage: /is damaged: it is no SQLite database; bring it back/,
        folder: /cannot be opened; this user must own it/,
      },
    ],
    [
      'the lock',
      ({ cache }) => path.join(cache, 'lock'),
      { garbage: /is no lock of ours; remove it/, folder: /cannot be opened; this user must own it/ },
    ],
    ['the folder of tokens', ({ cache }) => path.join(cache, 'tokens'), { file: /move it away/ }],
    ['the folder of signing keys', ({ cache }) => path.join(cache, 'signing'), { file: /move it away/ }],
    ['the folder of the cache', ({ cache }) => cache, { file: /move it away/ }],
  ];

  for (const [what, fileOf, kinds] of REFUSED)
    for (const [kind, words] of Object.entries(kinds) as [Damage, RegExp][])
      it(`refuses the start in one line: ${what}, ${kind}`, async () => {
        const copy = await copied(stopped);
        await DAMAGE[kind](fileOf(copy));
        const before = await tree(copy.folder);
        await assert.rejects(start(copy), (error) => {
          assertLine(explained(error), fileOf(copy), new RegExp(`^cache main: .*${words.source}`));
          return true;
        });
        // Whoever brings the file back finds the rest as it was.
        assert.deepEqual(await tree(copy.folder), before);
      });

  it('refuses a migration in one line: the database, empty', async () => {
    const copy = await copied(stopped);
    const file = path.join(copy.cache, 'db.sqlite');
    await DAMAGE.empty(file);
    const options = { files: [copy.manifest], data: copy.data, secrets: undefined, waitMs: 1000 };
    await assert.rejects(runMigrate(options), (error) => {
      assertLine(explained(error), file, /^cache main: .* is empty, and keys or storages beside it/);
      return true;
    });
  });

  it('refuses the start in one line: a log whose database was emptied or is gone', async () => {
    for (const damage of [DAMAGE.empty, (file: string) => rm(file)]) {
      const copy = await copied(killed);
      const file = path.join(copy.cache, 'db.sqlite');
      const log = await readFile(`${file}-wal`);
      assert.ok(log.length > 0);
      await damage(file);
      await assert.rejects(start(copy), (error) => {
        assertLine(explained(error), file, /^cache main: .* is (?:empty|gone), and its log is there; bring it back/);
        return true;
      });
      // SQLite itself throws the log away.
      assert.deepEqual(await readFile(`${file}-wal`), log);
    }
  });

  it('refuses the start in one line: a log that was lost with all that the database held', async () => {
    for (const kind of ['empty', 'garbage', 'folder'] as const) {
      const copy = await copied(killed);
      await DAMAGE[kind](path.join(copy.cache, 'db.sqlite-wal'));
      await assert.rejects(start(copy), (error) => {
        assertLine(explained(error), path.join(copy.cache, 'db.sqlite'), /^cache main: /);
        return true;
      });
    }
  });

  /** What makes a storage unavailable, while the cache goes on. */
  const UNAVAILABLE: readonly (readonly [string, (copy: Copy) => string, readonly Damage[], RegExp])[] = [
    [
      'its marker',
      ({ disk }) => path.join(disk, '.narwhal'),
      ['empty', 'half', 'garbage'],
      /is no marker of a storage: damaged, or another program's; .* write this into it: \{"cacheId"/,
    ],
    ['its marker', ({ disk }) => path.join(disk, '.narwhal'), ['folder'], /a folder is where a file should be/],
    ['its staging folder', ({ disk }) => path.join(disk, '.staging'), ['file'], /a file is where a folder should be/],
    ['its objects', ({ disk }) => path.join(disk, 'objects'), ['file'], /a file is where a folder should be/],
    ['its own folder', ({ disk }) => disk, ['file'], /a file is where a folder should be/],
  ];

  for (const [what, fileOf, kinds, words] of UNAVAILABLE)
    for (const kind of kinds)
      it(`makes a storage unavailable in one line, and no server fails: ${what}, ${kind}`, async () => {
        const copy = await copied(stopped);
        await DAMAGE[kind](fileOf(copy));
        const lines: string[] = [];
        const running = await start(copy, (line) => lines.push(line));
        try {
          const told = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === 'storage is unavailable');
          assert.equal(told?.cache, 'main');
          assert.equal(told?.storage, 'disk');
          const file = kind === 'file' && what === 'its own folder' ? copy.disk : fileOf(copy);
          assertLine(told?.reason, file, words);
          const verbose = await (await fetch(`http://${running.adminAddress}/readyz?verbose`)).text();
          assert.ok(verbose.includes(`[!] cache main storage disk: ${told?.reason}`), verbose);
        } finally {
          await running.stop();
        }
      });

  for (const kind of FILE)
    for (const side of ['', '.3'])
      it(`of an upload that is open ends the upload, and publishes nothing: ${side === '' ? 'its file' : 'a part that waits'}, ${kind}`, async () => {
        const copy = await copied(stopped);
        await DAMAGE[kind](path.join(copy.disk, '.staging', `${unfinished.id}${side}`));
        const running = await start(copy);
        try {
          const { status, text } = await complete(running, copy);
          assert.ok(status >= 400 && status < 500, `${status}: ${text}`);
          assert.match(text, /^[ -~]+\n$/);
          const url = `http://${running.addresses[0]}`;
          assert.equal((await fetch(`${url}/${unfinished.path.hashPart}.narinfo`)).status, 404);
          assert.equal((await fetch(`${url}/${published.hashPart}.narinfo`)).status, 200);
        } finally {
          await running.stop();
        }
      });

  it('is the only thing that ends an upload: it goes on after the restart', async () => {
    const copy = await copied(stopped);
    const running = await start(copy);
    try {
      assert.deepEqual(await complete(running, copy), { status: 200, text: '' });
    } finally {
      await running.stop();
    }
  });

  /** Sends the part that is missing, and says that all is there. */
  async function complete(running: Running, copy: Copy): Promise<{ status: number; text: string }> {
    const { path: it, id, uploadId, etags } = unfinished;
    const url = `http://${running.addresses[0]}`;
    const token = (await readFile(path.join(copy.cache, 'tokens/push'), 'utf8')).trim();
    const headers = { authorization: `Bearer ${token}` };
    const server = { url, api: () => `${url}/api/v1/cache/main`, auth: async () => headers };
    const upload = { server, url: `${url}/api/v1/cache/main/multipart-nar/${id}`, uploadId, headers };
    const sent = await sendPart(upload, 2, it.file.subarray(1000, 2000)).catch((error: unknown) => String(error));
    const all = [etags[0], sent, etags[2]];
    const response = await fetch(`${upload.url}/complete?uploadId=${uploadId}`, {
      method: 'POST',
      headers,
      body: JSON.stringify({
        parts: all.map((eTag, index) => ({ partNumber: index + 1, eTag })),
        narInfoCreate: narInfoCreate(it),
      }),
    });
    return { status: response.status, text: response.status === 200 ? '' : await response.text() };
  }

  const MANIFEST: Readonly<Record<'empty' | 'half' | 'garbage' | 'folder', RegExp>> = {
    empty: /^no BinaryCache in \S+cache\.yaml; write one/,
    half: /^\S+cache\.yaml:\d+: /,
    garbage: /^\S+cache\.yaml:\d+: /,
    folder: /^no BinaryCache in \S+cache\.yaml; write one/,
  };
  for (const [kind, words] of Object.entries(MANIFEST) as [keyof typeof MANIFEST, RegExp][])
    it(`refuses the start: the manifest, ${kind}`, async () => {
      const copy = await copied(stopped);
      await DAMAGE[kind](copy.manifest);
      await assert.rejects(start(copy), (error) => {
        // A line for each mistake.
        for (const line of (explained(error) ?? 'nothing').split('\n')) assertLine(line, copy.manifest, words);
        return true;
      });
    });

  describe('while a server runs', () => {
    let copy: Copy;
    let running: Running;
    let lines: string[] = [];
    let edits = 0;
    before(async () => {
      copy = await copied(stopped);
      running = await start(copy, (line) => lines.push(line));
    });
    after(() => running?.stop());

    /** Has the server read everything again; the error that it tells of, if there is one. */
    async function reload(): Promise<string | undefined> {
      lines = [];
      await writeFile(copy.manifest, `${manifestOf(copy)}# ${++edits}\n`);
      await running.reload();
      const status = (await (await fetch(`http://${running.adminAddress}/status`)).json()) as {
        config: { error: string | null };
      };
      const logged = lines.map((line) => JSON.parse(line)).find(({ level }) => level >= 50)?.reason;
      assert.equal(status.config.error, logged ?? null);
      return logged;
    }

    const reloaded = REFUSED.filter(([, fileOf]) => /root\.key|signing|tokens/.test(fileOf(copyAt('/x'))));
    for (const [what, fileOf, kinds] of reloaded)
      for (const [kind, words] of Object.entries(kinds) as [Damage, RegExp][])
        it(`refuses the change in one line and goes on as it was: ${what}, ${kind}`, async () => {
          const file = fileOf(copy);
          await cp(file, path.join(copy.folder, 'kept'), { recursive: true });
          await DAMAGE[kind](file);
          assertLine(await reload(), file, new RegExp(`^cache main: .*${words.source}`));
          const it = makePath();
          const { url, authorization } = {
            url: `http://${running.addresses[0]}`,
            authorization: `Bearer ${secrets[1]}`,
          };
          const target = { url, api: () => `${url}/api/v1/cache/main`, auth: async () => ({ authorization }) };
          await pushByPut(target, it);
          await rm(file, { recursive: true });
          await rename(path.join(copy.folder, 'kept'), file);
          assert.equal(await reload(), undefined);
        });

    it('refuses the change in one line and goes on as it was: a value of a mounted Secret', async () => {
      const other = await copied(stopped);
      const mounted = path.join(other.folder, 'secrets');
      const file = path.join(mounted, 'mine/token');
      await mkdir(path.dirname(file), { recursive: true });
      const token = secrets[1] ?? '';
      await writeFile(file, `${token}\n`);
      const given = (text: string) => text.replace('[Write]}', '[Write], secretRef: {name: mine, key: token}}');
      await writeFile(other.manifest, given(manifestOf(other)));
      const said: string[] = [];
      const server = await startInProcess(
        { files: [other.manifest], data: other.data, secrets: mounted },
        (line) => void said.push(line),
      );
      const user = async () =>
        (
          await fetch(`http://${server.addresses[0]}/api/v1/user`, {
            headers: { authorization: `Bearer ${token}` },
          })
        ).status;
      try {
        assert.equal(await user(), 200);
        const damages: readonly (readonly [Damage, RegExp])[] = [
          ['empty', /key "token" is empty; correct the Secret/],
          ['half', /key "token" is a token of Narwhal .* something is missing or changed; correct the Secret/],
          ['garbage', /key "token" is not text \(UTF-8\); correct the Secret/],
        ];
        for (const [kind, words] of damages) {
          said.length = 0;
          await writeFile(file, `${token}\n`);
          await DAMAGE[kind](file);
          await server.reload();
          const { reason } = said.map((line) => JSON.parse(line)).find(({ level }) => level >= 50) ?? {};
          assertLine(reason, 'Secret "mine"', new RegExp(`^cache main: .*${words.source}`));
          assert.equal(await user(), 200);
        }
        // A Secret without a key is none.
        await DAMAGE.folder(file);
        said.length = 0;
        await server.reload();
        assert.match(said.join(), /cache\.yaml:\d+: spec\.tokens\[0\]\.secretRef: there is no Secret \\"mine\\"/);
      } finally {
        await server.stop();
      }
    });

    it('is told of, and what is in memory is served on: the database', async () => {
      const other = await copied(stopped);
      const server = await start(other);
      const url = `http://${server.addresses[0]}`;
      try {
        const narinfo = async () => (await fetch(`${url}/${published.hashPart}.narinfo`)).status;
        assert.equal(await narinfo(), 200);
        const file = path.join(other.cache, 'db.sqlite');
        // In place, so that the server has it open; and with another page count, so that no page that it holds counts.
        await writeFile(file, GARBAGE);
        await appendFile(file, GARBAGE);
        await rm(`${file}-wal`, { force: true });
        const verbose = async () => (await fetch(`http://${server.adminAddress}/readyz?verbose`)).text();
        for (let n = 0; n < 8; n++) await fetch(`${url}/${String(n).repeat(32)}.ls`);
        assert.match(await verbose(), /\[!\] cache main database: \S+db\.sqlite is damaged: .*; bring it back/);
        assert.equal(await narinfo(), 200);
        const missed = await fetch(`${url}/nar/${'1'.repeat(52)}.nar`);
        assert.equal(missed.status, 503);
        assert.equal(await missed.text(), 'temporarily unavailable\n');
      } finally {
        await server.stop().catch(() => {});
      }
    });
  });
});

/** Every file below a folder, without those that SQLite makes and removes as it likes. */
async function tree(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => !/-(?:shm|wal|journal)$/.test(name)).sort();
}

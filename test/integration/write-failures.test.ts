import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import sqlite3 from 'sqlite3';
import { makePath } from '../support/nars.ts';
import { completeUpload, createUpload, isServed, pushByCachix, pushByPut, Refusal, sendPart } from '../support/push.ts';
import { TestServer, until } from '../support/server.ts';

/** A database that refuses what it should take: the failure lies between the file's last name and its row. */
describe('a write whose row cannot be written', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start({ args: ['--housekeeping-interval', '0.1', '--log-level', 'info'] });
  });
  after(() => server.remove());
  afterEach(() => sql('DROP TRIGGER IF EXISTS broken'));

  async function sql(text: string): Promise<void> {
    const db = new sqlite3.Database(path.join(server.data, 'main', 'db.sqlite'));
    db.configure('busyTimeout', 5000);
    await new Promise<void>((resolve, reject) => db.exec(text, (error) => (error ? reject(error) : resolve())));
    await new Promise<void>((resolve, reject) => db.close((error) => (error ? reject(error) : resolve())));
  }

  const breakObjects = () =>
    sql(`CREATE TRIGGER broken BEFORE INSERT ON objects BEGIN SELECT RAISE(ABORT, 'broken for a test'); END`);

  async function files(folder: string): Promise<string[]> {
    const root = path.join(server.data, 'main/storages/disk', folder);
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
  }

  it('ends an upload and leaves nothing behind; a new upload works', async () => {
    const it = makePath();
    const upload = await createUpload(server);
    const etags = [await sendPart(upload, 1, it.file)];
    const before = await files('objects');
    await breakObjects();
    await assert.rejects(
      completeUpload(upload, it, etags),
      (error) => error instanceof Refusal && error.status === 500,
    );
    await assert.rejects(
      completeUpload(upload, it, etags),
      (error) => error instanceof Refusal && error.status === 404,
    );
    assert.deepEqual(await files('objects'), before);
    assert.deepEqual(await files('.staging'), []);
    await sql('DROP TRIGGER broken');
    await pushByCachix(server, it);
    assert.ok(await isServed(server, it));
  });

  it('leaves nothing behind of a NAR; the same PUT works later', async () => {
    const it = makePath();
    const before = await files('objects');
    await breakObjects();
    await assert.rejects(pushByPut(server, it), (error) => error instanceof Refusal && error.status === 500);
    assert.deepEqual(await files('objects'), before);
    assert.deepEqual(await files('.staging'), []);
    await sql('DROP TRIGGER broken');
    await pushByPut(server, it);
    assert.ok(await isServed(server, it));
  });

  it('ends an upload whose row could not even be ended', async () => {
    const it = makePath();
    const upload = await createUpload(server);
    const etags = [await sendPart(upload, 1, it.file)];
    await sql(`CREATE TRIGGER broken BEFORE UPDATE ON uploads BEGIN SELECT RAISE(ABORT, 'broken for a test'); END`);
    await assert.rejects(
      completeUpload(upload, it, etags),
      (error) => error instanceof Refusal && error.status === 500,
    );
    await sql('DROP TRIGGER broken');
    // Its row could not even be ended, so its file tells: the client hears that it is over, and not 5xx for ever.
    await assert.rejects(
      completeUpload(upload, it, etags),
      (error) => error instanceof Refusal && error.status === 404,
    );
    await pushByCachix(server, it);
    assert.ok(await isServed(server, it));
  });

  it('closes the file of an upload that nobody goes on with, and goes on when somebody does', async () => {
    const it = makePath();
    const upload = await createUpload(server);
    const half = it.file.length >> 1;
    const etags = [await sendPart(upload, 1, it.file.subarray(0, half))];
    const open = () => metric('narwhal_uploads_active');
    await until('the upload rests', async () => (await open()) === 0);
    assert.equal(await metric('narwhal_uploads_open'), 1);
    etags.push(await sendPart(upload, 2, it.file.subarray(half)));
    await completeUpload(upload, it, etags);
    assert.ok(await isServed(server, it));
    assert.equal(await metric('narwhal_uploads_open'), 0);
  });

  async function metric(name: string): Promise<number> {
    const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
    return Number(new RegExp(`^${name}{[^}]*} (.*)$`, 'm').exec(text)?.[1]);
  }
});

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { imageFolder, imagesFolder } from '../../../hack/image/kept.mjs';

const LONG_AGO = new Date(Date.now() - 7_200_000);

describe('what builds of images keep', () => {
  const cacheBefore = process.env.NARWHAL_CACHE;
  beforeEach(() => {
    process.env.NARWHAL_CACHE = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-kept-'));
  });
  afterEach(() => {
    fs.rmSync(process.env.NARWHAL_CACHE ?? '', { recursive: true });
    if (cacheBefore === undefined) delete process.env.NARWHAL_CACHE;
    else process.env.NARWHAL_CACHE = cacheBefore;
  });

  /** Keeps a folder of a kind, and how often it was made. */
  let made = 0;
  const keep = (kind: string, inputs: unknown) =>
    imageFolder(kind, inputs, async (draft) => {
      made += 1;
      fs.writeFileSync(path.join(draft, 'content'), '');
    });
  const ages = (folder: string) => fs.utimesSync(folder, LONG_AGO, LONG_AGO);

  it('is made once for the same inputs, and anew for others', async () => {
    made = 0;
    const first = await keep('base', { suite: 'a' });
    assert.equal(await keep('base', { suite: 'a' }), first);
    assert.notEqual(await keep('base', { suite: 'b' }), first);
    assert.equal(made, 2);
  });

  it('loses what is old of the same kind, but for the two that were used last', async () => {
    const folders: string[] = [];
    for (const suite of ['a', 'b', 'c', 'd']) folders.push(await keep('client', { suite }));
    const other = await keep('client-packages', {});
    for (const folder of [...folders, other]) ages(folder);
    const newest = await keep('client', { suite: 'e' });
    assert.ok(fs.existsSync(newest) && fs.existsSync(other));
    assert.equal(folders.filter((folder) => fs.existsSync(folder)).length, 2);
  });

  it('keeps what was used a moment ago, and drops drafts of builds that were killed', async () => {
    const folders: string[] = [];
    for (const suite of ['a', 'b', 'c', 'd', 'e']) folders.push(await keep('base', { suite }));
    assert.ok(folders.every((folder) => fs.existsSync(folder)));
    const [old, young] = ['old', 'young'].map((name) => path.join(imagesFolder(), `${name}.draft`)) as [string, string];
    for (const draft of [old, young]) fs.mkdirSync(draft);
    ages(old);
    await keep('base', { suite: 'a' });
    assert.deepEqual([fs.existsSync(old), fs.existsSync(young)], [false, true]);
  });
});

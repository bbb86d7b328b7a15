import * as assert from 'node:assert/strict';
import { checkDebugInfo, ListingChecker } from '../../../server/nix/index.ts';

function check(listing: unknown, pieceBytes = 7): void {
  const text = () => (typeof listing === 'string' ? listing : JSON.stringify(listing));
  const bytes = Buffer.isBuffer(listing) ? listing : Buffer.from(text());
  const checker = new ListingChecker();
  for (let at = 0; at < bytes.length; at += pieceBytes) checker.write(bytes.subarray(at, at + pieceBytes));
  checker.end();
}

const file = { type: 'regular', size: 18, executable: true, narOffset: 400 };
const folder = (entries: object) => ({ type: 'directory', entries });
const listing = (root: unknown, more: object = {}) => ({ version: 1, root, ...more });

/** A folder within a folder, so many times. */
function nested(levels: number): string {
  return `{"version":1,"root":${'{"type":"directory","entries":{"a":'.repeat(levels)}{"type":"regular","size":1}${'}}'.repeat(levels)}}`;
}

describe('a listing', () => {
  const good: [what: string, listing: unknown][] = [
    ['a file', listing(file)],
    ['folders and links', listing(folder({ bin: folder({ hi: file }), link: { type: 'symlink', target: 'bin/hi' } }))],
    ['an empty folder', listing(folder({}))],
    ['fields in any order', { root: { size: 1, type: 'regular' }, version: 1 }],
    ['fields that are not known', listing({ ...file, more: [{ type: 7 }] }, { more: { version: 2 } })],
    ['files with the names of fields', listing(folder({ type: file, entries: folder({}), version: file }))],
    ['names beyond ASCII', listing(folder({ 'späte Datei "x"\\': file }))],
    ['folders as deep as a NAR may have them', nested(63)],
  ];
  for (const [what, value] of good) it(`of ${what} is taken`, () => check(value));

  it('of names that are no UTF-8 is taken, as nix 2.8 writes it', () => {
    // Names of files are bytes; of the certificates that Debian installs, one is Latin-2.
    const text = JSON.stringify(listing(folder({ 'NetLock_Arany_=F\u00f5tan\u00fas.crt': file })));
    for (const size of [1, 1000]) check(Buffer.from(text, 'latin1'), size);
    for (const ending of ['"', '/'])
      assert.throws(() => check(Buffer.from(text.replace('.crt', ending), 'latin1')), /^FormatError/);
  });

  const bad: [what: string, listing: unknown, told: RegExp][] = [
    ['an empty body', '', /the body is empty/],
    ['no JSON', 'hello', /no JSON/],
    ['half of one', JSON.stringify(listing(file)).slice(0, -3), /no JSON: it stops in the middle/],
    ['two of them', JSON.stringify(listing(file)).repeat(2), /no JSON/],
    ['a list', '[]', /expected a JSON object/],
    ['a word', 'null', /expected a JSON object/],
    ['no root', { version: 1 }, /expected version and root/],
    ['no version', { root: file }, /expected version and root/],
    ['another version', { version: 2, root: file }, /version: expected 1/],
    ['a root that is no node', listing('x'), /expected a node/],
    ['a root that is a list', listing([]), /expected a node/],
    ['a node without a type', listing({ size: 1 }), /type: expected/],
    ['a node of another type', listing({ type: 'fifo' }), /type: expected/],
    ['a folder without entries', listing({ type: 'directory' }), /entries: missing/],
    ['entries that are a list', listing({ type: 'directory', entries: [] }), /entries: not what/],
    ['a link without a target', listing({ type: 'symlink' }), /target: missing/],
    ['an entry that is no node', listing(folder({ a: 1 })), /expected a node/],
    ['an entry that leads elsewhere', listing(folder({ '../../x': file })), /is no name of a file/],
    ['an entry called ..', listing(folder({ '..': file })), /is no name of a file/],
    ['a size that is none', listing({ type: 'regular', size: -1 }), /size: not what/],
    ['folders deeper than in any NAR', nested(70), /nested deeper/],
  ];
  for (const [what, value, told] of bad) {
    it(`of ${what} is refused`, () => {
      for (const size of [1, 1000])
        assert.throws(
          () => check(value, size),
          (error: Error) => error.name === 'FormatError' && /^[ -~]+$/.test(error.message) && told.test(error.message),
        );
    });
  }
});

describe('a link to debug information', () => {
  const link = (archive: unknown, member: unknown) => () =>
    checkDebugInfo(Buffer.from(JSON.stringify({ archive, member })));

  it('leads to a file in a NAR of the same cache', () => {
    link('../nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz', 'lib/debug/.build-id/ab/cd.debug')();
    const elsewhere = ['https://example.org/x.nar', '/nar/x', '../../x', '..', '../nar/a/b', '../nar/', 1, undefined];
    for (const archive of elsewhere) assert.throws(link(archive, 'x'), { field: 'archive' });
    for (const member of ['/etc/passwd', '../x', 'a/../../b', '', 1, undefined])
      assert.throws(link('../nar/x.nar', member), { field: 'member' });
    assert.throws(() => checkDebugInfo(Buffer.from('not json')), { name: 'FormatError' });
    assert.throws(() => checkDebugInfo(Buffer.alloc(0)), /the body is empty/);
  });
});

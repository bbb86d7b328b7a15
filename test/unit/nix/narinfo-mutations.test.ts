import * as assert from 'node:assert/strict';
import { parseNarInfo, renderNarInfo } from '../../../server/nix/index.ts';

const HASH = 'sha256:1j3d6jjf06i5ib83v199rg7khlw4b24i18s9nqdsw6wf1cv44mwd';
const FILE_HASH = 'sha256:0x232cbvyrjbv0ygcvkwdc4bgqszcmkrhrhskrws4gj5zq9a2dj6';
const SIGNATURE = `test-1:${'A'.repeat(86)}==`;

const GOOD = `StorePath: /nix/store/caw0sci7188yb65l30lkzrzd7rzriyy5-liba-1.0
URL: nar/0x23.nar.xz
Compression: xz
FileHash: ${FILE_HASH}
FileSize: 352
NarHash: ${HASH}
NarSize: 3616
References: 7rjj86a15146cq1d3qy068lml7n7ykzm-b aaw0sci7188yb65l30lkzrzd7rzriyy5-a
Deriver: 2c7sgx69p4mmp76cvmi5j6c72dj76jj8-liba-1.0.drv
Sig: ${SIGNATURE}
`;

type Edit = (text: string) => string;

function replaced(pattern: RegExp | string, replacement: string): Edit {
  return (text) => {
    assert.notEqual(text.replace(pattern, replacement), text, 'the edit must change the text');
    return text.replace(pattern, replacement);
  };
}

function third(line: string): Edit {
  return replaced('Compression', `${line}\nCompression`);
}

const without = (field: string) => replaced(new RegExp(`^${field}: .*\n`, 'm'), '');

/** Mutations that mislead nobody: what is served afterwards is the text of the last column. */
const ACCEPTED: [name: string, edit: Edit, served: Edit | 'as if unchanged'][] = [
  ['CRLF line ends', replaced(/\n/g, '\r\n'), 'as if unchanged'],
  ['an unknown field', third('X-Foo: bar'), 'as if unchanged'],
  ['a System field', third('System: x86_64-linux'), 'as if unchanged'],
  ['an extra malformed Sig', replaced(/^Sig.*/m, '$&\nSig: garbage'), 'as if unchanged'],
  ['a Sig of the wrong length', replaced(/^Sig.*/m, 'Sig: test-1:AAAA\n$&'), 'as if unchanged'],
  ['the same Sig twice', replaced(/^Sig.*\n/m, '$&$&'), 'as if unchanged'],
  [
    'a Sig of an unknown key first',
    replaced(/^Sig/m, `Sig: o-1:${'A'.repeat(86)}==\nSig`),
    (text) => replaced(/^Sig/m, `Sig: o-1:${'A'.repeat(86)}==\nSig`)(text),
  ],
  ['no Sig', without('Sig'), without('Sig')],
  ['no FileHash', without('FileHash'), without('FileHash')],
  ['no FileSize', without('FileSize'), without('FileSize')],
  ['no Compression, which means bzip2', without('Compression'), replaced('Compression: xz', 'Compression: bzip2')],
  [
    'an empty Compression',
    replaced('Compression: xz', 'Compression: '),
    replaced('Compression: xz', 'Compression: bzip2'),
  ],
  ['no References', without('References'), replaced(/^References: .*/m, 'References: ')],
  [
    'an empty References line',
    replaced(/^References: .*/m, 'References: '),
    replaced(/^References: .*/m, 'References: '),
  ],
  [
    'References without its space',
    replaced(/^References: .*/m, 'References:'),
    replaced(/^References: .*/m, 'References: '),
  ],
  [
    'References unsorted, repeated, with two spaces',
    replaced(/^References: (\S+) (\S+)/m, 'References: $2  $1 $2'),
    'as if unchanged',
  ],
  ['an unknown deriver', replaced(/^Deriver: .*/m, 'Deriver: unknown-deriver'), without('Deriver')],
  ['no Deriver', without('Deriver'), without('Deriver')],
  ['an empty CA', replaced(/^Sig/m, 'CA: \nSig'), 'as if unchanged'],
  [
    'NarHash as base16',
    replaced(HASH, 'sha256:8d5742360b8e1bae1bb649a3108958845338cfcb29853dd08a251ae0a4346dc8'),
    'as if unchanged',
  ],
  ['NarHash as SRI', replaced(HASH, 'sha256-jVdCNguOG64btkmjEIlYhFM4z8sphT3QiiUa4KQ0bcg='), 'as if unchanged'],
];

/** Mutations that Nix or a person would read as something else: the text of the refusal. */
const REFUSED: [name: string, edit: Edit, message: string][] = [
  ['no final line feed', (text) => text.slice(0, -1), 'narinfo: the last line does not end in a line feed'],
  ['no space behind a colon', replaced('n: xz', 'n:xz'), "narinfo: line 3: expected a space after 'Compression:'"],
  ['a blank line', third(''), "narinfo: line 3: expected 'Key: value', got ''"],
  ['a comment', third('# hello: x'), "narinfo: line 3: expected 'Key: value', got '# hello: x'"],
  ['an empty text', () => '', 'narinfo: the text is empty'],
  ['HTML', () => '<html>hello</html>\n', "narinfo: line 1: expected 'Key: value', got '<html>hello</html>'"],
  [
    'References twice',
    replaced(/^References: .*/m, 'References: \nReferences: '),
    'References: given twice, again in line 9',
  ],
  ['NarHash twice', replaced(/^NarHash.*\n/m, '$&$&'), 'NarHash: given twice, again in line 7'],
  ['NarSize 0', replaced('3616', '0'), 'NarSize: expected a number above 0'],
  ['NarSize missing', without('NarSize'), 'NarSize: the line is missing'],
  [
    'NarSize that is no number',
    replaced('3616', '3616x'),
    "NarSize: expected a number of bytes below 2^53, got '3616x'",
  ],
  [
    'NarSize of 2^53',
    replaced('3616', '9007199254740992'),
    "NarSize: expected a number of bytes below 2^53, got '9007199254740992'",
  ],
  ['FileSize below zero', replaced('352', '-1'), "FileSize: expected a number of bytes below 2^53, got '-1'"],
  ['NarHash missing', without('NarHash'), 'NarHash: the line is missing'],
  ['NarHash of another algorithm', replaced(HASH, 'sha1:00'), "NarHash: expected a sha256 hash, got 'sha1:00'"],
  [
    'an unknown Compression',
    replaced('n: xz', 'n: foo'),
    "Compression: 'foo' is not known; expected one of none, xz, bzip2, zstd, lz4, br, gzip, lzma",
  ],
  [
    'a Compression that nothing here decodes',
    replaced('n: xz', 'n: lzip'),
    "Compression: 'lzip' is not supported by this server; expected one of none, xz, bzip2, zstd, lz4, br, gzip, lzma",
  ],
  [
    'Deriver garbage',
    replaced(/^Deriver: .*/m, 'Deriver: foo'),
    "Deriver: expected 32 nix32 digits, a dash and a name, got 'foo'",
  ],
  [
    'a Deriver that is no .drv',
    replaced('.drv', ''),
    "Deriver: expected a .drv, got '2c7sgx69p4mmp76cvmi5j6c72dj76jj8-liba-1.0'",
  ],
  [
    'a reference with its folder',
    replaced('s: 7rjj', 's: /nix/store/7rjj'),
    "References: expected 32 nix32 digits, a dash and a name, got '/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-b'",
  ],
  [
    'another store folder',
    replaced('/nix/store', '/gnu/store'),
    "StorePath: expected /nix/store/<hash>-<name>, got '/gnu/store/caw0sci7188yb65l30lkzrzd7rzriyy5-liba-1.0'",
  ],
  ['StorePath missing', without('StorePath'), 'StorePath: the line is missing'],
  ['URL missing', without('URL'), 'URL: the line is missing'],
  [
    'a URL with a space',
    replaced('nar/', 'nar /'),
    "URL: expected 1 to 2048 visible ASCII characters, got 'nar /0x23.nar.xz'",
  ],
];

describe('narinfo mutations', () => {
  const unchanged = renderNarInfo(parseNarInfo(GOOD));

  it('leave a good text as it is', () => assert.equal(unchanged, GOOD));

  for (const [name, edit, served] of ACCEPTED) {
    it(`accepts and normalises ${name}`, () => {
      const text = renderNarInfo(parseNarInfo(edit(GOOD)));
      assert.equal(text, served === 'as if unchanged' ? GOOD : served(GOOD));
    });
  }

  for (const [name, edit, message] of REFUSED) {
    it(`refuses ${name}`, () => {
      assert.throws(() => parseNarInfo(edit(GOOD)), { name: 'FormatError', message });
    });
  }
});

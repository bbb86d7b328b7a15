/**
 * Every way in which a cache's answers were bent to see what nix makes of them (52, and the unbent one), turned round:
 * what this server does when a client sends the same. `accepted`: what is served afterwards is the unbent text, or the
 * one that `served` tells. `refused`: the answer, shown to the user by nix as it is. `reader's side`: only a server that
 * answers reads like that could show it, and this one never does.
 */
import type { Compression } from '../../server/nix/index.ts';

type Edit = (text: string) => string;

export type Verdict =
  | { readonly kind: 'accepted'; readonly served?: Edit }
  | {
      readonly kind: 'refused';
      readonly at: 'nar' | 'narinfo' | 'nix-cache-info';
      readonly status: number;
      readonly text: RegExp;
    }
  | {
      readonly kind: "reader's side";
      readonly reason: string;
      /** What is answered with 200 and whole instead. */
      readonly instead: 'nar' | 'narinfo' | 'nix-cache-info';
    };

export interface Mutation {
  readonly name: string;
  /** How the narinfo is changed on its way in. */
  readonly narinfo?: Edit;
  /** How the NAR is compressed; xz unless told. */
  readonly compression?: Compression;
  /** How the file of the NAR is changed, before its name is made. */
  readonly nar?: (file: Buffer) => Buffer;
  /** Content-Encoding of the requests that bring NAR and narinfo. */
  readonly encoded?: { readonly what: 'nar' | 'narinfo'; readonly by: 'gzip' | 'br' | 'zstd' | 'xz' };
  readonly chunked?: boolean;
  /** A nix-cache-info that is PUT beforehand. */
  readonly cacheInfo?: string;
  readonly verdict: Verdict;
}

const accepted: Verdict = { kind: 'accepted' };

function normalised(served: Edit): Verdict {
  return { kind: 'accepted', served };
}

function refused(text: RegExp, at: 'nar' | 'narinfo' | 'nix-cache-info' = 'narinfo', status = 400): Verdict {
  return { kind: 'refused', at, status, text };
}

/** Replaces the value of a field. */
function set(field: string, value: string): Edit {
  return (text) => text.replace(new RegExp(`^${field}: .*$`, 'm'), () => `${field}: ${value}`);
}

function without(field: string): Edit {
  return (text) => text.replace(new RegExp(`^${field}: .*\n`, 'm'), '');
}

/** Puts a line before Compression, where the lab put it. */
function third(line: string): Edit {
  return (text) => text.replace('Compression: ', () => `${line}\nCompression: `);
}

/** `sha256:` and other bases, of the NarHash that is there. */
function rebased(convert: (nix32: string) => string): Edit {
  return (text) => text.replace(/^NarHash: (.*)$/m, (_, hash: string) => `NarHash: ${convert(hash)}`);
}

const OTHER_HASH = `sha256:${'1'.repeat(52)}`;
const OTHER_SIGNATURE = `other-1:${'A'.repeat(86)}==`;
const addOtherSignature: Edit = (text) => text.replace('Sig: ', `Sig: ${OTHER_SIGNATURE}\nSig: `);

/** @param bases writes a hash as base16 and as SRI */
export function mutations(bases: { base16: (hash: string) => string; sri: (hash: string) => string }): Mutation[] {
  return [
    { name: 'nothing changed', verdict: accepted },
    {
      name: 'no line feed at the end',
      narinfo: (text) => text.slice(0, -1),
      verdict: refused(/^narinfo: the last line does not end in a line feed\n$/),
    },
    { name: 'CRLF line ends', narinfo: (text) => text.replaceAll('\n', '\r\n'), verdict: accepted },
    {
      name: 'no space behind a colon',
      narinfo: (text) => text.replace('Compression: ', 'Compression:'),
      verdict: refused(/^narinfo: line 3: expected a space after 'Compression:'\n$/),
    },
    {
      name: 'a blank line',
      narinfo: third(''),
      verdict: refused(/^narinfo: line 3: expected 'Key: value', got ''\n$/),
    },
    { name: 'an unknown field', narinfo: third('X-Foo: bar'), verdict: accepted },
    {
      name: 'a comment',
      narinfo: third('# hello'),
      verdict: refused(/^narinfo: line 3: expected 'Key: value', got '# hello'\n$/),
    },
    { name: 'unsigned', narinfo: without('Sig'), verdict: normalised(without('Sig')) },
    {
      name: 'two signatures, the first by an unknown key',
      narinfo: addOtherSignature,
      verdict: normalised(addOtherSignature),
    },
    { name: 'one more signature that is none', narinfo: (text) => `${text}Sig: garbage\n`, verdict: accepted },
    {
      name: 'a signature of the wrong length by the same key',
      narinfo: (text) => text.replace('Sig: ', 'Sig: test-1:AAAA\nSig: '),
      verdict: accepted,
    },
    {
      name: 'neither FileHash nor FileSize',
      narinfo: (text) => without('FileHash')(without('FileSize')(text)),
      verdict: accepted,
    },
    {
      name: 'a wrong FileHash',
      narinfo: set('FileHash', OTHER_HASH),
      verdict: refused(/^FileHash: the narinfo says sha256:1{52}, the NAR has sha256:\w{52}\n$/),
    },
    {
      name: 'a wrong FileSize',
      narinfo: set('FileSize', '9999999'),
      verdict: refused(/^FileSize: the narinfo says 9999999, the NAR has \d+\n$/),
    },
    {
      name: 'a wrong NarHash',
      narinfo: set('NarHash', OTHER_HASH),
      verdict: refused(/^NarHash: the narinfo says sha256:1{52}, the NAR has sha256:\w{52}\n$/),
    },
    {
      name: 'a wrong NarSize',
      narinfo: set('NarSize', '3617'),
      verdict: refused(/^NarSize: the narinfo says 3617, the NAR has \d+\n$/),
    },
    {
      name: 'NarSize 0',
      narinfo: set('NarSize', '0'),
      verdict: refused(/^NarSize: expected a number above 0\n$/),
    },
    { name: 'NarHash in base16', narinfo: rebased(bases.base16), verdict: accepted },
    { name: 'NarHash as SRI', narinfo: rebased(bases.sri), verdict: accepted },
    // nix reads a missing line as bzip2; the bytes say what it is.
    { name: 'no Compression', narinfo: without('Compression'), verdict: accepted },
    {
      name: 'an unknown Compression',
      narinfo: set('Compression', 'foo'),
      verdict: refused(
        /^Compression: 'foo' is not known; expected one of none, xz, bzip2, zstd, lz4, br, gzip, lzma\n$/,
      ),
    },
    {
      name: 'a Compression that the bytes do not have',
      narinfo: set('Compression', 'zstd'),
      verdict: refused(/^Compression: the narinfo says zstd, the NAR has xz\n$/),
    },
    {
      name: 'no References',
      narinfo: without('References'),
      // The client's signature covers the references and no longer fits; whose key it is nobody here knows.
      verdict: normalised(set('References', '')),
    },
    {
      name: 'References twice',
      narinfo: (text) => text.replace(/^References: .*$/m, 'References: \nReferences: '),
      verdict: refused(/^References: given twice, again in line 9\n$/),
    },
    {
      name: 'the deriver unknown',
      narinfo: set('Deriver', 'unknown-deriver'),
      verdict: normalised(without('Deriver')),
    },
    {
      name: 'a deriver that is none',
      narinfo: set('Deriver', 'foo'),
      verdict: refused(/^Deriver: expected 32 nix32 digits, a dash and a name, got 'foo'\n$/),
    },
    {
      name: 'another name behind the right hash in StorePath',
      narinfo: (text) => text.replace('-liba-1.0\n', '-libx-1.0\n'),
      // Nobody but the pusher knows the name of an input-addressed path: it is published as it was claimed.
      verdict: normalised((text) => text.replace('-liba-1.0\n', '-libx-1.0\n')),
    },
    { name: 'a System field', narinfo: third('System: x86_64-linux'), verdict: accepted },
    {
      name: 'an empty body',
      narinfo: () => '',
      verdict: refused(/^the body is empty: if something was sent, a proxy has dropped it\n$/),
    },
    {
      name: 'a page of HTML',
      narinfo: () => '<html>hello</html>\n',
      verdict: refused(/^narinfo: line 1: expected 'Key: value', got '<html>hello<\/html>'\n$/),
    },
    {
      name: 'a URL from the root of the host',
      narinfo: (text) => text.replace('URL: nar', 'URL: /nar'),
      verdict: refused(/^URL: expected nar\/<file>, got '\/nar\//),
    },
    {
      name: 'a URL with a query',
      narinfo: (text) => text.replace(/^URL: .*$/m, '$&?hash=abc&x=1'),
      verdict: refused(/^URL: expected nar\/<file>, got 'nar\//),
    },
    {
      name: 'a URL that climbs',
      narinfo: (text) => text.replace('URL: nar', 'URL: ../nar'),
      verdict: refused(/^URL: expected nar\/<file>, got '\.\.\/nar\//),
    },
    { name: 'a NAR that is not compressed', compression: 'none', verdict: accepted },
    {
      name: 'a NAR with bytes behind its end',
      compression: 'none',
      nar: (file) => Buffer.concat([file, Buffer.from('junkjunk\n')]),
      verdict: refused(/^bytes after the end of the NAR\n$/, 'nar'),
    },
    {
      name: 'a NAR that is cut off',
      compression: 'none',
      nar: (file) => file.subarray(0, file.length - 616),
      verdict: refused(/^the NAR is truncated after \d+ bytes\n$/, 'nar'),
    },
    { name: 'a NAR compressed with br', compression: 'br', verdict: accepted },
    { name: 'a NAR compressed with gzip', compression: 'gzip', verdict: accepted },
    { name: 'a NAR compressed with zstd', compression: 'zstd', verdict: accepted },
    {
      name: 'a NAR without compression in a body with Content-Encoding zstd',
      compression: 'none',
      encoded: { what: 'nar', by: 'zstd' },
      verdict: accepted,
    },
    { name: 'a narinfo with Content-Encoding gzip', encoded: { what: 'narinfo', by: 'gzip' }, verdict: accepted },
    { name: 'a narinfo with Content-Encoding br', encoded: { what: 'narinfo', by: 'br' }, verdict: accepted },
    { name: 'a narinfo with Content-Encoding zstd', encoded: { what: 'narinfo', by: 'zstd' }, verdict: accepted },
    // Sent to a reader it stops nix 2.34; taken in it is served plain.
    { name: 'a narinfo with Content-Encoding xz', encoded: { what: 'narinfo', by: 'xz' }, verdict: accepted },
    { name: 'bodies in chunks, without a length', chunked: true, verdict: accepted },
    {
      name: 'a NAR by a redirect',
      verdict: { kind: "reader's side", reason: 'this server sends its bytes itself', instead: 'nar' },
    },
    {
      name: 'a narinfo by a redirect',
      verdict: { kind: "reader's side", reason: 'narinfos are rendered here', instead: 'narinfo' },
    },
    {
      name: 'nix-cache-info missing',
      verdict: { kind: "reader's side", reason: 'every cache has one', instead: 'nix-cache-info' },
    },
    {
      name: 'nix-cache-info forbidden',
      verdict: { kind: "reader's side", reason: 'strangers get it too', instead: 'nix-cache-info' },
    },
    {
      name: 'nix-cache-info of another store folder',
      cacheInfo: 'StoreDir: /foo/store\n',
      verdict: refused(/^this cache is for \/nix\/store, not \/foo\/store\n$/, 'nix-cache-info', 409),
    },
    {
      name: 'nix-cache-info without a store folder',
      cacheInfo: 'WantMassQuery: 1\n',
      verdict: accepted,
    },
    {
      name: 'nix-cache-info with a priority that is no number',
      cacheInfo: 'StoreDir: /nix/store\nPriority: abc\n',
      verdict: refused(/^Priority: expected a whole number, got 'abc'\n$/, 'nix-cache-info'),
    },
    {
      name: 'nix-cache-info with CRLF',
      cacheInfo: 'StoreDir: /nix/store\r\nWantMassQuery: 1\r\nPriority: 40\r\n',
      verdict: accepted,
    },
  ];
}

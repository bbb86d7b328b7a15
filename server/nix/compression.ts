import { FormatError, shown } from './errors.ts';

interface CompressionForm {
  /** What Nix appends to `.nar` when it names the file; '' for gzip and lzma too (src/libutil/compression-algo.hh). */
  readonly suffix: string;
  readonly magic?: readonly number[];
}

/** What can be stored and verified: narinfo name to its form. */
const COMPRESSIONS = {
  none: { suffix: '' },
  xz: { suffix: '.xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  bzip2: { suffix: '.bz2', magic: [0x42, 0x5a, 0x68] },
  zstd: { suffix: '.zst', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  lz4: { suffix: '.lz4', magic: [0x04, 0x22, 0x4d, 0x18] },
  br: { suffix: '.br' },
  gzip: { suffix: '', magic: [0x1f, 0x8b] },
  lzma: { suffix: '' },
} as const satisfies Record<string, CompressionForm>;

export type Compression = keyof typeof COMPRESSIONS;

/** The names that a narinfo may carry here. */
export const COMPRESSION_NAMES: readonly Compression[] = ['none', 'xz', 'bzip2', 'zstd', 'lz4', 'br', 'gzip', 'lzma'];

// Names that Nix knows through libarchive; nobody uploads with them and nothing small decodes them.
const REFUSED = new Set(['lzip', 'compress', 'grzip', 'lrzip', 'lzop']);

/** The first bytes of every NAR: the string `nix-archive-1` with its length. */
const NAR_MAGIC = Buffer.from('\x0d\0\0\0\0\0\0\0nix-archive-1\0\0\0', 'latin1');

/** How many first bytes {@link sniffCompression} wants to see; fewer are enough only when the file has no more. */
export const SNIFF_BYTES = NAR_MAGIC.length;

export function isCompression(text: string): text is Compression {
  return Object.hasOwn(COMPRESSIONS, text);
}

/** Reads the value of a narinfo's `Compression`. Throws {@link FormatError} that says which names are taken. */
export function parseCompression(text: string): Compression {
  if (isCompression(text)) return text;
  const trouble = REFUSED.has(text) ? 'is not supported by this server' : 'is not known';
  throw new FormatError(
    'Compression',
    `Compression: ${shown(text)} ${trouble}; expected one of ${COMPRESSION_NAMES.join(', ')}`,
  );
}

/** What Nix appends to `nar/<hash>.nar`, with the dot; '' for none, gzip and lzma. */
export function compressionSuffix(compression: Compression): string {
  return COMPRESSIONS[compression].suffix;
}

/** The compression that a file name's ending promises; undefined where it promises nothing, as `.nar` does. */
export function compressionOfSuffix(suffix: string): Compression | undefined {
  return suffix === '' ? undefined : COMPRESSION_NAMES.find((name) => COMPRESSIONS[name].suffix === suffix);
}

const CACHIX_VALUES = new Map<string, Compression>([
  ['xz', 'xz'],
  ['zst', 'zstd'],
  ['zstd', 'zstd'],
]);

/** Reads Cachix' `compression` query value: `xz` or `zst`, and `zstd` as some clients write. Undefined for others. */
export function compressionOfCachixQuery(value: string): Compression | undefined {
  return CACHIX_VALUES.get(value.toLowerCase());
}

/**
 * Tells the compression of a file from its first {@link SNIFF_BYTES} bytes. `suffix` is the ending behind `.nar`
 * (`.xz`, ''): it decides where there is no magic (br) or a shared one (the skippable frames of zstd and lz4).
 * lzma is a guess, made last: it has no magic, and any bytes may look like it.
 * Undefined when the bytes cannot be a NAR in a supported form.
 */
export function sniffCompression(firstBytes: Buffer, suffix: string): Compression | undefined {
  if (isNarStart(firstBytes)) return 'none';
  const promised = compressionOfSuffix(suffix);
  // Two bytes of gzip's magic turn up in br by chance: the suffix is the better witness.
  if (promised === 'br') return 'br';
  for (const name of COMPRESSION_NAMES) {
    const { magic }: CompressionForm = COMPRESSIONS[name];
    if (magic !== undefined && startsWith(firstBytes, magic)) return name;
  }
  if (isSkippableFrame(firstBytes)) return promised === 'lz4' ? 'lz4' : 'zstd';
  return suffix === '' && looksLikeLzma(firstBytes) ? 'lzma' : undefined;
}

/** Whether the first {@link SNIFF_BYTES} bytes are those of every NAR. */
export function isNarStart(firstBytes: Buffer): boolean {
  return startsWith(firstBytes, NAR_MAGIC);
}

/**
 * The header of `.lzma`: a byte of settings, the size of the dictionary, that of the contents (unknown where all bits are
 * set), and the first byte of what is coded, which is 0. Sizes as liblzma takes them where it tells formats apart.
 */
function looksLikeLzma(bytes: Buffer): boolean {
  if (bytes.length < 14 || bytes.readUInt8(0) >= 9 * 5 * 5 || bytes.readUInt8(13) !== 0) return false;
  const dictionary = bytes.readUInt32LE(1);
  const power = 2 ** Math.floor(Math.log2(dictionary));
  const contents = bytes.readBigUInt64LE(5);
  const isUsual = dictionary === power || dictionary === power * 1.5 || dictionary === 0xffffffff;
  return isUsual && (contents === 2n ** 64n - 1n || contents < 2n ** 38n);
}

function startsWith(bytes: Buffer, magic: ArrayLike<number>): boolean {
  if (bytes.length < magic.length) return false;
  for (let i = 0; i < magic.length; i++) if (bytes[i] !== magic[i]) return false;
  return true;
}

// RFC 8878 section 3.1.2: 0x184D2A50 to 0x184D2A5F, little endian; pzstd begins every file with one.
function isSkippableFrame(bytes: Buffer): boolean {
  return bytes.length >= 4 && (bytes.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50;
}

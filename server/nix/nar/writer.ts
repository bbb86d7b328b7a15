/** A tree to write as a NAR. Names and targets are written as given: tests build broken NARs too. */
export type NarTree =
  | { readonly type: 'regular'; readonly executable?: boolean; readonly contents: Uint8Array | string }
  /** A file too big for memory: exactly `sizeBytes` in chunks of any size. */
  | {
      readonly type: 'regular';
      readonly executable?: boolean;
      readonly sizeBytes: number;
      readonly chunks: () => Iterable<Uint8Array>;
    }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'directory'; readonly entries: Readonly<Record<string, NarTree>> };

const NO_BYTES = Buffer.alloc(0);

function paddingOf(size: number): Buffer {
  return size % 8 === 0 ? NO_BYTES : Buffer.alloc(8 - (size % 8));
}

function lengthOf(size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(size));
  return bytes;
}

/** One string of the format: its length (8 bytes, little endian), its bytes, zeros up to a multiple of 8. */
export function narString(contents: Uint8Array | string): Buffer {
  const bytes = Buffer.from(contents);
  return Buffer.concat([lengthOf(bytes.length), bytes, paddingOf(bytes.length)]);
}

function strings(...texts: string[]): Buffer {
  return Buffer.concat(texts.map(narString));
}

/** Writes a NAR in pieces (doc/manual/source/protocols/nix-archive of Nix); entries are sorted bytewise. */
export function* narChunks(tree: NarTree): Generator<Buffer> {
  yield narString('nix-archive-1');
  yield* nodeChunks(tree);
}

function* nodeChunks(node: NarTree): Generator<Buffer> {
  switch (node.type) {
    case 'regular':
      yield strings('(', 'type', 'regular', ...(node.executable ? ['executable', ''] : []), 'contents');
      if ('contents' in node) {
        yield narString(node.contents);
      } else {
        yield lengthOf(node.sizeBytes);
        for (const chunk of node.chunks()) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
        yield paddingOf(node.sizeBytes);
      }
      break;
    case 'symlink':
      yield strings('(', 'type', 'symlink', 'target', node.target);
      break;
    case 'directory':
      yield strings('(', 'type', 'directory');
      for (const [name, child] of sortedEntries(node.entries)) {
        yield strings('entry', '(', 'name', name, 'node');
        yield* nodeChunks(child);
        yield strings(')');
      }
      break;
  }
  yield strings(')');
}

function sortedEntries(entries: Readonly<Record<string, NarTree>>): [string, NarTree][] {
  return Object.entries(entries).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** A small tree as one NAR. */
export function writeNar(tree: NarTree): Buffer {
  return Buffer.concat([...narChunks(tree)]);
}

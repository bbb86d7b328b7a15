import { throughProgram } from './program.ts';

// `xz -9` needs 65 MiB; the rest is for files made with a bigger dictionary.
const MEMORY_LIMIT = '256MiB';

/** Decodes xz: one stream or several, of any number of blocks. */
export function decodeXz(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  return throughProgram(source, {
    program: 'xz',
    args: ['--decompress', '--stdout', '--format=xz', '--threads=1', `--memlimit-decompress=${MEMORY_LIMIT}`],
  });
}

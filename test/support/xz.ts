/** xz without the program: the encoder of the library whose decoder the server has. */
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { initModule, xzAsync } from 'node-liblzma/wasm';

let loading: Promise<unknown> | undefined;

export async function xz(data: Buffer): Promise<Buffer> {
  // The library fetches its file by URL when nobody hands it over, which Node does not do for files.
  loading ??= initModule(async () => {
    const { default: create } = await import('node-liblzma/wasm/liblzma.js');
    const wasmBinary = fs.readFileSync(fileURLToPath(import.meta.resolve('node-liblzma/wasm/liblzma.wasm')));
    return create({ wasmBinary });
  });
  await loading;
  return Buffer.from(await xzAsync(data));
}

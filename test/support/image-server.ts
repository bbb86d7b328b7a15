/** A server of the product's image on free ports: its own entry and command, a data folder, mounted manifests. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { ImageRoot } from './image-root.ts';
import { onFreePort, type ServerProcess } from './server-process.ts';

/** Runs `use` with a ready server of the cache `main` in `dir`, and stops it by SIGTERM. */
export async function withImageServer(
  image: ImageRoot,
  dir: string,
  manifest: string,
  use: (url: string) => Promise<void>,
): Promise<void> {
  const data = path.join(dir, 'data');
  const manifests = path.join(dir, 'manifests');
  for (const folder of [data, manifests]) await fs.mkdir(folder, { mode: 0o755 });
  const [uid = 0, gid = 0] = image.config.User.split(':').map(Number);
  await fs.chown(data, uid, gid);
  await fs.writeFile(path.join(manifests, 'cache.yaml'), manifest);
  const { Entrypoint = [], Cmd } = image.config;
  const { server, url } = await onFreePort((port) =>
    onFreePort(async (admin) => {
      const env = { NARWHAL_LISTEN: `main=127.0.0.1:${port}`, NARWHAL_ADMIN_LISTEN: `127.0.0.1:${admin}` };
      const mounts = { '/data': data, '/etc/narwhal': manifests };
      const server: ServerProcess = image.start([...Entrypoint, ...Cmd], 'image-server', { env, mounts });
      await server.untilReady(async () => {
        const { ok, status } = await fetch(`http://127.0.0.1:${admin}/readyz`);
        if (!ok) throw new Error(`/readyz answers ${status}`);
      });
      return { server, url: `http://127.0.0.1:${port}` };
    }),
  );
  try {
    await use(url);
  } catch (error) {
    await server.stop('SIGKILL');
    throw error;
  }
  const code = await server.stop('SIGTERM');
  if (code !== 0) throw new Error(`the server ended with ${code}:\n${await server.tail()}`);
}

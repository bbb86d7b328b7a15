/**
 * Files that a proxy on the same machine sends by itself: nginx finds in `X-Accel-Redirect` an internal place of its own,
 * and gives the client the file that lies there, with ranges. Only a connection from a named peer is answered so, never a
 * client that such a peer speaks for, and only where it says that it understands (`X-Sendfile-Type`, as Rack has it):
 * everybody else would get a body without bytes.
 */
import type { IncomingMessage } from 'node:http';
import type { BinaryCache, StoredObject } from '../cache/index.ts';
import type { Networks } from '../wire/index.ts';

/** What nginx puts before the name of a cache, in configurations and answers alike. */
const PLACE = '/narwhal-files';

/** Whether a request comes from a proxy that sends files by itself. */
export function sendsFiles(request: IncomingMessage, peers: Networks): boolean {
  return request.headers['x-sendfile-type'] === 'X-Accel-Redirect' && peers.has(request.socket.remoteAddress ?? '');
}

/**
 * Where such a proxy finds an object: `/narwhal-files/<cache>/<storage>/<file>`. Undefined: in no file of this machine.
 * @throws StorageUnavailableError, CacheError NotFound
 */
export async function internalPlace(cache: BinaryCache, object: StoredObject): Promise<string | undefined> {
  const file = await cache.objects.file(object);
  return file && `${PLACE}/${cache.name}/${file.storage}/${file.name}`;
}

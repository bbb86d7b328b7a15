// One layer of an image: what lies where, as a tar whose bytes depend on nothing but that.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import tar from 'tar-stream';

/**
 * What a layer brings. `from`: a file of the disk or a folder with all that it holds, links kept; `exclude` is asked
 * with the path below it. The later of two entries for one path counts. Owner is root unless said.
 *
 * @typedef {{ from: string, to: string, exclude?: (relativePath: string) => boolean, uid?: number, gid?: number }} DiskEntry
 * @typedef {{ path: string, text: string | Buffer, mode?: number, uid?: number, gid?: number }} TextEntry
 * @typedef {{ path: string, link: string }} LinkEntry
 * @typedef {{ path: string, folder: true, mode?: number, uid?: number, gid?: number }} FolderEntry
 * @typedef {DiskEntry | TextEntry | LinkEntry | FolderEntry} Entry
 * @typedef {{ entries: Entry[] }} Layer
 *
 * One member of a tar: `body` is the content, or the file of the disk that holds it.
 * @typedef {{ header: import('tar-stream').Header, body?: string | Buffer }} Member
 */

/** The time of every file: builds of one content are one image. https://reproducible-builds.org/specs/source-date-epoch */
export function buildTime() {
  return new Date(Number(process.env.SOURCE_DATE_EPOCH ?? 0) * 1000);
}

/**
 * The members of a layer in the order of their paths, folders above them included.
 * @param {Layer} layer
 * @returns {Member[]} throws when a path leads through a file or a link, or is something that no image can hold
 */
export function layerMembers({ entries }) {
  const members = new Map();
  for (const entry of entries) for (const member of membersOf(entry)) members.set(member.header.name, member);
  members.delete('');
  for (const name of [...members.keys()]) {
    for (let above = path.posix.dirname(name); above !== '.'; above = path.posix.dirname(above)) {
      const { type } = members.get(above)?.header ?? {};
      if (type === undefined) members.set(above, { header: header(above, 'directory', 0o755, {}) });
      else if (type !== 'directory') throw new Error(`/${name} lies below /${above}, which is no folder but a ${type}`);
    }
  }
  return [...members.values()].sort((a, b) => (a.header.name < b.header.name ? -1 : 1));
}

/** @returns {Iterable<Member>} */
function* membersOf(entry) {
  if ('from' in entry) {
    yield* fromDisk(entry, entry.from, '');
    return;
  }
  const name = nameOf(entry.path);
  if ('link' in entry) yield { header: { ...header(name, 'symlink', 0o777, {}), linkname: entry.link } };
  else if ('folder' in entry) yield { header: header(name, 'directory', entry.mode ?? 0o755, entry) };
  else {
    const body = Buffer.from(entry.text);
    yield { header: { ...header(name, 'file', entry.mode ?? 0o644, entry), size: body.length }, body };
  }
}

function* fromDisk(entry, file, relative) {
  if (relative !== '' && entry.exclude?.(relative)) return;
  const name = nameOf(path.posix.join(entry.to, relative));
  const stat = fs.lstatSync(file);
  if (stat.isSymbolicLink()) {
    yield { header: { ...header(name, 'symlink', 0o777, entry), linkname: fs.readlinkSync(file) } };
  } else if (stat.isFile()) {
    // Whatever the umask of whoever unpacked it was; setuid is nothing that an image needs.
    const mode = stat.mode & 0o100 ? 0o755 : 0o644;
    yield { header: { ...header(name, 'file', mode, entry), size: stat.size }, body: file };
  } else if (stat.isDirectory()) {
    yield { header: header(name, 'directory', 0o755, entry) };
    for (const child of fs.readdirSync(file))
      yield* fromDisk(entry, path.join(file, child), path.posix.join(relative, child));
  } else {
    throw new Error(`${file} is neither file nor folder nor link`);
  }
}

function nameOf(absolute) {
  if (!absolute.startsWith('/')) throw new Error(`${absolute} is no absolute path`);
  return path.posix.normalize(absolute).replace(/^\/+|\/+$/g, '');
}

function header(name, type, mode, { uid = 0, gid = 0 }) {
  return { name, type, mode, uid, gid, size: 0, mtime: buildTime() };
}

/**
 * Writes members as a tar file.
 * @param {string} file
 * @param {Iterable<Member>} members
 * @returns {Promise<{ digest: string, size: number, unpackedBytes: number }>} digest: sha256:... of the file
 */
export async function writeTar(file, members) {
  const pack = tar.pack();
  let unpackedBytes = 0;
  const fill = async () => {
    for (const { header, body } of members) {
      unpackedBytes += header.size ?? 0;
      await addMember(pack, header, body);
    }
    pack.finalize();
  };
  const hash = createHash('sha256');
  let size = 0;
  const drain = async () => {
    const out = await fs.promises.open(file, 'w');
    try {
      for await (const chunk of pack) {
        hash.update(chunk);
        size += chunk.length;
        await out.writeFile(chunk);
      }
    } finally {
      await out.close();
    }
  };
  // What fails on one side must end the other, which waits for it.
  const end = (error) => {
    pack.destroy(error);
    throw error;
  };
  await Promise.all([fill().catch(end), drain().catch(end)]);
  return { digest: `sha256:${hash.digest('hex')}`, size, unpackedBytes };
}

async function addMember(pack, header, body) {
  if (typeof body !== 'string') {
    await new Promise((resolve, reject) => {
      const done = (error) => (error ? reject(error) : resolve(undefined));
      pack.entry(header, ...(body === undefined ? [done] : [body, done]));
    });
    return;
  }
  await new Promise((resolve, reject) => {
    const entry = pack.entry(header, (error) => (error ? reject(error) : resolve(undefined)));
    // Told by the callback too; without a listener it would end the process.
    entry.on('error', reject);
    const source = fs.createReadStream(body, { highWaterMark: 1 << 18 });
    source.on('error', (error) => entry.destroy(error));
    source.pipe(entry);
  });
}

// What Debian gives to the image: the C and C++ libraries of Node, and whom TLS may believe. No shell, no programs.
import fs from 'node:fs';
import path from 'node:path';
import { debianProblem, ownSuite, unpackDebian } from '../components/debian.mjs';
import { imageFolder } from './kept.mjs';

/** Raise it when baseLayer makes something else out of the same packages. */
export const BASE_RECIPE = 1;

/** Packages of which the image has something. They come with others, of which it has nothing. */
const PACKAGES = ['base-files', 'ca-certificates', 'libc6', 'libgcc-s1', 'libstdc++6'];
const LIBRARIES = /^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|nss_files|nss_dns|gcc_s|stdc\+\+)\.so\.[\d.]+)$/;
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

/** Why an image cannot be built here, with the way out, or nothing. */
export async function imageProblem() {
  if (process.platform !== 'linux') return `images are built on Linux, not on ${process.platform}. ${WAY_OUT}`;
  const problem = await debianProblem();
  return problem && `an image needs Debian's packages: ${problem}. ${WAY_OUT}`;
}
const WAY_OUT = 'Use the Dockerfile: docker build -t narwhal .';

/** Debian's suite that images of this machine are made of. */
function imageSuite() {
  return ownSuite() ?? 'stable';
}

/** The unpacked packages, fetched if need be. @returns {Promise<string>} a folder */
export function ensureBase() {
  const suite = imageSuite();
  return imageFolder('base', { suite, BASE_RECIPE }, (draft) =>
    unpackDebian({ suite, packages: PACKAGES, folder: draft, notUnpacked: [] }),
  );
}

/** What lies in `base` and belongs into every image. @returns {import('./layer.mjs').Layer} */
export function baseLayer(base) {
  const take = (relative) => ({ from: path.join(base, relative), to: `/${relative}` });
  return {
    entries: [
      ...MERGED.flatMap((name) => [
        { path: `/usr/${name}`, folder: true },
        { path: `/${name}`, link: `usr/${name}` },
      ]),
      ...libraryFolders(base).flatMap((folder) =>
        fs
          .readdirSync(path.join(base, folder))
          .filter((name) => LIBRARIES.test(name))
          .map((name) => take(`${folder}/${name}`)),
      ),
      ...basePackages(base).map((name) => ({
        from: path.join(base, 'usr/share/doc', name, 'copyright'),
        to: `/usr/share/doc/${name}/copyright`,
      })),
      // As images without dpkg say it to scanners.
      ...basePackages(base).map((name) => take(`var/lib/dpkg/status.d/${name}`)),
      take('usr/lib/os-release'),
      { path: '/etc/os-release', link: '../usr/lib/os-release' },
      { path: '/etc/ssl/certs/ca-certificates.crt', text: certificates(base) },
      ...['dev', 'proc', 'sys'].map((name) => ({ path: `/${name}`, folder: true })),
      { path: '/tmp', folder: true, mode: 0o1777 },
    ],
  };
}

/** The packages of `base` of which the image has something: the base of libgcc and libstdc++ has their licence. */
export function basePackages(base) {
  return fs
    .readdirSync(path.join(base, 'var/lib/dpkg/status.d'))
    .filter((name) => PACKAGES.includes(name) || /^gcc-\d+-base$/.test(name))
    .sort();
}

/** Where libraries are, and the loader that programs name. */
function libraryFolders(base) {
  const lib = path.join(base, 'usr/lib');
  const triplet = fs.readdirSync(lib).find((name) => /-linux-gnu/.test(name));
  return ['usr/lib', 'usr/lib64', `usr/lib/${triplet}`].filter((folder) => fs.existsSync(path.join(base, folder)));
}

/** What update-ca-certificates would write when the package is installed. */
export function certificates(base) {
  const folder = path.join(base, 'usr/share/ca-certificates/mozilla');
  const files = fs.readdirSync(folder).sort();
  return files.map((name) => `${fs.readFileSync(path.join(folder, name), 'utf8').trimEnd()}\n`).join('');
}

// Programs from Debian packages, of the machine's own suite or another, unpacked into a folder and run from there:
// nothing is installed, root is not needed, and several versions lie side by side.
import fs from 'node:fs';
import path from 'node:path';
import { attempt, run } from '../lib/run.mjs';
import { say } from './kept.mjs';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
// What no program here reads; it is two thirds of the bytes.
const NOT_UNPACKED = [
  './usr/share/doc',
  './usr/share/man',
  './usr/share/locale',
  './usr/share/info',
  '*/perl*',
  '*/gconv',
];
/**
 * Files of the C library. Programs that start each other and know nothing of loaders run with the machine's own: the
 * package's may be another build, and a loader takes its own only.
 */
export const C_LIBRARY = /^(ld-linux.*|lib(c|m|mvec|dl|rt|pthread|resolv|anl|util|nss_\w+)[.-].*)$/;
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

/** Debian's name of the suite that this machine runs, as in bookworm. */
export function ownSuite() {
  const release = fs.existsSync('/etc/os-release') ? fs.readFileSync('/etc/os-release', 'utf8') : '';
  return /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
}

/** Why Debian packages cannot be had on this machine, or nothing. */
export async function debianProblem() {
  for (const tool of ['apt-get', 'dpkg-deb', 'tar']) {
    if (!(await attempt(tool, ['--version'])).ok) return `${tool} is not installed: this is not a Debian machine`;
  }
  return (await archive()) === undefined ? 'apt on this machine has no Debian archive as a source' : undefined;
}

/**
 * Downloads packages of a suite with all that they depend on and unpacks them into `folder`.
 *
 * apt does it, with a root of its own: the machine's own archive under another suite's name, and a status file that
 * says that nothing is installed, so that every library comes along. What came is said in var/lib/dpkg/status.d, a file
 * for each package, as images without dpkg have it.
 *
 * @param {{ suite: string, packages: string[], folder: string, notUnpacked?: string[] }} order `notUnpacked`: patterns of tar
 */
export async function unpackDebian({ suite, packages, folder, notUnpacked = NOT_UNPACKED }) {
  const problem = await debianProblem();
  if (problem) throw new Error(`Debian's ${packages.join(', ')} cannot be fetched: ${problem}`);
  const apt = path.join(folder, '.apt');
  const env = {
    ...process.env,
    APT_CONFIG: writeAptRoot(apt, await archive(), suite),
    DEBIAN_FRONTEND: 'noninteractive',
  };
  say(`downloading ${packages.join(', ')} of Debian ${suite}`);
  await run(`apt-get update for ${suite}`, 'apt-get', ['-q', 'update'], { env });
  await run(`downloading ${packages.join(' ')}`, 'apt-get', ['-qy', '--download-only', 'install', ...packages], {
    env,
  });
  for (const name of MERGED) {
    fs.mkdirSync(path.join(folder, 'usr', name), { recursive: true });
    fs.symlinkSync(`usr/${name}`, path.join(folder, name));
  }
  const archives = path.join(apt, 'cache/archives');
  const excludes = notUnpacked.map((pattern) => `--exclude=${pattern}`);
  const statusFolder = path.join(folder, 'var/lib/dpkg/status.d');
  fs.mkdirSync(statusFolder, { recursive: true });
  for (const name of fs.readdirSync(archives).filter((file) => file.endsWith('.deb'))) {
    const tarball = path.join(apt, 'package.tar');
    const script =
      'dpkg-deb --fsys-tarfile "$0" > "$1" && shift && exec tar -x --no-same-owner --keep-directory-symlink -f "$@"';
    await run(`unpacking ${name}`, 'sh', [
      '-c',
      script,
      path.join(archives, name),
      tarball,
      tarball,
      '-C',
      folder,
      ...excludes,
    ]);
    const status = await run(`reading ${name}`, 'dpkg-deb', ['--field', path.join(archives, name)]);
    fs.writeFileSync(path.join(statusFolder, name.split('_')[0]), status);
  }
  fs.rmSync(apt, { recursive: true });
}

/**
 * The words that run a program of an unpacked folder on this machine: its own loader with its own libraries, because
 * the machine's C library may be older than the program.
 */
export function debianCommand(folder, program) {
  const lib = path.join(folder, 'usr/lib');
  const libraries = [libraryFolder(folder), path.join(lib, 'nix'), lib].filter((name) => fs.existsSync(name));
  const places = [path.join(folder, 'usr/lib64'), ...libraries];
  const loaders = places
    .filter((place) => fs.existsSync(place))
    .flatMap((place) =>
      fs
        .readdirSync(place)
        .filter((name) => /^ld-linux.*\.so\.\d+$/.test(name))
        .map((name) => path.join(place, name)),
    );
  const file = ['usr/bin', 'usr/sbin']
    .map((dir) => path.join(folder, dir, program))
    .find((name) => fs.existsSync(name));
  if (!loaders[0] || !file) throw new Error(`${folder} holds no program ${program}; remove the folder and start again`);
  return [loaders[0], '--library-path', libraries.join(':'), file];
}

/** Where the libraries of an unpacked folder lie. */
export function libraryFolder(folder) {
  const lib = path.join(folder, 'usr/lib');
  const triplet = fs.readdirSync(lib).find((name) => /-linux-gnu/.test(name));
  if (!triplet) throw new Error(`${folder} holds no libraries; remove the folder and start again`);
  return path.join(lib, triplet);
}

/** The machine's own Debian archive, as apt knows it: the entry of the suite that runs, else the first that is no update. */
async function archive() {
  const format = '$(SITE)|$(RELEASE)|$(COMPONENT)';
  const { stdout } = await attempt('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const main = stdout
    .split('\n')
    .map((line) => line.split('|'))
    .filter(([, , component]) => component === 'main');
  const own = main.find(([, release]) => release === ownSuite()) ?? main.find(([, release]) => !/-/.test(release));
  return own?.[0];
}

function writeAptRoot(apt, uri, suite) {
  for (const name of ['lists/partial', 'cache/archives/partial', 'state']) {
    fs.mkdirSync(path.join(apt, name), { recursive: true });
  }
  const signedBy = fs.existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : '';
  fs.writeFileSync(path.join(apt, 'sources.list'), `deb ${signedBy}${uri} ${suite} main\n`);
  fs.writeFileSync(path.join(apt, 'status'), '');
  const settings = {
    'Dir::State': `${apt}/state`,
    'Dir::State::lists': `${apt}/lists`,
    'Dir::State::status': `${apt}/status`,
    'Dir::Cache': `${apt}/cache`,
    'Dir::Etc::sourcelist': `${apt}/sources.list`,
    'Dir::Etc::sourceparts': '-',
    'Dir::Etc::preferences': '-',
    'Dir::Etc::preferencesparts': '-',
    'APT::Install-Recommends': 'false',
    // apt run by root downloads as another user, who may not enter this folder.
    'APT::Sandbox::User': 'root',
    'APT::Keep-Downloaded-Packages': 'true',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
  };
  const file = path.join(apt, 'apt.conf');
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";`);
  // Hooks of the machine's own configuration would act on the machine: caches cleaned, lists indexed.
  const cleared = [
    'DPkg::Post-Invoke',
    'APT::Update::Post-Invoke',
    'APT::Update::Post-Invoke-Success',
    'APT::Update::Pre-Invoke',
  ];
  fs.writeFileSync(file, [...cleared.map((name) => `#clear ${name};`), ...lines, ''].join('\n'));
  return file;
}

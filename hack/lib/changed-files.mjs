// What has changed in this clone since a revision, committed or not.
import fs from 'node:fs';
import path from 'node:path';
import { root } from './places.mjs';
import { attempt, run } from './run.mjs';

/**
 * The clone as `Reach` looks at it.
 * @param {string} revision a commit, branch or tag. Throws where there is none of this name
 * @param {string} [folder]
 */
export async function changesSince(revision, folder = root) {
  const git = (...args) => run(`git ${args[0]}`, 'git', args, { cwd: folder });
  const names = (text) => text.split('\0').filter((name) => name !== '');
  const found = await attempt('git', ['rev-parse', '--verify', '--quiet', '--end-of-options', `${revision}^{commit}`], {
    cwd: folder,
  });
  if (!found.ok) throw new Error(`--since ${revision}: git knows no such commit here`);
  const differing = names(await git('diff', '--name-only', '--no-renames', '-z', found.stdout.trim(), '--'));
  const fresh = names(await git('ls-files', '--others', '--exclude-standard', '-z'));
  const known = names(await git('ls-files', '-z'));
  const changed = [...new Set([...differing, ...fresh])];
  return {
    changed,
    files: [...new Set([...known, ...changed])],
    // A file that was removed leads nowhere; what led to it has changed too, or does so by its name.
    textOf: (file) => {
      const place = path.join(folder, file);
      return fs.existsSync(place) ? fs.readFileSync(place, 'utf8') : '';
    },
  };
}

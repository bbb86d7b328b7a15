/** What a person sees when the server has started: the lines to paste. */
import path from 'node:path';
import type { Running } from '../serve.ts';
import { version } from '../version.ts';

/** @param color whether the terminal takes escape sequences */
export function banner(running: Running, color: boolean): string {
  const bold = (text: string) => (color ? `\x1b[1m${text}\x1b[22m` : text);
  const lines = [
    `${bold(`narwhal-server ${version}`)} serves on ${running.addresses.join(', ')} (admin: ${running.adminAddress})`,
    '',
  ];
  const { urls } = running;
  for (const cache of running.caches.list()) {
    const { name, resolved, keys } = cache;
    const pull = urls.cache(name);
    const [key = ''] = keys.publicKeys();
    const writer = resolved.tokens.find(
      (token) => token.permissions.includes('Write') || token.permissions.includes('Admin'),
    );
    const generated = writer !== undefined && writer.sha256 === undefined && writer.secret === undefined;
    const file = writer && generated ? path.resolve(cache.folder, 'tokens', writer.name) : undefined;
    const machine = new URL(pull).hostname;
    const token = file === undefined ? 'TOKEN' : `"$(cat ${quoted(file)})"`;
    lines.push(`${bold(`cache ${name}`)} (${cache.isPublic ? 'public' : 'private'})`);
    lines.push(`  pull URL     ${pull}`);
    lines.push(`  public key   ${key || 'none yet: register one with cachix generate-keypair'}`);
    lines.push(
      `  push token   ${file ?? (writer === undefined ? 'no token may write; add one to the manifest' : `token ${writer.name} of the manifest`)}`,
    );
    if (keys.lost !== undefined) lines.push('', `  ${bold('PUSHES ARE REFUSED')}: ${keys.lost}`);
    lines.push('');
    if (writer !== undefined) {
      lines.push('  nix, to push (the first line once):');
      // Never readable by others, also where the shell's umask would have it so.
      lines.push(`    (umask 077; printf 'machine ${machine} login x password %s\\n' ${token} >> ~/.netrc-narwhal)`);
      // Else nix goes by what it saw here in the last 30 days, and pushes no path that was removed since.
      lines.push(
        `    nix copy --option narinfo-cache-positive-ttl 0 --netrc-file ~/.netrc-narwhal --to '${pull}/push?compression=zstd' PATH`,
      );
    }
    lines.push('  nix, to pull (lines for /etc/nix/nix.conf):');
    lines.push(`    extra-substituters = ${pull}`);
    lines.push(`    extra-trusted-public-keys = ${keys.publicKeys().join(' ')}`);
    if (!cache.isPublic)
      lines.push(`    netrc-file = a file with this line: machine ${machine} login x password TOKEN`);
    lines.push('  cachix:');
    lines.push(`    cachix config set hostname ${urls.api()}`);
    if (writer !== undefined) {
      // Arguments are visible to every user of the machine.
      lines.push(`    cachix authtoken --stdin < ${file === undefined ? 'FILE-WITH-TOKEN' : quoted(file)}`);
      lines.push(`    cachix push ${name} PATH`);
    }
    lines.push(`    cachix use ${name}`);
    if (!cache.isPublic && new URL(pull).port !== '') {
      lines.push(`    (cachix use writes the port into netrc, which nix does not match; write that line yourself)`);
    }
    lines.push('');
  }
  lines.push('Ctrl-C stops it; the data stays.');
  return `${lines.join('\n')}\n`;
}

/** A word for the shell, whatever is in it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// Baseline: what `node:http` alone gives. Narinfos from a Map, NARs by createReadStream with its defaults, 404 else.
import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';

const [folder] = process.argv.slice(2);
const narinfos = new Map();
const nars = new Map();
for (const name of readdirSync(folder)) {
  if (name.endsWith('.narinfo')) narinfos.set(`/${name}`, readFileSync(path.join(folder, name)));
}
for (const name of readdirSync(path.join(folder, 'nar'))) {
  const file = path.join(folder, 'nar', name);
  nars.set(`/nar/${name}`, { file, size: statSync(file).size });
}
const server = createServer((request, response) => {
  const narinfo = narinfos.get(request.url);
  if (narinfo !== undefined) {
    response.writeHead(200, { 'Content-Type': 'text/x-nix-narinfo', 'Content-Length': narinfo.length });
    response.end(narinfo);
    return;
  }
  const nar = nars.get(request.url);
  if (nar !== undefined) {
    response.writeHead(200, { 'Content-Type': 'application/x-nix-nar', 'Content-Length': nar.size });
    createReadStream(nar.file).pipe(response);
    return;
  }
  response.writeHead(404, { 'Content-Type': 'text/plain', 'Content-Length': 10 });
  response.end('not found\n');
});
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));

// `node hack/image/stage.mjs OUT --dist FOLDER --modules FOLDER --debian FOLDER`, in the build stage of the Dockerfile: the
// layers of hack/image as folders of OUT, for COPY. The Node that runs this is the Node of the image.
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { layerMembers } from './layer.mjs';
import { productLayers } from './product.mjs';
import { debianPackages, sbomOf } from './sbom.mjs';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { dist: { type: 'string' }, modules: { type: 'string' }, debian: { type: 'string' } },
});
const [out] = positionals;
const { dist, modules, debian } = values;
if (!out || !dist || !modules || !debian)
  throw new Error('usage: stage.mjs OUT --dist FOLDER --modules FOLDER --debian FOLDER');

const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));
const nodeLicense = path.join(path.dirname(process.execPath), '../LICENSE');
const layers = productLayers({
  node: process.execPath,
  ...(fs.existsSync(nodeLicense) && { nodeLicense }),
  modules,
  dist,
  sbom: sbomOf({
    manifest: readJson('package.json'),
    lockfile: readJson('package-lock.json'),
    nodeVersion: process.versions.node,
    debian: debianPackages(debian),
  }),
});

for (const [name, layer] of Object.entries(layers)) {
  for (const { header, body } of layerMembers(layer)) {
    // COPY has an owner for all that it copies.
    const folder = path.join(out, header.uid === 0 ? name : `${name}-of-user`);
    write(path.join(folder, header.name), header, body);
  }
}

/** A member of a tar as what it stands for. */
function write(file, { type, mode, linkname }, body) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  if (type === 'directory') fs.mkdirSync(file, { recursive: true });
  else if (type === 'symlink') fs.symlinkSync(linkname, file);
  else if (typeof body === 'string') fs.copyFileSync(body, file);
  else fs.writeFileSync(file, body);
  if (type === 'symlink') return;
  fs.chmodSync(file, mode);
  fs.utimesSync(file, 0, 0);
}

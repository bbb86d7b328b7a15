import * as fs from 'node:fs';

/** What real Nix made: see hack/make-vectors.mjs. */
export interface Vectors {
  hashes: {
    algorithm: 'md5' | 'sha1' | 'sha256' | 'sha512';
    hex: string;
    nix32: string;
    base64: string;
    sri: string;
  }[];
  nars: { name: string; nar: string; narHash: string }[];
  secretKey: string;
  publicKey: string;
  paths: {
    storePath: string;
    ca?: string;
    deriver?: string;
    narHash: string;
    narSize: number;
    references: string[];
    signatures: string[];
  }[];
  narInfos: string[];
}

export const vectors: Vectors = JSON.parse(fs.readFileSync(new URL('../../vectors/nix.json', import.meta.url), 'utf8'));

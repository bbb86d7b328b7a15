export { decodeBody } from './content-encoding.ts';
export { type PathClaim, parseNarInfoCreate } from './narinfo-create.ts';
export { Nars } from './nars.ts';
export { MAX_PARTS, type PartClaim } from './part-claims.ts';
export { type PartGrant, signPart, verifyPart } from './part-url.ts';
export { endStatements, openUploads } from './upload-rows.ts';
export { Uploads } from './uploads.ts';

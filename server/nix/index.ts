/** Nix's formats, pure: nothing in this room touches a file or the network. */
export * from './cache-info.ts';
export * from './compression.ts';
export * from './content-address.ts';
export * from './debug-info.ts';
export * from './errors.ts';
export * from './hash.ts';
export * from './hash-index.ts';
export * from './hash-set.ts';
export * from './json.ts';
export * from './listing.ts';
export * from './nar/parser.ts';
export * from './nar/writer.ts';
export * from './narinfo.ts';
export * from './nix32.ts';
export * from './realisation.ts';
export * from './signature.ts';
export * from './store-path.ts';

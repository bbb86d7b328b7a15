/** Where Node keeps what it has compiled, if this run says where: compiling is most of a start, and there are thousands. */
const folder = process.env.NODE_COMPILE_CACHE;

/** Variables for every program; those of others do not know them. */
export const COMPILED: NodeJS.ProcessEnv = folder === undefined ? {} : { NODE_COMPILE_CACHE: folder };

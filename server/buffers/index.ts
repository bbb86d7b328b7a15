/** Memory of bodies, used again or freed as soon as it can be. */
export { Buffers, buffers, PIECE_BYTES } from './buffers.ts';

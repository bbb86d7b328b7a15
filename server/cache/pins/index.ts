export type { Keep } from './keep.ts';
export { type Pin, parseName, parsePin, type Revision } from './pin.ts';
export { Pins, storePathOf } from './pins.ts';
export { FIRST_PIN } from './rows.ts';

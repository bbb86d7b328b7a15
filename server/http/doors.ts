import type { Door } from './door.ts';
import { gcDoors } from './gc.ts';
import { listingDoors } from './listing.ts';
import { pathDoors } from './path-doors.ts';
import { pinDoors } from './pins.ts';

/** All doors for people. */
export const doors: readonly Door[] = [...pinDoors, ...gcDoors, ...pathDoors, ...listingDoors];

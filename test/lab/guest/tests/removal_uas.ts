// A file of its own: QEMU 7.2 may die of it (KNOWN_DEATHS of test/lab/lab.ts).

import { testRemoval } from "../removal.ts";

testRemoval("uas");

// Runs the tests of the examples.

import "../../examples/demo.test.ts";
import "../../examples/flasher/flasher.test.ts";
import "../../examples/gpt/gpt.test.ts";
import "../../examples/scrubber/scrub.test.ts";

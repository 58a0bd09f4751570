// The examples that come with tests of their own.

import "../../examples/gpt/gpt.test.ts";
import "../../examples/scrubber/scrub.test.ts";

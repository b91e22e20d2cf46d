import { config } from "zod";

// zod, which the SDK reads messages with, would try `new Function` once; the page's policy refuses and reports that
config({ jitless: true });

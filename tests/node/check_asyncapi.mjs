// Print the diagnostics of the AsyncAPI parser about the document on standard input, as JSON.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
console.log(JSON.stringify({ parsed: document !== undefined, diagnostics }));

// Parses the drawings of Markdown files with Mermaid's own parser. Exits with 1 where one is wrong.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Mermaid expects a browser.
const { window } = new JSDOM("");
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

for (const path of process.argv.slice(2)) {
  const drawings = readFileSync(path, "utf8").matchAll(/^```mermaid\n([^]*?)^```/gm);
  for (const [, drawing] of drawings) {
    try {
      const { diagramType } = await mermaid.parse(drawing);
      console.log(`${path}: ${diagramType}`);
    } catch (error) {
      console.log(`${path}: ${error.message}`);
      process.exitCode = 1;
    }
  }
}
